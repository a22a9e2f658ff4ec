// What the issuer is to be shown now: in every shard, or by the operator's DNS hook.
//
// Invariant: a challenge is presented when every shard has taken it, and the list is sent whole,
// so that a shard that starts later has it too; taking one back never fails. Must not know: ACME's
// messages, or who looks at what is shown.

import type { Logger } from '../base/log.ts';
import type { Challenge } from '../bridge/exit-messages.ts';
import type { ChallengeSolver, ChallengeTask } from './acme.ts';

/** One DNS record to be made or removed. */
export interface DnsRequest {
  readonly action: 'present' | 'cleanup';
  /** The host that is proven, without `*.`. */
  readonly domain: string;
  /** Of the TXT record. */
  readonly name: string;
  readonly value: string;
}

/** Resolves when the record can be seen, or is gone. */
export type DnsHook = (request: DnsRequest) => Promise<void>;

export interface BoardOptions {
  /** Resolves when all shards answer these. */
  readonly send: (challenges: readonly Challenge[]) => Promise<void>;
  readonly dnsHook: DnsHook | undefined;
  readonly log: Logger;
}

export class ChallengeBoard implements ChallengeSolver {
  readonly #options: BoardOptions;
  readonly #shown = new Map<ChallengeTask, Challenge>();

  constructor(options: BoardOptions) {
    this.#options = options;
  }

  get challenges(): readonly Challenge[] {
    return [...this.#shown.values()];
  }

  async present(task: ChallengeTask): Promise<void> {
    const challenge = challengeOf(task);
    if (challenge === undefined) {
      await this.#runHook('present', task);
      return;
    }
    this.#shown.set(task, challenge);
    await this.#options.send(this.challenges);
  }

  async cleanup(task: ChallengeTask): Promise<void> {
    try {
      if (this.#shown.delete(task)) await this.#options.send(this.challenges);
      else await this.#runHook('cleanup', task);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.warn({ host: task.host, reason }, 'a challenge could not be taken back');
    }
  }

  async #runHook(action: DnsRequest['action'], task: ChallengeTask): Promise<void> {
    if (task.kind !== 'dns-01') return;
    const { dnsHook } = this.#options;
    if (dnsHook === undefined) throw new Error('there is no DNS hook');
    await dnsHook({ action, domain: task.host, name: task.record, value: task.value });
  }
}

function challengeOf(task: ChallengeTask): Challenge | undefined {
  if (task.kind === 'http-01') return { kind: task.kind, token: task.token, text: task.text };
  if (task.kind === 'dns-01') return undefined;
  return { kind: task.kind, name: task.host, cert: task.cert, key: task.key };
}
