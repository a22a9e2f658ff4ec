// The ACME client against an issuer of a few lines: limits, outages, advice, and strange answers.
// What a whole issuer does is tested against Pebble, in test/e2e/acme.test.ts.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import test, { type TestContext } from 'node:test';
import { AcmeError, AcmeIssuer, type ChallengeSolver } from '../../src/control/acme.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const NOW_MS = Date.UTC(2026, 0, 1);

interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface Stub {
  readonly issuer: AcmeIssuer;
  readonly seen: string[];
  /** Payloads of signed requests, by path. */
  readonly payloads: Record<string, unknown>[];
  readonly url: string;
}

type Answers = Readonly<Record<string, (count: number, url: string) => Reply>>;

/** An issuer that knows every account, and otherwise answers as `answers` says. */
async function startStub(t: TestContext, answers: Answers): Promise<Stub> {
  const seen: string[] = [];
  const payloads: Record<string, unknown>[] = [];
  const known: Answers = {
    '/dir': (_count, url) => ({
      status: 200,
      body: {
        newNonce: `${url}/nonce`,
        newAccount: `${url}/account`,
        newOrder: `${url}/order`,
        renewalInfo: `${url}/ari`,
      },
    }),
    '/nonce': () => ({ status: 200 }),
    '/account': (_count, url) => ({ status: 201, headers: { location: `${url}/me` }, body: {} }),
    ...answers,
  };
  const reply = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? '';
    seen.push(path);
    const signed = await readPayload(request);
    if (signed !== undefined) payloads.push({ path, ...signed });
    const answer = known[path] ?? known[path.replace(/[^/]*$/, '*')];
    const count = seen.filter((one) => one === path).length;
    const { status, headers, body } = answer?.(count, url) ?? { status: 404 };
    response.writeHead(status, { 'replay-nonce': `n${seen.length}`, ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body ?? {}));
  };
  const server = createServer({ cert: CERT, key: KEY }, (request, response) => {
    void reply(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const url = `https://localhost:${address.port}`;
  return { issuer: issuerAt(`${url}/dir`), seen, payloads, url };
}

function issuerAt(directory: string): AcmeIssuer {
  return new AcmeIssuer({
    directory,
    accountKey: PAIR_A.key,
    email: undefined,
    ca: CERT,
    agent: 'sluiceway/test',
    wallMs: () => NOW_MS,
  });
}

async function readPayload(request: IncomingMessage): Promise<Record<string, unknown> | undefined> {
  let text = '';
  for await (const piece of request) text += String(piece);
  if (text === '') return undefined;
  const { payload } = JSON.parse(text) as { payload: string };
  const decoded = Buffer.from(payload, 'base64url').toString();
  return decoded === '' ? {} : (JSON.parse(decoded) as Record<string, unknown>);
}

const NO_SOLVER: ChallengeSolver = {
  present: () => assert.fail('nothing is to be shown'),
  cleanup: () => assert.fail('nothing was shown'),
};

async function orderError(issuer: AcmeIssuer, replaces?: string): Promise<AcmeError> {
  try {
    const kind = 'http-01';
    const onBegin = async (): Promise<void> => {};
    await issuer.order({ name: 'a.test', kind, solver: NO_SOLVER, replaces, onBegin });
  } catch (error) {
    assert.ok(error instanceof AcmeError, String(error));
    return error;
  }
  return assert.fail('the order was filled');
}

const problem = (status: number, type: string, retryAfter?: string): Reply => ({
  status,
  headers: retryAfter === undefined ? {} : { 'retry-after': retryAfter },
  body: { type: `urn:ietf:params:acme:error:${type}`, detail: `because of ${type}` },
});

test('gives up at once on 429, and says for how long', async (t) => {
  const date = new Date(NOW_MS + 3_600_000).toUTCString();
  const replies = [problem(429, 'rateLimited', '120'), problem(429, 'rateLimited', date)];
  const stub = await startStub(t, {
    '/order': (count) => replies[count - 1] ?? problem(503, 'serverInternal', '7'),
  });
  for (const retryAfterMs of [120_000, 3_600_000, 7000]) {
    const error = await orderError(stub.issuer);
    assert.equal(error.code, 'SLW_ACME_LIMITED');
    assert.equal(error.retryAfterMs, retryAfterMs);
  }
  assert.equal(stub.seen.filter((path) => path === '/order').length, 3);
});

test('tells a refusal from an outage', async (t) => {
  const replies = [problem(403, 'rejectedIdentifier'), problem(500, 'serverInternal')];
  const stub = await startStub(t, { '/order': (count) => replies[count - 1] ?? { status: 400 } });
  const refused = await orderError(stub.issuer);
  assert.equal(refused.code, 'SLW_ACME_REFUSED');
  assert.equal(refused.message, 'because of rejectedIdentifier (403, rejectedIdentifier)');
  assert.equal((await orderError(stub.issuer)).code, 'SLW_ACME_UNREACHABLE');
  assert.equal((await orderError(stub.issuer)).code, 'SLW_ACME_REFUSED');
});

test('says when nobody is there, or somebody who cannot be trusted', async (t) => {
  const nobody = await orderError(issuerAt(`https://localhost:${await freePort()}/dir`));
  assert.equal(nobody.code, 'SLW_ACME_UNREACHABLE');
  assert.match(nobody.message, /^localhost:\d+: .*ECONNREFUSED/);
  const { url } = await startStub(t, {});
  const stranger = await orderError(issuerAt(`${url.replace('localhost', '127.0.0.1')}/dir`));
  assert.notEqual(stranger.code, 'SLW_ACME_UNREACHABLE', '127.0.0.1 is in the certificate');
  const other = new AcmeIssuer({
    ...{ directory: `${url}/dir`, accountKey: PAIR_A.key, email: undefined, ca: undefined },
    ...{ agent: 'test', wallMs: () => NOW_MS },
  });
  assert.match((await orderError(other)).message, /self-signed certificate/);
});

test('survives answers that are no ACME', async (t) => {
  const answers: readonly Reply[] = [
    { status: 200, body: '<html>log in</html>' },
    { status: 200, body: {} },
    { status: 502, body: '<html>\u0000\u001b[31m bad gateway</html>' },
  ];
  for (const answer of answers) {
    const { issuer } = await startStub(t, { '/dir': () => answer });
    const error = await orderError(issuer);
    assert.doesNotMatch(error.message, /[^\x20-\x7e]/);
    assert.ok(error.message.length < 400);
  }
});

test('orders anew when the issuer no longer knows what is replaced', async (t) => {
  const table = [
    [problem(409, 'alreadyReplaced'), ['key.serial', undefined]],
    [problem(400, 'malformed'), ['key.serial', undefined]],
    // Boulder's, of another account's certificate, and of a serial that it does not have.
    [problem(403, 'unauthorized'), ['key.serial', undefined]],
    [problem(404, 'malformed'), ['key.serial', undefined]],
    // These say nothing of it, and asking again makes them worse.
    [problem(429, 'rateLimited'), ['key.serial']],
    [problem(500, 'serverInternal'), ['key.serial']],
  ] as const;
  for (const [first, wanted] of table) {
    const stub = await startStub(t, {
      '/order': (count) => (count === 1 ? first : problem(403, 'rejectedIdentifier')),
    });
    await orderError(stub.issuer, 'key.serial');
    const orders = stub.payloads.filter(({ path }) => path === '/order');
    assert.deepEqual(
      orders.map(({ replaces }) => replaces),
      wanted,
      String(first.status),
    );
  }
});

test('asks for advice, and does without where there is none', async (t) => {
  const suggestedWindow = { start: '2026-01-02T00:00:00Z', end: '2026-01-03T00:00:00Z' };
  const stub = await startStub(t, {
    '/ari/*': () => ({
      status: 200,
      headers: { 'retry-after': '21600' },
      body: { suggestedWindow },
    }),
  });
  const advice = await stub.issuer.advice('key.serial');
  assert.deepEqual(advice, {
    window: { startMs: Date.UTC(2026, 0, 2), endMs: Date.UTC(2026, 0, 3) },
    retryAfterMs: 21_600_000,
  });
  assert.deepEqual(stub.seen, ['/dir', '/ari/key.serial']);
  const old = await startStub(t, { '/dir': () => ({ status: 200, body: {} }) });
  assert.equal(await old.issuer.advice('key.serial'), undefined);
});

test('what is answered to a question is not taken for an answer to an order', async (t) => {
  const { issuer } = await startStub(t, { '/ari/*': () => problem(429, 'rateLimited', '120') });
  const onBegin = async (): Promise<void> => {
    const limited = { code: 'SLW_ACME_LIMITED', retryAfterMs: 120_000 };
    await assert.rejects(issuer.advice('key.serial'), limited);
    throw new Error('the disk is full');
  };
  const request = {
    name: 'a.test',
    kind: 'http-01',
    solver: NO_SOLVER,
    replaces: undefined,
  } as const;
  const failure = { code: 'SLW_ACME_REFUSED', message: 'the disk is full', retryAfterMs: 0 };
  await assert.rejects(issuer.order({ ...request, onBegin }), failure);
});
