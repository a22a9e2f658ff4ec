// Calls and notices between control and a shard over one MessagePort.
//
//   call   { kind: 'call',   id, method, body } ->    <- { kind: 'answer', id, body }
//   notice { kind: 'notice', method, body }     ->    <- { kind: 'failure', id, error }
//
// Invariant: every call ends exactly once, by answer, failure, deadline or the port's end; calls
// under way are bounded. What crosses is plain data: errors are taken apart, as structured clone
// would drop their code. Must not know: what any method does.

import { type MessagePort, receiveMessageOnPort, type Transferable } from 'node:worker_threads';
import { systemClock, type Timer } from '../base/clock.ts';
import { ERRORS, type ErrorCode, SluicewayError } from '../base/errors.ts';

/** Raised with every change of a message, a task or a sample that an older shard would not
 * understand. */
export const BRIDGE_VERSION = 1;
/** Calls that wait for an answer; beyond it new ones fail at once. Guess. */
const CALLS_MAX = 20_000;
/** Control and shards are one process: what takes longer is stuck. */
const CALL_TIMEOUT_MS = 10_000;

/** Methods of one side: what each takes and gives. */
export type Methods = Record<string, { readonly takes: unknown; readonly gives: unknown }>;

export type Serve<Own extends Methods> = {
  readonly [Name in keyof Own]: (
    body: Own[Name]['takes'],
  ) => Own[Name]['gives'] | Promise<Own[Name]['gives']>;
};

interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
}

type Message =
  | { kind: 'call'; version: number; id: number; method: string; body: unknown }
  | { kind: 'notice'; version: number; method: string; body: unknown }
  | { kind: 'answer'; id: number; body: unknown }
  | { kind: 'failure'; id: number; error: PlainError };

interface Pending {
  readonly resolve: (body: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

export class Bridge<Own extends Methods, Other extends Methods> {
  readonly #port: MessagePort;
  readonly #serve: Serve<Own>;
  readonly #onBug: (error: unknown) => void;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #state: 'open' | 'closed' = 'open';

  /** `onBug` is told of what a method raises that is not a SluicewayError. */
  constructor(port: MessagePort, serve: Serve<Own>, onBug: (error: unknown) => void) {
    this.#port = port;
    this.#serve = serve;
    this.#onBug = onBug;
    port.on('message', (message: Message) => this.#onMessage(message));
    port.on('close', () => this.#onClose());
  }

  /** Asks the other side. Rejects with a SluicewayError. */
  call<Name extends keyof Other & string>(
    method: Name,
    body: Other[Name]['takes'],
    timeoutMs: number = CALL_TIMEOUT_MS,
  ): Promise<Other[Name]['gives']> {
    if (this.#state === 'closed') return Promise.reject(gone());
    if (this.#pending.size >= CALLS_MAX) {
      return Promise.reject(new SluicewayError('SLW_CALL_TIMEOUT', 'too many calls under way'));
    }
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise<unknown>((resolve, reject) => {
      const timer = systemClock.after(timeoutMs, () => {
        this.#pending.delete(id);
        reject(new SluicewayError('SLW_CALL_TIMEOUT', `${method} was not answered in time`));
      });
      this.#pending.set(id, { resolve, reject, timer });
      this.#post({ kind: 'call', version: BRIDGE_VERSION, id, method, body });
    });
  }

  /** Tells the other side; nothing comes back. */
  tell<Name extends keyof Other & string>(
    method: Name,
    body: Other[Name]['takes'],
    transfer: Transferable[] = [],
  ): void {
    this.#post({ kind: 'notice', version: BRIDGE_VERSION, method, body }, transfer);
  }

  /** The other side is gone: what it told last is heard, and what it asked is nobody's any more. */
  end(): void {
    let left = receiveMessageOnPort(this.#port);
    for (; left !== undefined; left = receiveMessageOnPort(this.#port)) {
      const message = left.message as Message;
      if (message.kind === 'notice') this.#onMessage(message);
    }
    this.close();
  }

  close(): void {
    this.#state = 'closed';
    this.#port.close();
  }

  #post(message: Message, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #onMessage(message: Message): void {
    switch (message.kind) {
      case 'call':
        void this.#answer(message.id, message.method, message.body);
        return;
      case 'notice':
        void this.#run(message.method, message.body).catch(this.#onBug);
        return;
      case 'answer':
        this.#settle(message.id)?.resolve(message.body);
        return;
      case 'failure': {
        const { code, message: text } = message.error;
        const known = code in ERRORS ? code : 'SLW_SHARD_FAILED';
        this.#settle(message.id)?.reject(new SluicewayError(known, text));
      }
    }
  }

  async #answer(id: number, method: string, body: unknown): Promise<void> {
    try {
      this.#post({ kind: 'answer', id, body: await this.#run(method, body) });
    } catch (error) {
      const isOurs = error instanceof SluicewayError;
      if (!isOurs) this.#onBug(error);
      const code = isOurs ? error.code : 'SLW_SHARD_FAILED';
      this.#post({
        kind: 'failure',
        id,
        error: { code, message: String((error as Error).message) },
      });
    }
  }

  async #run(method: string, body: unknown): Promise<unknown> {
    const run = Object.hasOwn(this.#serve, method) ? this.#serve[method] : undefined;
    if (run === undefined) throw new SluicewayError('SLW_SHARD_FAILED', `no method ${method}`);
    return run(body);
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.timer.cancel();
    return pending;
  }

  #onClose(): void {
    this.#state = 'closed';
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(gone());
  }
}

function gone(): SluicewayError {
  return new SluicewayError('SLW_SHARD_FAILED', 'the other side is gone');
}
