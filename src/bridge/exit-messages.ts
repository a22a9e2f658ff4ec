// Every message between control and shards of an exit node: plain data, one interface each.
//
// Invariant: nothing here has behaviour or refers to memory of either side; of payload only what
// the inspector kept crosses, and of credentials only what a peer itself presented (a shard accepts
// the control port) and the keys of certificates, never tokens that the exit node keeps. Must not
// know: who sends what when; docs/internals.md tells.

import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { ForwardRule } from '../base/forward-rules.ts';
import type { Pressure } from '../base/memory-pressure.ts';
import type { OfferedOptions, TunnelOptions } from '../base/tunnel-options.ts';
import type { InspectedDetail, InspectedRequest } from './inspected.ts';
import type { LoginControlMethods, LoginSettings } from './login-messages.ts';
import type { LoopWatch, ShardSample } from './shard-sample.ts';
import type { LiveSettings, PortTls } from './shard-task.ts';

export interface ListenRequest {
  /** `control`, `http`, `https`, or a tunnel's name, which says whether it is TCP or UDP. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
  /** Listening sockets of a predecessor, to be used in place of a new one. */
  readonly inherited?: readonly number[];
}

/** A listener that is open: its port, and the descriptors of its sockets. */
export interface Listening {
  readonly port: number;
  readonly fds: readonly number[];
}

/** What a login gave; `throttled`: too many of this address failed; `unavailable`: nobody could say
 * now, as an issuer of tokens does not answer. */
export type Access = 'allowed' | 'refused' | 'throttled' | 'unavailable';

/** By which a link came: a port of visitors may take links, too. */
export type LinkPort = 'control' | 'visitors';

export interface LinkHello {
  readonly link: string;
  readonly client: string;
  readonly instance: string;
  readonly agent: string;
  readonly remoteAddress: string;
  /** The name in the client's certificate; absent when a token let it in. */
  readonly identity?: string;
  /** Names the token that let it in; absent when a certificate did. No secret. */
  readonly credential?: string;
  /** Absent: the control port. */
  readonly port?: LinkPort;
}

/** What a client that was let in may do by the token that let it in. */
export interface ClientGrant {
  /** The name of the token; absent: one that has no name. */
  readonly token?: string;
  /** What it may reach; absent: all that the server allows. */
  readonly forwards?: readonly ForwardRule[];
}

export interface PlainRequest {
  readonly method: string;
  readonly target: string;
  readonly authorization: string | undefined;
  readonly remoteAddress: string;
  /** The name in a client certificate that was verified. */
  readonly identity?: string;
}

export interface PlainAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What visitors who ask for `name`, a host or a wildcard, are shown; PEM. */
export interface CertificatePair {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
}

export interface CertificateChange {
  readonly set: readonly CertificatePair[];
  /** Names. */
  readonly drop: readonly string[];
}

/** What a certificate authority will ask to see. */
export type Challenge =
  | { readonly kind: 'http-01'; readonly token: string; readonly text: string }
  | ({ readonly kind: 'tls-alpn-01' } & CertificatePair);

export interface RouteChange {
  /** Control's running number; a shard ignores what is not newer. */
  readonly number: number;
  readonly kind: 'add' | 'remove' | 'forget';
  readonly tunnel: string;
  readonly client: string;
  readonly link: string;
  readonly shard: number;
  /** Of an added route: the name of the token that let its client in; absent: one that has no
   * name. */
  readonly token?: string;
  /** Of an added route: what its client declared for the tunnel. */
  readonly options?: TunnelOptions | undefined;
}

/** What one shard may let the visitors of a token use; what is absent is not limited. */
export interface TokenBudgetShare {
  readonly token: string;
  /** Open streams more than it was given so far. */
  readonly slots?: number;
  /** More are open than the limit, which was lowered: none begins, whatever slots there are. */
  readonly isFull?: boolean;
  readonly requestsPerSecond?: number;
  readonly bytesInPerSecond?: number;
  readonly bytesOutPerSecond?: number;
  readonly month?: 'open' | 'spent';
}

export interface TokenBudgetChange {
  /** These are all; else others stay as they are. */
  readonly isWhole: boolean;
  readonly shares: readonly TokenBudgetShare[];
}

export interface SlotsRecall {
  readonly token: string;
  /** All that are free, else half of them. */
  readonly isAll: boolean;
  /** Control's number for slots that were given out together; the answer names it. */
  readonly epoch: number;
}

export interface SlotsBack {
  readonly token: string;
  readonly count: number;
  readonly epoch: number;
}

/** What was used of a rate since the last report, and how many could have used more. */
export interface TokenRateUse {
  readonly used: number;
  readonly waiting: number;
}

/** What the visitors of a limited token used in one shard since its last report. */
export interface TokenUse {
  readonly token: string;
  readonly requests: TokenRateUse;
  readonly bytesIn: TokenRateUse;
  readonly bytesOut: TokenRateUse;
  /** How often each limit refused somebody or held one back, by key of the tokens file. */
  readonly limited: readonly (readonly [string, number])[];
}

