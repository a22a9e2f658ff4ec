// Requests as fast as they are answered, on targets that end their connections: what was answered
// is timed from its own request, and what was not is a failure.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import autocannon, { type Client } from 'autocannon';
import { dialsItself } from '../../native-free-bench/command/autocannon-client.ts';
import { probe, SilentError } from '../../native-free-bench/command/http-load.ts';
import type { TargetReport } from '../../native-free-bench/command/report.ts';
import { requestBytes } from '../../native-free-bench/command/request-head.ts';
import type { TargetLoad } from '../../native-free-bench/command/running.ts';
import type { Round } from '../../native-free-bench/command/tally.ts';
import { measureRound } from '../../native-free-bench/command/target.ts';
import { within } from '../support/deadline.ts';
import { leafOf, newAuthority, serveCa } from '../support/private-pki.ts';
import { runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment } from '../support/tunnel.ts';
import { startHttp, startTcp } from '../support/upstream.ts';

/** Of an answer that never ends. */
const PIECE_MS = 20;
/** Of one that has interim answers before it. */
const ANSWER_MS = 50;

function load(
  port: number,
  connections = 1,
  { perSecond = 0, headers = [] }: Partial<Pick<TargetLoad, 'perSecond' | 'headers'>> = {},
): Promise<Round> {
  return measureRound(
    {
      url: new URL(`http://127.0.0.1:${port}/`),
      ...{ load: 'http', headers, connections, perSecond },
      ...{ warmUpMs: 0, durationMs: 1_000 },
    },
    () => undefined,
  );
}

/** Half of the answers are faster; mistaken for those of earlier requests they take 100 ms. */
function assertFast({ latency }: Round): void {
  const p50Us = latency?.p50Us ?? Number.NaN;
  assert.ok(p50Us < 50_000, `p50 ${p50Us} µs`);
}

test('a connection that ends behind its last answer is no failure, and latencies stay', async (t) => {
  let answers = 0;
  const port = await startHttp(t, (_request, response) => {
    answers += 1;
    if (answers % 2 === 0) response.setHeader('connection', 'close');
    response.end('x'.repeat(128));
  });
  const round = await load(port);
  assert.deepEqual(round.failures, {});
  assert.ok(round.answers > 20, `${round.answers} answers`);
  assertFast(round);
});

for (const perSecond of [0, 10]) {
  test(`interim answers are none, at ${perSecond} a second`, async (t) => {
    const port = await startTcp(t, (socket) => {
      socket.on('data', () => {
        socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), ANSWER_MS);
      });
    });
    const round = await load(port, 1, { perSecond });
    assert.deepEqual(round.failures, {});
    assert.ok(round.answers > 5, `${round.answers} answers`);
    // One that is out at the end has waited for less; a timer of a busy loop may come early.
    const usually = round.curve.find(([percent]) => percent === 25)?.[1] ?? 0;
    assert.ok(usually > (1000 * ANSWER_MS) / 2, `a quarter has taken ${usually} µs at most`);
  });

  test(`a protocol that nobody asked for is a failure, at ${perSecond} a second`, async (t) => {
    const port = await startTcp(t, (socket) => {
      const switched = 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n';
      // What comes before the count begins does not count.
      socket.once('data', () => setTimeout(() => socket.write(switched), ANSWER_MS));
      socket.on('end', () => socket.end());
    });
    const { answers, failures } = await load(port, 1, { perSecond });
    assert.equal(answers, 0);
    assert.ok((failures['status 101'] ?? 0) > 0, JSON.stringify(failures));
  });
}

for (const perSecond of [0, 10]) {
  test(`a header that is given twice is two lines, at ${perSecond} a second`, async (t) => {
    const asked = new Set<string>();
    const port = await startHttp(t, (request, response) => {
      asked.add(JSON.stringify(request.rawHeaders));
      response.end();
    });
    const headers = [
      ...[
        ['X-A', '1'],
        ['Cookie', 'a=1'],
        ['Host', 'one.example'],
        ['x-a', '\u00e9'],
      ],
      ...[
        ['Cookie', 'b=2'],
        ['X-A', '3, 4'],
      ],
    ] as [string, string][];
    const round = await load(port, 1, { perSecond, headers });
    assert.deepEqual(round.failures, {});
    const sent = [...headers.flat(), 'Connection', 'keep-alive'];
    assert.deepEqual([...asked], [JSON.stringify(sent)]);
  });
}

test('the certificate is verified for the Host that was given', async (t) => {
  const authority = await newAuthority();
  const leaf = await leafOf(authority, { names: ['shop.example'] });
  const port = await serveCa(t, leaf, authority.cert);
  const url = new URL(`https://127.0.0.1:${port}/.well-known/ca.crt`);
  const target = { url, load: 'http', connections: 1, perSecond: 0, ca: authority.cert } as const;
  const headers = [['Host', 'shop.example:8443']] as const;
  assert.equal(await probe({ ...target, headers }), 200);
  await assert.rejects(probe({ ...target, headers: [] }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
});

test('an answer whose end is that of its connection is whole', async (t) => {
  const port = await startTcp(t, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\nhello'));
  });
  const round = await load(port);
  assert.deepEqual(round.failures, {});
  assert.ok(round.answers > 20, `${round.answers} answers`);
  assertFast(round);
});

for (const [what, end] of [
  ['no answer', (response: ServerResponse) => response.socket?.end()],
  ['a reset', (response: ServerResponse) => response.socket?.resetAndDestroy()],
  [
    'half of a body',
    (response: ServerResponse) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('x'.repeat(50));
      response.socket?.end();
    },
  ],
  [
    'a chunk that is not the last',
    (response: ServerResponse) => {
      response.write('x'.repeat(50));
      response.socket?.end();
    },
  ],
  [
    'something that is no answer',
    (response: ServerResponse) => response.socket?.write('SSH-2.0-OpenSSH_9.9\r\n'),
  ],
] as const) {
  test(`a request that gets ${what} is a failure, and the next ones are timed right`, async (t) => {
    let asked = 0;
    const port = await startHttp(t, (_request, response) => {
      asked += 1;
      if (asked % 10 !== 0) return response.end('x'.repeat(128));
      end(response);
    });
    const round = await load(port);
    const failed = Object.values(round.failures).reduce((sum, count) => sum + count, 0);
    assert.ok(failed > 2, `${failed} failed`);
    assert.ok(Math.abs(round.answers - 9 * failed) <= 9, `${round.answers} beside ${failed}`);
    assertFast(round);
  });
}

