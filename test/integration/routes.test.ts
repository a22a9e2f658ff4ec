// Goal: requests of one connection go to different upstreams by path, unchanged byte for byte but
// for the rules their client declared. Method: one process, real threads; upstreams that send back
// the head as they got it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { CERT, KEY } from '../config/tls-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { startLocalClient, startNode, untilLinks } from '../support/local-tunnel.ts';
import { connectTo, get, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const WAIT_MS = 10_000;

/** Answers each request with a head of its own and, as the body, its name and what it got. */
function answerWithHead(name: string, fields = ''): (socket: net.Socket) => void {
  return (socket) => {
    let text = '';
    socket.on('data', (piece: Buffer) => {
      text += piece.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
        const body = `${name}\n${text.slice(0, end + 4)}`;
        text = text.slice(end + 4);
        socket.write(`HTTP/1.1 200 OK\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`);
      }
    });
    socket.on('end', () => socket.end());
  };
}

class Visitor {
  readonly #socket: net.Socket;
  #text = '';

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
  }

  /** Sends a head and gives the response's head and body. */
  async ask(head: string): Promise<{ head: string; body: string }> {
    this.#socket.write(Buffer.from(head, 'latin1'));
    const read = async (): Promise<{ head: string; body: string }> => {
      for (;;) {
        const end = this.#text.indexOf('\r\n\r\n') + 4;
        const length = Number(/\r\nContent-Length: (\d+)\r\n/.exec(this.#text)?.[1]);
        if (end >= 4 && this.#text.length >= end + length) {
          const answer = {
            head: this.#text.slice(0, end),
            body: this.#text.slice(end, end + length),
          };
          this.#text = this.#text.slice(end + length);
          return answer;
        }
        const [piece] = (await once(this.#socket, 'data')) as [string];
        this.#text += piece;
      }
    };
    return await within(WAIT_MS, `an answer to ${JSON.stringify(head.slice(0, 60))}`, read());
  }
}

async function visit(t: TestContext, port: number): Promise<Visitor> {
  return new Visitor(await connectTo(t, port));
}

test('one connection reaches two upstreams by path, and they get what was sent', async (t) => {
  const site = await startTcp(t, answerWithHead('site'));
  const api = await startTcp(t, answerWithHead('api'));
  const node = await startNode(t);
  const { tunnelLines } = await startLocalClient(t, node, {
    flags: {
      upstream: [`${HOST}=http://127.0.0.1:${site}`, `${HOST}/api=http://127.0.0.1:${api}`],
    },
  });
  assert.ok(tunnelLines.includes(`http://${HOST}/api -> http://127.0.0.1:${api}`));
  const visitor = await visit(t, node.httpPort);
  const cases: readonly (readonly [string, string])[] = [
    ['/', 'site'],
    ['/api', 'api'],
    ['/apix', 'site'],
    ['/api/x%2Fy?q=/..', 'api'],
    ['/a/../api/./%7e//', 'api'],
    ['/%61pi/%2e%2e/x', 'site'],
    ['/x/%2E%2e/%61pi;v=1/', 'site'],
    ['/x/%2E%2e/%61pi/;v=1', 'api'],
    ['/api%2Fx', 'site'],
  ];
  for (const [target, name] of cases) {
    const { head, body } = await visitor.ask(`GET ${target} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    assert.ok(body.startsWith(`${name}\nGET ${target} HTTP/1.1\r\nHost: ${HOST}\r\nVia`), body);
  }
  const ready = (name: string) => node.ask(`/readyz?tunnel=${name}`);
  assert.equal((await ready(`${HOST}/api`)).status, 200);
  assert.equal((await ready(encodeURIComponent(`${HOST}/api`))).status, 200);
  assert.equal((await ready(`${HOST}/other`)).status, 503);
  const labels = `code="200",host="${HOST}/api",method="GET"`;
  assert.equal(await node.metric(`http_dataplane_requests_total{${labels}}`), 4);
});

test('a host with tunnels by path only is 404 elsewhere, or the next pattern', async (t) => {
  const api = await startTcp(t, answerWithHead('api'));
  const rest = await startTcp(t, answerWithHead('rest'));
  const node = await startNode(t);
  const first = await startLocalClient(t, node, {
    flags: { upstream: `${HOST}/api=http://127.0.0.1:${api}` },
  });
  assert.equal((await get(t, { port: node.httpPort, host: HOST, path: '/' })).status, 404);
  assert.equal((await get(t, { port: node.httpPort, host: HOST, path: '/api' })).status, 200);
  await startLocalClient(t, node, { flags: { upstream: `*=http://127.0.0.1:${rest}` } });
  assert.match((await get(t, { port: node.httpPort, host: HOST, path: '/' })).body, /^rest\n/);
  first.client.stop();
  await first.ended();
  await node.untilMetric('sluiceway_clients', (count) => count === 1);
  assert.equal((await get(t, { port: node.httpPort, host: HOST, path: '/api' })).status, 503);
});

test('rules of a client change what they name, both ways', async (t) => {
  const site = await startTcp(t, answerWithHead('site', 'Server: x\r\nX-Kept: 1\r\nserver:y\r\n'));
  const node = await startNode(t);
  await startLocalClient(t, node, {
    flags: {
      upstream: [
        `${HOST}=http://127.0.0.1:${site};host-header=internal:81;request-header-add="X-Team: a, b"`,
        `plain.example=http://127.0.0.1:${site};response-header-remove=X-None`,
      ],
      'request-header-remove': ['X-Team', 'Cookie'],
      'response-header-remove': 'Server',
      'response-header-add': 'Cache-Control: no-store, max-age=0',
    },
  });
  const visitor = await visit(t, node.httpPort);
  const fields = 'x-team: c\r\nCookie: d\r\nAccept: */*\r\n';
  const { head, body } = await visitor.ask(`GET /a HTTP/1.1\r\nHost: ${HOST}\r\n${fields}\r\n`);
  assert.ok(
    body.startsWith(
      'site\nGET /a HTTP/1.1\r\nHost: internal:81\r\nAccept: */*\r\nX-Team: a, b\r\nVia: 1.1 sluiceway\r\n',
    ),
    body,
  );
  assert.match(body, new RegExp(`\\r\\nX-Forwarded-Host: ${HOST}\\r\\n`));
  assert.match(
    head,
    /^HTTP\/1\.1 200 OK\r\nX-Kept: 1\r\nContent-Length: \d+\r\nCache-Control: no-store, max-age=0\r\nVia: 1\.1 sluiceway\r\n\r\n$/,
  );
  // The same connection, another tunnel with rules of its own and some of the client's.
  const other = await visitor.ask(`GET /b HTTP/1.1\r\nHost: plain.example\r\n${fields}\r\n`);
  assert.ok(
    other.body.startsWith('site\nGET /b HTTP/1.1\r\nHost: plain.example\r\nAccept: */*\r\nVia'),
    other.body,
  );
  assert.match(other.head, /\r\nServer: x\r\nX-Kept: 1\r\nserver: y\r\n/);
  assert.match(other.head, /\r\nCache-Control: no-store, max-age=0\r\n/);
  const old = await (await visit(t, node.httpPort)).ask(`GET /c HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
  assert.ok(old.body.startsWith('site\nGET /c HTTP/1.1\r\nHost: internal:81\r\nX-Team: a, b\r\n'));
  assert.match(
    old.head,
    /\r\nCache-Control: no-store, max-age=0\r\nVia: 1\.1 sluiceway\r\nConnection: close\r\n/,
  );
});

test('rules follow the client that serves the request', async (t) => {
  const site = await startTcp(t, answerWithHead('site'));
  const node = await startNode(t, { flags: { shards: '1' } });
  const start = (id: string, host: string) =>
    startLocalClient(t, node, {
      flags: { id, upstream: `${HOST}=http://127.0.0.1:${site};host-header=${host}` },
    });
  const old = await start('old', 'old.internal');
  const kept = await visit(t, node.httpPort);
  const request = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  assert.match((await kept.ask(request)).body, /\r\nHost: old\.internal\r\n/);
  await start('new', 'new.internal');
  assert.match((await kept.ask(request)).body, /\r\nHost: old\.internal\r\n/, 'its stream lives');
  const seen = new Set<string>();
  for (let visitor = 0; visitor < 6; visitor += 1) {
    const { body } = await (await visit(t, node.httpPort)).ask(request);
    seen.add(/\r\nHost: (\w+)\.internal\r\n/.exec(body)?.[1] ?? '');
  }
  assert.deepEqual([...seen].toSorted(), ['new', 'old']);
  old.client.stop();
  await old.ended();
  await untilLinks(node, 1);
  assert.match((await kept.ask(request)).body, /\r\nHost: new\.internal\r\n/);
});

test('an https upstream is verified: by its own CA it is 200, without 502', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluiceway-ca-'));
  undoAfter(t, () => rm(folder, { recursive: true }));
  const ca = path.join(folder, 'ca.pem');
  await writeFile(ca, CERT);
  const server = tls.createServer({ cert: CERT, key: KEY }, answerWithHead('site'));
  server.on('tlsClientError', () => {
    // Who does not trust us goes away.
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const upstream = `https://127.0.0.1:${address.port}`;
  const node = await startNode(t);
  const { log } = await startLocalClient(t, node, {
    complains: true,
    flags: {
      // The refusal is tested with the shard; here it would only be noise.
      'log-level': 'silent',
      upstream: [
        `trusted.example=${upstream};tls-ca=${ca}`,
        `unknown.example=${upstream}`,
        `name.example=${upstream};tls-ca=${ca};tls-server-name=other.example`,
        `any.example=${upstream};tls-insecure=true`,
      ],
    },
  });
  const status = async (host: string) => (await get(t, { port: node.httpPort, host })).status;
  assert.equal(await status('trusted.example'), 200);
  assert.equal(await status('unknown.example'), 502);
  assert.equal(await status('name.example'), 502);
  assert.equal(await status('any.example'), 200);
  assert.deepEqual(
    log.complaints().map(({ tunnel }) => tunnel),
    ['any.example'],
    'what is not verified is told of at start',
  );
});
