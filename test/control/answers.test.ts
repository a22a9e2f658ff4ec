// Goal: without a token nothing but health answers 200, and nothing of a request is reflected.
// Method: the table of paths and methods, with and without a token, trusted and not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PlainAnswer } from '../../src/bridge/exit-messages.ts';
import { Answers } from '../../src/control/answers.ts';

const GOOD = 'Bearer good';
const VERDICTS: Readonly<Record<string, 'forbidden' | 'throttled'>> = {
  'Bearer scoped': 'forbidden',
  'Bearer again': 'throttled',
};
const PATHS = ['/status', '/metrics', '/healthz', '/readyz', '/connect'] as const;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'BREW'] as const;

class Bench {
  readonly counted: string[] = [];
  readonly refusals: string[] = [];
  isReady = true;
  readonly answers = new Answers({
    judge: ({ authorization }) => {
      if (authorization === GOOD) return { entry: undefined, credential: '' };
      this.refusals.push(authorization === undefined ? 'missing' : 'wrong');
      return VERDICTS[authorization ?? ''] ?? 'refused';
    },
    isReady: () => this.isReady,
    isServed: (tunnel) => tunnel === 'a.example',
    status: async () => ({
      info: { version: '1', mode: 'http,tcp', hostname: 'h', startTime: '', shards: 1 },
      clients: [],
    }),
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'a_metric 1\n' }),
    onAnswer: (path, status) => this.counted.push(`${status} ${path}`),
  });

  ask(
    target: string,
    more: { method?: string; authorization?: string; isTrusted?: boolean } = {},
  ): Promise<PlainAnswer> {
    const { method = 'GET', authorization, isTrusted = false } = more;
    const remoteAddress = '192.0.2.1:1';
    return this.answers.answer({ method, target, authorization, remoteAddress }, isTrusted);
  }
}

test('without a token only health and readiness answer 200, on any path with any method', async () => {
  const bench = new Bench();
  const others = ['/', '', '*', '/Status', '/status/', '//status', '/status/../metrics', '/admin'];
  const odd = ['/%73tatus', '/.well-known/ca.crt', '/connect/x', 'http://127.0.0.1/status', '/ca'];
  for (const path of [...PATHS, ...others, ...odd]) {
    for (const method of METHODS) {
      for (const query of ['', '?token=good', '?']) {
        for (const authorization of [undefined, '', 'Bearer bad', 'Basic good']) {
          const auth = authorization === undefined ? {} : { authorization };
          const { status } = await bench.ask(`${path}${query}`, { method, ...auth });
          const isRead = method === 'GET' || method === 'HEAD';
          const isOpen = isRead && (path === '/healthz' || path === '/readyz');
          const at = `${method} ${path}${query} ${authorization}`;
          if (isOpen) assert.equal(status, 200, at);
          else assert.ok([401, 404, 405, 426].includes(status), `${status} for ${at}`);
        }
      }
    }
  }
});

test('with the token status and metrics answer', async () => {
  const bench = new Bench();
  const status = await bench.ask('/status', { authorization: GOOD });
  assert.deepEqual([status.status, status.headers['content-type']], [200, 'application/json']);
  assert.deepEqual(JSON.parse(status.body).clients, []);
  const metrics = await bench.ask('/metrics?x=1', { authorization: GOOD });
  assert.deepEqual([metrics.status, metrics.body], [200, 'a_metric 1\n']);
  assert.match(metrics.headers['content-type'] ?? '', /version=0\.0\.4/);
});

test('trusted: metrics need no token, status does', async () => {
  const bench = new Bench();
  assert.equal((await bench.ask('/metrics', { isTrusted: true })).status, 200);
  assert.equal((await bench.ask('/status', { isTrusted: true })).status, 401);
  assert.deepEqual(bench.refusals, ['missing']);
});

test('readiness follows the listeners, and a tunnel that is asked for', async () => {
  const bench = new Bench();
  const ask = async (query: string) => (await bench.ask(`/readyz${query}`)).status;
  assert.deepEqual(
    [await ask(''), await ask('?tunnel=a.example'), await ask('?tunnel=b.example')],
    [200, 200, 503],
  );
  assert.equal(await ask('?tunnel='), 503);
  bench.isReady = false;
  assert.deepEqual([await ask(''), await ask('?tunnel=a.example')], [503, 503]);
  assert.equal((await bench.ask('/healthz')).status, 200, 'it works all the same');
});

test('answers are constant, and counted by a bounded set of paths', async () => {
  const bench = new Bench();
  const bodies = new Set<string>();
  for (let index = 0; index < 200; index += 1) {
    const { body, headers } = await bench.ask(`/nothing-${index}<script>?q=${index}`);
    bodies.add(body + JSON.stringify(headers));
  }
  assert.equal(bodies.size, 1);
  assert.deepEqual(new Set(bench.counted), new Set(['404 _other']));
  await bench.ask('/status', { authorization: 'Bearer secret-secret' });
  assert.doesNotMatch(JSON.stringify([...bench.counted, ...bench.refusals]), /secret/);
  assert.deepEqual(bench.refusals, ['wrong']);
});

test('a plain request for a link is told to upgrade, other methods what is allowed', async () => {
  const bench = new Bench();
  const connect = await bench.ask('/connect', { authorization: GOOD });
  assert.deepEqual([connect.status, connect.headers.upgrade], [426, 'websocket']);
  const post = await bench.ask('/status', { method: 'POST', authorization: GOOD });
  assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
});

test('a token for tunnels alone reads nothing, and who guesses on is told to wait', async () => {
  const bench = new Bench();
  for (const path of ['/status', '/metrics']) {
    assert.equal((await bench.ask(path, { authorization: 'Bearer scoped' })).status, 403, path);
    const { status, headers } = await bench.ask(path, { authorization: 'Bearer again' });
    assert.deepEqual([status, headers['retry-after']], [429, '6'], path);
  }
});