test('bodies that are cut are exit code 1', async (t) => {
  const port = await startHttp(t, cutEveryTenth());
  const folder = scratchFolder(t);
  const run = await runProgram(t, {
    command: process.execPath,
    args: [
      ...[ENTRY, 'bench', '--output', folder, '--url', `http://127.0.0.1:${port}/`],
      ...['--duration', '1s', '--warm-up', '0ms', '--rounds', '1', '--connections', '4'],
    ],
    env: environment(),
  });
  assert.equal(run.code, 1);
  assert.match(run.stderr, /^sluiceway: [\d,]+ failed: [\d,]+ × closed$/m);
  const report = JSON.parse(readFileSync(path.join(folder, 'report.json'), 'utf8'));
  assert.ok(((report as TargetReport).failures.closed ?? 0) > 0);
});

function cutEveryTenth(): (request: IncomingMessage, response: ServerResponse) => void {
  let asked = 0;
  return (_request, response) => {
    asked += 1;
    response.writeHead(200, { 'content-length': 100 });
    if (asked % 10 !== 0) return response.end('x'.repeat(100));
    response.write('x'.repeat(50));
    response.socket?.end();
  };
}

test('a target that is gone is dialled ten times a second on each connection', async (t) => {
  const port = await startTcp(t, (socket) => socket.end());
  const { answers, failures, seconds } = await load(port, 2);
  assert.equal(answers, 0);
  const closed = failures.closed ?? 0;
  assert.ok(closed > 2 && closed <= 2 * (10 * seconds + 1), `${closed} in ${seconds} s`);
});

for (const perSecond of [0, 10]) {
  test(`bytes of an answer that goes on are those that came, at ${perSecond} a second`, async (t) => {
    const port = await startHttp(t, (_request, response) => {
      const pieces = setInterval(() => response.write('x'.repeat(1_000)), PIECE_MS);
      response.on('close', () => clearInterval(pieces));
    });
    const { answers, bytesPerSecond } = await load(port, 1, { perSecond });
    assert.equal(answers, 0);
    assert.ok(bytesPerSecond > 5_000, `${bytesPerSecond} B/s`);
  });
}

test('of a body nothing is kept', async (t) => {
  const port = await startHttp(t, (_request, response) => response.write('x'.repeat(10_000)));
  const got = Promise.withResolvers<Client>();
  let bytes = 0;
  const instance = autocannon(
    {
      ...{ url: `http://127.0.0.1:${port}/`, connections: 1, duration: 60 },
      setupClient: (client) => {
        const onBytes = (count: number): void => {
          bytes += count;
          if (bytes > 10_000) got.resolve(client);
        };
        const url = new URL(`http://127.0.0.1:${port}/`);
        dialsItself(client, { request: requestBytes({ url, headers: [] }), onBytes });
      },
    },
    () => undefined,
  );
  t.after(() => (instance as unknown as { stop(): void }).stop());
  const client = await within(10_000, 'a body', got.promise);
  // The client reads the piece right behind the count.
  await new Promise((resolve) => setImmediate(resolve));
  const { pipelinedRequests } = client as unknown as {
    readonly pipelinedRequests: { peek(): { readonly body: string } | undefined };
  };
  assert.equal(pipelinedRequests.peek()?.body, '');
});

test('a target whose answer never ends is not waited for', async (t) => {
  const port = await startHttp(t, (_request, response) => {
    const more = (): void => {
      if (response.destroyed) return;
      response.write('data: x\n\n');
      setTimeout(more, PIECE_MS);
    };
    more();
  });
  const url = new URL(`http://127.0.0.1:${port}/events`);
  const options = { load: 'http', headers: [], connections: 1, perSecond: 0 } as const;
  const probing = probe({ url, ...options }, 10 * PIECE_MS);
  await assert.rejects(within(10_000, 'the probe ends', probing), SilentError);
});

test('a certificate that is not trusted ends it, whatever the environment says', async (t) => {
  const authority = await newAuthority();
  const port = await serveCa(t, await leafOf(authority), authority.cert);
  const url = `https://127.0.0.1:${port}/.well-known/ca.crt`;
  const bench = (...more: readonly string[]) =>
    runProgram(t, {
      command: process.execPath,
      args: [
        ...[ENTRY, 'bench', '--output', scratchFolder(t), '--url', url, '--connections', '2'],
        ...['--duration', '1s', '--warm-up', '0ms', '--rounds', '1', ...more],
      ],
      env: environment({ [`NODE_TLS_${'REJECT_UNAUTHORIZED'}`]: '0' }),
    });
  const refused = await bench();
  assert.equal(refused.code, 1, refused.stderr);
  assert.match(refused.stderr, /cannot be loaded: (?:SELF_SIGNED|UNABLE_TO_VERIFY)/);
  const ca = path.join(scratchFolder(t), 'ca.pem');
  writeFileSync(ca, authority.cert);
  const trusted = await bench('--tls-ca', ca);
  assert.equal(trusted.code, 0, trusted.stderr);
});
