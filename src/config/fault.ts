// The fault that tests put into a running server.
//
// Invariant: only the environment sets it, and it is refused without --allow-faults. Must not know:
// how a shard is broken.

import { InvalidText, type Kind, kindOf, one, optional } from './option.ts';
import { boolean } from './quantity.ts';

export interface Fault {
  readonly kind: 'shard-throw' | 'shard-oom' | 'shard-block';
  readonly afterMs: number;
}

const fault: Kind<Fault> = kindOf(
  'fault',
  'KIND:SECONDS',
  (value) => {
    const match = /^(shard-throw|shard-oom|shard-block):(\d{1,5}(?:\.\d{1,3})?)$/.exec(value);
    if (match === null) {
      return new InvalidText(
        'is not a fault; write shard-throw:, shard-oom: or shard-block:SECONDS',
      );
    }
    const kind = match[1] as Fault['kind'];
    return { kind, afterMs: Math.round(Number(match[2]) * 1000) };
  },
  ({ kind, afterMs }) => `${kind}:${afterMs / 1000}`,
);

export const FAULT_OPTIONS = {
  'allow-faults': one(boolean, { default: 'false', help: 'let SLUICEWAY_FAULT break a shard' }),
  fault: optional(fault, {
    help: 'test hook, shard-throw:, shard-oom: or shard-block:SECONDS',
    sources: ['environment'],
  }),
};
