// What control answers to one shard: who may come in, what is registered, slots of tokens, logins
// of visitors, and plain requests.
//
// Invariant: a shard is believed in what it saw, and in nothing else; links that come up are logged
// here, and what is said of tunnels in tunnel-log.ts. Must not know: threads, ports, payload.

import type { Logger } from '../base/log.ts';
import type { Serve } from '../bridge/calls.ts';
import type { ExitControlMethods } from '../bridge/exit-messages.ts';
import type { AccessControl } from './access.ts';
import type { Answers } from './answers.ts';
import type { LoginDesk } from './login-desk.ts';
import type { OwnCounts } from './own-counts.ts';
import type { Readings } from './readings.ts';
import type { Registry } from './registry.ts';
import type { TunnelLog } from './tunnel-log.ts';

/** What control has, for all shards. */
export interface ControlParts {
  /** Names this process to clients. */
  readonly nodeId: string;
  /** How many shards a client can have links to. */
  readonly shards: number;
  readonly registry: Registry;
  readonly access: AccessControl;
  readonly logins: LoginDesk;
  readonly answers: Answers;
  readonly own: OwnCounts;
  readonly readings: Pick<Readings, 'keepLast'>;
  readonly onTunnelUp: (tunnel: string) => void;
  /** Do visitors reach it by HTTPS? */
  readonly isHttps: (tunnel: string) => boolean;
  readonly tunnelLog: TunnelLog;
  readonly log: Logger;
}

export function serveShard(shard: number, parts: ControlParts): Serve<ExitControlMethods> {
  const { registry, access, log } = parts;
  return {
    authorize: async ({ identity, ...attempt }) => {
      if (identity !== undefined) return { access: 'allowed' };
      const found = await access.login(attempt);
      if (typeof found === 'string') return { access: found };
      return { access: 'allowed', credential: found.credential };
    },
    hello: (hello) => {
      registry.hello(hello, shard);
      const { client, link, remoteAddress, identity, agent, credential = '' } = hello;
      log.info({ client, link, remoteAddress, identity, agent }, 'client link up');
      const grant = access.grantOf({ credential, remoteAddress });
      return { node: parts.nodeId, shards: parts.shards, grant, spreadMs: registry.spreadMs };
    },
    register: (request) => register(parts, request),
    giveUpRegister: ({ link, call }) => registry.giveUp(link, call),
    unregister: ({ link, names }) => registry.unregister(link, names),
    linkLeaving: ({ link }) => registry.linkLeaving(link),
    linkGone: ({ link }) => registry.linkGone(link),
    ...access.shares.serve(shard),
    ...parts.logins.serve(),
    lastSample: (sample) => parts.readings.keepLast(shard, sample),
    request: (request) => parts.answers.answer(request, false),
    answered: ({ path, status }) => parts.own.onAnswer(path, status),
  };
}

async function register(
  { registry, onTunnelUp, isHttps, tunnelLog }: ControlParts,
  { link, call, tunnels }: ExitControlMethods['register']['takes'],
): Promise<ExitControlMethods['register']['gives']> {
  const served = new Set(registry.servedOn(link));
  const results = await registry.register(link, tunnels, call);
  const client = registry.clientOf(link);
  for (const answer of results) {
    // All tunnels are offered again for one that is refused.
    const isNews = answer.code !== '' || !served.has(answer.name);
    if (!isNews) continue;
    tunnelLog.tell(link, client, answer);
    if (answer.code === '') onTunnelUp(answer.name);
  }
  return results.map((answer) =>
    answer.code === '' && isHttps(answer.name) ? { ...answer, scheme: 'https' } : answer,
  );
}
