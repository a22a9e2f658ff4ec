// What the request inspector answers: lists and details of inspected requests, and replays.
//
//   GET /api/requests?tunnel=NAME&limit=N   GET /api/requests/ID   POST /api/requests/ID/replay
//
// Invariant: a shard that does not answer in time is left out, and never waited for longer; what
// is asked for is checked before a shard is. Must not know: who may ask.

import type { InspectSettings } from '../base/inspection.ts';
import type { Bridge } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods, PlainAnswer } from '../bridge/exit-messages.ts';
import type { InspectedRequest } from '../bridge/inspected.ts';

const PATH = '/api/requests';
const LIST_TIMEOUT_MS = 1000;
/** Beyond what a replay may take in the shard. */
const REPLAY_TIMEOUT_MS = 35_000;
const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1000;
const NAME_LENGTH_MAX = 512;
/** `SHARD-LIFE-NUMBER`, perhaps with `/replay`. */
const ONE = /^\/api\/requests\/((\d{1,3})-[0-9a-f]{6}-\d{1,15})(\/replay)?$/;
const JSON_TYPE = {
  'content-type': 'application/json; charset=utf-8',
  'cache-control': 'no-store',
};

export interface InspectorOptions {
  readonly bridges: () => Iterable<readonly [number, Bridge<ExitControlMethods, ExitShardMethods>]>;
  readonly settings: () => InspectSettings;
}

export class RequestInspector {
  readonly #options: InspectorOptions;

  constructor(options: InspectorOptions) {
    this.#options = options;
  }

  /** Undefined: the path is not of the inspector. */
  answer(method: string, target: string): Promise<PlainAnswer> | undefined {
    const [path = '', query = ''] = target.split('?', 2);
    if (path !== PATH && !path.startsWith(`${PATH}/`)) return undefined;
    return this.#route(method, path, new URLSearchParams(query));
  }

  async #route(method: string, path: string, query: URLSearchParams): Promise<PlainAnswer> {
    const isRead = method === 'GET' || method === 'HEAD';
    if (path === PATH) return isRead ? this.#list(query) : refuse(405, 'only GET');
    const [, id = '', shard = '', replay] = ONE.exec(path) ?? [];
    if (shard === '') return refuse(404, 'no such request');
    const wants = replay === undefined ? isRead : method === 'POST';
    if (!wants) return refuse(405, replay === undefined ? 'only GET' : 'only POST');
    const bridge = [...this.#options.bridges()].find(([at]) => at === Number(shard))?.[1];
    if (bridge === undefined) return refuse(404, 'no such request');
    try {
      return await (replay === undefined ? describe(bridge, id) : repeat(bridge, id));
    } catch {
      return refuse(504, 'its shard does not answer');
    }
  }

  async #list(query: URLSearchParams): Promise<PlainAnswer> {
    const tunnel = query.get('tunnel') ?? undefined;
    const limit = Number(query.get('limit') ?? LIMIT_DEFAULT);
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
      return refuse(400, `"limit" must be a number from 1 to ${LIMIT_MAX}`);
    }
    if (tunnel !== undefined && tunnel.length > NAME_LENGTH_MAX) {
      return refuse(400, '"tunnel" is too long');
    }
    const { tunnels } = this.#options.settings();
    const calls = [...this.#options.bridges()].map(([, bridge]) =>
      bridge.call('inspected', { tunnel, limit }, LIST_TIMEOUT_MS),
    );
    const found: InspectedRequest[] = [];
    for (const result of await Promise.allSettled(calls)) {
      if (result.status === 'fulfilled') found.push(...result.value);
    }
    found.sort((a, b) => b.startedMs - a.startedMs);
    return json(200, { isOn: tunnels.length > 0, tunnels, requests: found.slice(0, limit) });
  }
}

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

async function describe(bridge: ShardBridge, id: string): Promise<PlainAnswer> {
  const found = await bridge.call('inspect', { id }, LIST_TIMEOUT_MS);
  return found === undefined ? refuse(404, 'no such request, or no longer') : json(200, found);
}

async function repeat(bridge: ShardBridge, id: string): Promise<PlainAnswer> {
  const result = await bridge.call('replay', { id }, REPLAY_TIMEOUT_MS);
  if (result === undefined) return refuse(404, 'no such request, or no longer');
  return 'problem' in result ? refuse(409, result.problem) : json(200, result);
}

function json(status: number, value: unknown): PlainAnswer {
  return { status, headers: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

function refuse(status: number, problem: string): PlainAnswer {
  return json(status, { problem });
}
