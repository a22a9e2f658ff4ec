// The keys that seal visitors' sessions: a new one each day, derived of one secret.
//
// Invariant: a key stays as long as a session that it sealed can live, and not longer than a day
// more; exit nodes of one secret have the same keys at the same time, give or take a day. Pure.
// Must not know: cookies, or where the secret is from.

import { createHmac } from 'node:crypto';
import type { LoginKey } from '../base/login-session.ts';

export const KEY_MS = 24 * 3_600_000;

/** The one that seals now, and all that sessions may be sealed with. */
export interface LoginKeys {
  readonly own: LoginKey;
  readonly all: readonly LoginKey[];
  /** Until the next one seals. */
  readonly restMs: number;
}

export function loginKeys(secret: string, wallMs: number, sessionMaxMs: number): LoginKeys {
  const day = Math.floor(wallMs / KEY_MS);
  const keptCount = Math.ceil(sessionMaxMs / KEY_MS);
  const own = keyOf(secret, day);
  // The next one, too: another exit node's clock may be ahead.
  const all = [keyOf(secret, day + 1), own];
  for (let back = 1; back <= keptCount; back += 1) all.push(keyOf(secret, day - back));
  return { own, all, restMs: (day + 1) * KEY_MS - wallMs };
}

function keyOf(secret: string, day: number): LoginKey {
  const key = createHmac('sha256', secret).update(`sluiceway session key ${day}`).digest();
  return { id: day.toString(36), key };
}
