// The old side of a take-over: a successor starts beside this process and takes its sockets.
//
//   idle --begin()--> starting --prepared--> moving --ready--> done
//     starting --fails, is late--> stopping --gone--> idle
//     moving ----fails, is late--> returning --gone--> resuming --control port open--> idle
//     any but the last --cancel()--> cancelled
//   old:  | serves visitors and links ......................... | drains ..... | ends
//   new:            | starts | takes links | takes visitors | serves ................
//
// Invariant: until `done` this process serves as before, but for new links while clients move;
// the control port is taken back when the successor, which has it, has gone. Must not know: how a
// process is started, or told something.

import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { readPortName } from '../base/port-name.ts';
import type { InheritedSocket } from './inheritance.ts';
import type { OpenTunnels, PublicPorts } from './public-ports.ts';

/** For a process to start, with its shards. Guess: ten times what a slow machine takes. */
const START_MS_MAX = 60_000;
/** From the announcement until the successor serves visitors; it waits MOVE_MS_MAX for clients. */
const MOVE_MS_MAX = 30_000;
/** Between two tries to open the control port again. Guess. */
const RESUME_AGAIN_MS = 1000;
/** Descriptors given to one process. Guess: thousands of TCP tunnels, well below open files. */
const SOCKETS_MAX = 4096;

/** Who has to have come to the successor before it serves visitors: clients of the control port. */
export interface Moving {
  readonly tunnels: readonly string[];
  readonly clients: readonly string[];
  /** All tunnels that this process serves, of others too; absent: an older one does not say. */
  readonly served?: readonly string[];
}

/** A process that takes over. */
export interface Successor {
  readonly pid: number;
  /** Tells it that clients are on their way. */
  move(moving: Moving): void;
  /** Ends it by force: `onEnd` is called when it has gone. */
  end(): void;
}

export interface SuccessorEvents {
  /** It could start, and listens nowhere yet. */
  onPrepared(): void;
  /** It serves visitors. */
  onReady(): void;
  /** It has ended, or never began. */
  onEnd(reason: string): void;
}

export type StartSuccessor = (
  sockets: readonly InheritedSocket[],
  events: SuccessorEvents,
) => Successor;

export interface HandOverOptions {
  readonly start: StartSuccessor;
  readonly ports: Pick<PublicPorts, 'sockets' | 'leaveControl' | 'advance'>;
  readonly registry: OpenTunnels & { moving(): Moving };
  /** Undefined: there is no admin address. */
  readonly adminSocket: () => InheritedSocket | undefined;
  /** Those of the control port: that a successor takes new links. */
  readonly tellClients: () => void;
  /** The successor serves: nothing new is for this process. */
  readonly onDone: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

type Phase =
  | 'idle'
  | 'starting'
  | 'moving'
  | 'stopping'
  | 'returning'
  | 'resuming'
  | 'done'
  | 'cancelled';

export class HandOver {
  readonly #options: HandOverOptions;
  #phase: Phase = 'idle';
  #successor: Successor | undefined;
  #deadline: Timer | undefined;
  /** Listeners whose sockets the successor has. */
  #offered: ReadonlySet<string> = new Set();

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  /** Has a successor, or had one until now, copies of the listening sockets? */
  get isUnderWay(): boolean {
    return this.#phase !== 'idle' && !this.#isOver;
  }

  /** Does a successor serve in place of this process? Not once that has ended. */
  get isDone(): boolean {
    return this.#phase === 'done' && this.#successor !== undefined;
  }

  /** Of a process that has started and has not ended. */
  get successorPid(): number | undefined {
    return this.#successor?.pid;
  }

  get #isOver(): boolean {
    return this.#phase === 'done' || this.#phase === 'cancelled';
  }

