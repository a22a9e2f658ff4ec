// What control and shards tell each other of visitors who log in at a provider: plain data, as all
// of exit-messages.ts, of which this is a part.
//
// Invariant: secrets of the exit node at a provider never cross; what seals cookies does, to every
// shard. Must not know: how a login goes; docs/internals.md tells.

import type { ErrorCode } from '../base/errors.ts';
import type { LoginKey } from '../base/login-session.ts';

/** By what a shard knows who has logged in at a provider. */
export interface LoginSettings {
  /** Any of them may have sealed a session. */
  readonly keys: readonly LoginKey[];
  /** Each with what sessions of it say of it. */
  readonly providers: readonly (readonly [name: string, id: string])[];
}

/** A visitor that comes to a tunnel and has not logged in. */
export interface LoginBeginning {
  readonly provider: string;
  readonly tunnel: string;
  /** Canonical. */
  readonly host: string;
  /** As the visitor sees it: `https://site.example.com:8443`. */
  readonly site: string;
  /** Where it wanted to go there. */
  readonly target: string;
  /** What tells its browser from others, if it shows that; else ''. */
  readonly browser: string;
  readonly visitor: string;
  /** It has logged out, and wants to be asked who it is. */
  readonly isAgain: boolean;
}

/** Where the visitor is sent, and what its browser is to show when it comes back. */
export interface LoginWay {
  readonly location: string;
  readonly browser: string;
}

/** A visitor that comes back from its provider. */
export interface LoginReturn {
  readonly host: string;
  readonly site: string;
  /** From the question mark on. */
  readonly query: string;
  readonly browser: string;
}

/** It has logged in: a sealed session, and where it wanted to go. */
export interface LoginDone {
  readonly location: string;
  readonly session: string;
  readonly tunnel: string;
  readonly provider: string;
  /** For which the session holds. */
  readonly seconds: number;
}

/** Why a step of a login failed. */
export interface LoginFailed {
  readonly code: ErrorCode;
}

/** What a shard of the exit node asks control, which asks providers. */
export type LoginControlMethods = {
  beginLogin: { takes: LoginBeginning; gives: LoginWay | LoginFailed };
  endLogin: { takes: LoginReturn; gives: LoginDone | LoginFailed };
};
