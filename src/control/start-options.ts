// What starting an exit node takes, and what it gives.
//
// Invariant: all that a node needs of its process comes in here. Must not know: how a node is put
// together.

import type { Logger } from '../base/log.ts';
import type { DnsHook } from './challenge-board.ts';
import type { ConfigSource } from './config-reload.ts';
import type { StartSuccessor } from './hand-over.ts';
import type { Predecessor } from './predecessor.ts';

export interface StartOptions {
  readonly log: Logger;
  readonly version: string;
  /** The fingerprint of the private CA, once it is known. */
  readonly onFingerprint?: (fingerprint: string) => void;
  /** Where the configuration is read again; absent: only certificates are. */
  readonly source?: ConfigSource;
  /** Makes and removes DNS records, for dns-01. */
  readonly dnsHook?: DnsHook;
  /** Starts a process that takes over. */
  readonly successor?: StartSuccessor;
  /** Whom this process takes over from. */
  readonly predecessor?: Predecessor | undefined;
}

export interface Ending {
  readonly exitCode: number;
  readonly message?: string;
}

export interface ExitNode {
  readonly closed: Promise<Ending>;
  drain(): void;
  stop(): void;
  /** Reads certificates and the configuration again. */
  reload(): void;
  /** Starts a successor on the same sockets, and drains when it serves. */
  takeOver(): void;
}
