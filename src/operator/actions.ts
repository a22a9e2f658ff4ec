// What a plan may ask for: the one list of things that the operator does to a cluster or a cloud.
//
// Invariant: plain data, each of which can be done twice without harm; a plan is done in order and
// stops at the first that fails. Must not know: how anything is done.

import type { KubeObject } from './objects.ts';
import type { ObjectRef } from './resources.ts';

export type Action =
  /** Makes it, or makes it be like this in the fields that are named. */
  | { readonly do: 'apply'; readonly object: KubeObject }
  /** Takes away what an apply leaves: fields of the spec that somebody else wrote. */
  | {
      readonly do: 'drop-fields';
      readonly ref: ObjectRef;
      readonly fields: readonly string[];
      readonly resourceVersion: string | undefined;
    }
  /** Makes it where there is none; what is there stays. */
  | { readonly do: 'create'; readonly object: KubeObject }
  /** `uid`: this very object, and not one that has its name by now. */
  | { readonly do: 'delete'; readonly ref: ObjectRef; readonly uid: string | undefined }
  | {
      readonly do: 'set-finalizers';
      readonly ref: ObjectRef;
      readonly finalizers: readonly string[];
      readonly resourceVersion: string | undefined;
    }
  | {
      readonly do: 'write-status';
      readonly ref: ObjectRef;
      readonly status: object;
      /** Refused when the object is not the one that was looked at. */
      readonly resourceVersion: string | undefined;
    }
  /** Of what may be gone, and is not watched any more: what is answered does not matter. */
  | { readonly do: 'take-back-status'; readonly ref: ObjectRef; readonly status: object }
  | { readonly do: 'tell'; readonly event: EventOrder }
  | { readonly do: 'create-machine'; readonly exitNode: string }
  | { readonly do: 'remove-machine'; readonly exitNode: string }
  /** Those beside the machine of its status, which stays. */
  | { readonly do: 'remove-twins'; readonly exitNode: string };

/** What is asked of a provider. */
export const ORDERS: ReadonlySet<Action['do']> = new Set([
  ...(['create-machine', 'remove-machine', 'remove-twins'] as const),
]);

export interface EventOrder {
  readonly about: KubeObject;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

export interface Plan {
  readonly actions: readonly Action[];
  /**
   * What follows when all is done: nothing until something changes, a look in a moment at what is
   * under way, or another try later and later.
   */
  readonly next: 'settled' | 'waiting' | 'blocked';
}

export const NOTHING: Plan = { actions: [], next: 'settled' };