/** A tunnel as a client asks for it. */
export interface TunnelRequest {
  readonly name: string;
  readonly label: string;
  readonly options?: OfferedOptions | undefined;
}

export interface TunnelAnswer {
  readonly name: string;
  readonly code: ErrorCode | '';
  readonly reason: string;
  /** `https` for an HTTP tunnel whose name has a certificate here; a client's server says it. */
  readonly scheme?: string | undefined;
}

/** What control asks or tells a shard of the exit node. */
export type ExitShardMethods = {
  listen: { takes: ListenRequest; gives: Listening };
  unlisten: { takes: { name: string }; gives: unknown };
  route: { takes: readonly RouteChange[]; gives: unknown };
  mesh: { takes: { shard: number; port: MessagePort }; gives: unknown };
  /** What the control port speaks TLS with from now on. */
  tls: { takes: PortTls; gives: unknown };
  settings: { takes: LiveSettings; gives: unknown };
  tokenBudgets: { takes: TokenBudgetChange; gives: unknown };
  /** What holds for links from now on. */
  grants: {
    takes: readonly { readonly link: string; readonly grant: ClientGrant }[];
    gives: unknown;
  };
  /** Who has logged in, from now on. */
  logins: { takes: LoginSettings; gives: unknown };
  /** Give back slots of a token that no stream has: `slotsBack` says how many. */
  recallSlots: { takes: SlotsRecall; gives: unknown };
  /** Open streams of a token more than it was given so far. */
  slotsGiven: { takes: { token: string; count: number }; gives: unknown };
  /** The newest requests that are kept, of one tunnel or of all. */
  inspected: {
    takes: { tunnel: string | undefined; limit: number };
    gives: readonly InspectedRequest[];
  };
  inspect: { takes: { id: string }; gives: InspectedDetail | undefined };
  /** Sends a kept request again; undefined when it is no longer kept. */
  replay: {
    takes: { id: string };
    gives: { readonly id: string } | { readonly problem: string } | undefined;
  };
  /** How much of its memory the process has in use. */
  pressure: { takes: { level: Pressure }; gives: unknown };
  /** Their client has dialled anew: those that are silent may be gone. */
  doubtLinks: { takes: { links: readonly string[] }; gives: unknown };
  closeLinks: { takes: { links: readonly string[]; code: ErrorCode }; gives: unknown };
  certificates: { takes: CertificateChange; gives: unknown };
  /** Answer these from now on, and no others. */
  challenges: { takes: readonly Challenge[]; gives: unknown };
  /** What session tickets are sealed with from now on. */
  ticketKey: { takes: Uint8Array; gives: unknown };
  sample: { takes: { loop: LoopWatch }; gives: ShardSample };
  /** Tell clients of the control port that a successor takes new links; these go on. */
  move: { takes: undefined; gives: unknown };
  /** Stop accepting, tell clients to go unless they moved; answered when no stream is left. */
  drain: { takes: { isMoved: boolean }; gives: unknown };
  stop: { takes: undefined; gives: unknown };
};

/** What a shard of the exit node asks or tells control. */
export type ExitControlMethods = LoginControlMethods & {
  authorize: {
    takes: { authorization: string | undefined; remoteAddress: string; identity?: string };
    gives: { access: Access; credential?: string };
  };
  hello: {
    takes: LinkHello;
    gives: { node: string; shards: number; grant: ClientGrant; spreadMs: number };
  };
  register: {
    /** `call`: the shard's own number for it, another one for each of the link. */
    takes: { link: string; call: number; tunnels: readonly TunnelRequest[] };
    gives: readonly TunnelAnswer[];
  };
  /** It was answered by the shard itself, with a refusal, as control had not done so in time. */
  giveUpRegister: { takes: { link: string; call: number }; gives: unknown };
  unregister: { takes: { link: string; names: readonly string[] }; gives: unknown };
  /** It takes no more streams; those that live go on. */
  linkLeaving: { takes: { link: string }; gives: unknown };
  linkGone: { takes: { link: string; code: ErrorCode }; gives: unknown };
  /** More slots of a token are wanted: `slotsGiven` brings them, if there are any. */
  askSlots: { takes: { token: string }; gives: unknown };
  /** The answer to `recallSlots`, once for each. It counts whenever it comes: as that of a call it
   * would be lost with the slots when a shard stands still for longer than calls wait. */
  slotsBack: { takes: SlotsBack; gives: unknown };
  tokenUse: { takes: readonly TokenUse[]; gives: unknown };
  /** The shard dies of an error: all that it has counted. */
  lastSample: { takes: ShardSample; gives: unknown };
  request: { takes: PlainRequest; gives: PlainAnswer };
  /** A request on the control port was answered without asking control. */
  answered: { takes: { path: string; status: number }; gives: unknown };
};