  begin(): void {
    const { log, start } = this.#options;
    if (this.#phase !== 'idle') {
      log.warn({ phase: this.#phase }, 'a take-over is under way');
      return;
    }
    const offered = this.#sockets();
    if (offered.some(isLost)) {
      log.error('no take-over: a listening socket cannot be handed on, on this platform or yet');
      return;
    }
    const socketsCount = offered.reduce((sum, { fds }) => sum + fds.length, 0);
    if (socketsCount > SOCKETS_MAX) {
      log.error({ socketsCount, SOCKETS_MAX }, 'no take-over: too many listening sockets');
      return;
    }
    this.#phase = 'starting';
    this.#offered = new Set(offered.map(({ name }) => name));
    this.#setDeadline(START_MS_MAX, 'it did not start in time');
    try {
      this.#successor = start(offered, {
        onPrepared: () => void this.#move(),
        onReady: () => this.#finish(),
        onEnd: (reason) => this.#ended(reason),
      });
      log.info({ successor: this.#successor.pid }, 'a successor starts');
    } catch (error) {
      // No process to be had: memory, descriptors.
      this.#ended(String(error));
    }
  }

  /** Ends a successor that does not serve yet: the operator wants an end, not a take-over. */
  cancel(): void {
    if (this.#phase === 'idle' || this.#phase === 'resuming' || this.#isOver) return;
    this.#phase = 'cancelled';
    this.#deadline?.cancel();
    this.#successor?.end();
  }

  async #move(): Promise<void> {
    if (this.#phase !== 'starting') return;
    this.#phase = 'moving';
    this.#setDeadline(MOVE_MS_MAX, 'clients did not move in time');
    const { ports, registry, tellClients, log } = this.#options;
    log.info({ clients: registry.moving().clients.length }, 'clients move to the successor');
    // Told last: whoever comes finds the successor alone on the control port.
    await ports.leaveControl();
    if (this.#phase !== 'moving') return;
    const moving = registry.moving();
    // A port that is younger than the successor cannot open there before it is closed here.
    const canOpen = (name: string): boolean =>
      readPortName(name) === undefined || this.#offered.has(name);
    this.#successor?.move({ ...moving, tunnels: moving.tunnels.filter(canOpen) });
    tellClients();
  }

  #sockets(): InheritedSocket[] {
    const { ports, adminSocket } = this.#options;
    const admin = adminSocket();
    return admin === undefined ? ports.sockets() : [...ports.sockets(), admin];
  }

  #finish(): void {
    if (this.#phase !== 'moving') return;
    this.#phase = 'done';
    this.#deadline?.cancel();
    this.#options.log.info({ successor: this.#successor?.pid }, 'the successor serves');
    this.#options.onDone();
  }

  #fail(reason: string): void {
    if (this.#phase !== 'starting' && this.#phase !== 'moving') return;
    this.#phase = this.#phase === 'moving' ? 'returning' : 'stopping';
    this.#deadline?.cancel();
    this.#options.log.error({ reason }, 'take-over failed, this process goes on');
    this.#successor?.end();
  }

  /** It has gone, and its sockets with it. */
  #ended(reason: string): void {
    this.#fail(reason);
    this.#successor = undefined;
    if (this.#phase === 'stopping') this.#phase = 'idle';
    if (this.#phase !== 'returning') return;
    this.#phase = 'resuming';
    void this.#resume();
  }

  /** Until it is open: without it no client comes any more. A shard may stand still, say. */
  async #resume(): Promise<void> {
    const { clock, log, ports, registry } = this.#options;
    try {
      await ports.advance('all', registry);
      this.#phase = 'idle';
    } catch (error) {
      log.error({ err: error }, 'the control port is not open, trying again');
      clock.after(RESUME_AGAIN_MS, () => void this.#resume());
    }
  }

  #setDeadline(ms: number, reason: string): void {
    this.#deadline?.cancel();
    this.#deadline = this.#options.clock.after(ms, () => this.#fail(reason));
  }
}

/** It has to be handed on, and cannot be. */
function isLost({ fds, isShared }: InheritedSocket): boolean {
  return isShared !== true && (fds.length === 0 || fds.some((fd) => fd < 0));
}
