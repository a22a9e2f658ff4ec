// The header rules of one route, made ready once, so that a head that is written only copies.
//
// Invariant: rules take out and put in whole lines of fields that stand for nothing but themselves
// (base/tunnel-options.ts refuses the others), so a head keeps its framing, its routing and what it
// says of the visitor. Must not know: heads beyond names, or where the rules came from.

import { fieldName, fieldValue, type TunnelOptions } from '../base/tunnel-options.ts';
import { type FieldFilter, NO_REQUEST_EDIT, NO_RESPONSE_EDIT } from './head-writer.ts';
import { LOWER, matches, octets } from './octets.ts';

/** What is done to the heads of one direction. */
export interface HeadEdit {
  /** What is left out of most heads, and of those that are rare. */
  readonly common: FieldFilter;
  readonly rare: FieldFilter;
  /** Lines that are put in, each with its CRLF. */
  readonly added: Buffer;
}

/** Field names, compared without regard to case. */
export class NameSet {
  /** By length: most fields of a head differ from every name in that. */
  readonly #byLength = new Map<number, Uint8Array[]>();

  constructor(names: readonly string[]) {
    for (const name of names) {
      const known = this.#byLength.get(name.length);
      const lowered = octets(name.toLowerCase());
      if (known === undefined) this.#byLength.set(name.length, [lowered]);
      else known.push(lowered);
    }
  }

  has(bytes: Uint8Array, start: number, end: number): boolean {
    const candidates = this.#byLength.get(end - start);
    if (candidates === undefined) return false;
    for (const name of candidates) if (matches(bytes, start, name, LOWER)) return true;
    return false;
  }
}

export class HeaderEdits {
  readonly request: HeadEdit;
  readonly response: HeadEdit;
  /** The whole Host line toward the upstream, in place of the visitor's. */
  readonly hostLine: Buffer | undefined;

  private constructor(options: TunnelOptions) {
    this.request = compile(NO_REQUEST_EDIT, {
      removes: options['request-header-remove'],
      adds: options['request-header-add'],
    });
    this.response = compile(NO_RESPONSE_EDIT, {
      removes: options['response-header-remove'],
      adds: options['response-header-add'],
    });
    const host = options['host-header']?.[0];
    this.hostLine = host === undefined ? undefined : line('Host', host);
  }

  /** Undefined when there is nothing to do, so that heads without rules cost one comparison. */
  static from(options: TunnelOptions | undefined): HeaderEdits | undefined {
    if (options === undefined) return undefined;
    const edits = new HeaderEdits(options);
    const isIdle = isNothing(edits.request) && isNothing(edits.response);
    return isIdle && edits.hostLine === undefined ? undefined : edits;
  }
}

function isNothing({ common, added }: HeadEdit): boolean {
  return common.removed === undefined && added.length === 0;
}

interface Rules {
  readonly removes: readonly string[] | undefined;
  readonly adds: readonly string[] | undefined;
}

function compile(plain: HeadEdit, { removes = [], adds = [] }: Rules): HeadEdit {
  const removed = removes.length === 0 ? undefined : new NameSet(removes);
  return {
    common: { kinds: plain.common.kinds, removed },
    rare: { kinds: plain.rare.kinds, removed },
    added: Buffer.concat(adds.map((text) => line(fieldName(text), fieldValue(text)))),
  };
}

function line(name: string, value: string): Buffer {
  return Buffer.from(`${name}: ${value}\r\n`, 'latin1');
}
