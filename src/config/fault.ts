// The fault that tests put into a running server.
//
// Invariant: only the environment sets it, and it is refused without --allow-faults. Must not know:
// how a shard is broken.

import { InvalidText, type Kind, kindOf, one, optional } from './option.ts';
import { boolean } from './quantity.ts';

type FaultKind = 'shard-throw' | 'shard-oom' | 'shard-block';

/** So long after each start of the shard, or once, when there is such a file, which it takes. */
export type Fault =
  | { readonly kind: FaultKind; readonly afterMs: number }
  | { readonly kind: FaultKind; readonly file: string };

const FAULT = /^(shard-throw|shard-oom|shard-block):(?:(\d{1,5}(?:\.\d{1,3})?)|(\/.+))$/;

const fault: Kind<Fault> = kindOf(
  'fault',
  'KIND:SECONDS',
  (value) => {
    const match = FAULT.exec(value);
    if (match === null) {
      return new InvalidText(
        'is not a fault; write shard-throw:, shard-oom: or shard-block:SECONDS, or :/FILE',
      );
    }
    const kind = match[1] as FaultKind;
    const [, , seconds, file = ''] = match;
    if (seconds === undefined) return { kind, file };
    return { kind, afterMs: Math.round(Number(seconds) * 1000) };
  },
  (one) => `${one.kind}:${'file' in one ? one.file : one.afterMs / 1000}`,
);

export const FAULT_OPTIONS = {
  'allow-faults': one(boolean, { default: 'false', help: 'let SLUICEWAY_FAULT break a shard' }),
  fault: optional(fault, {
    help: 'test hook, shard-throw:, shard-oom: or shard-block:SECONDS, or :/FILE',
    sources: ['environment'],
  }),
};
