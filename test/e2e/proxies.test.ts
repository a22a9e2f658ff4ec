// Debian's HAProxy in front of the exit node, and HAProxy and nginx as upstreams that want to know
// who visits.
//
// Goal: the visitor's own address arrives in TCP mode (PROXY v2) and in HTTP mode
// (X-Forwarded-For), and connections that are kept while idle never cost a request. Method:
// visitors connect from addresses of their own on loopback; HAProxy's two modes leave from two
// others.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { sleep } from '../../src/base/clock.ts';
import { encodeProxyHeader } from '../../src/edge/proxy-writer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { startTunnel } from '../support/tunnel.ts';
import { sendRaw, startHttp, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
/** HAProxy's TCP mode leaves from here, and must send a header. */
const TCP_PROXY = '127.0.0.1';
/** Its HTTP mode from here, and is believed. */
const HTTP_PROXY = '127.0.1.1';
const VISITORS = 20;
const REQUESTS = 5000;
/** Around 5 s, at which HAProxy and Node both close idle connections by default. */
const GAP_MS_MIN = 4000;
const GAP_MS_MAX = 6000;
const GAPS = 3;

interface Upstreams {
  readonly httpPort: number;
  readonly tcpPort: number;
}

interface Fronts {
  readonly http: number;
  readonly httpAsTcp: number;
  readonly tcp: number;
}

async function startHaproxy(t: TestContext, command: string, text: string): Promise<void> {
  const file = path.join(scratchFolder(t), 'haproxy.cfg');
  writeFileSync(file, text);
  startProcess(t, { name: 'haproxy', command, args: ['-db', '-f', file], endSignal: 'SIGTERM' });
}

const DEFAULTS = `
global
  maxconn 1000
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
`;

function frontText(fronts: Fronts, { httpPort, tcpPort }: Upstreams): string {
  return `${DEFAULTS}
listen http
  mode http
  bind 127.0.0.1:${fronts.http}
  option forwardfor
  http-reuse always
  server exit 127.0.0.1:${httpPort} source ${HTTP_PROXY}
listen http-as-tcp
  mode tcp
  bind 127.0.0.1:${fronts.httpAsTcp}
  server exit 127.0.0.1:${httpPort} send-proxy-v2
listen tcp
  mode tcp
  bind 127.0.0.1:${fronts.tcp}
  server exit 127.0.0.1:${tcpPort} send-proxy-v2-ssl-cn
`;
}

/** A port that HAProxy and nginx open without saying so. */
async function untilOpen(port: number): Promise<void> {
  await eventually(10_000, `port ${port} is open`, async () => {
    const socket = net.connect({ port, host: '127.0.0.1' });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    }).finally(() => socket.destroy());
  });
}

interface Told {
  readonly status: number;
  readonly body: string;
}

/** A visitor from `address`, on one connection that it keeps. */
class Visitor {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  readonly #address: string;
  readonly #port: number;
  readonly #headers: http.OutgoingHttpHeaders;

  constructor(
    t: TestContext,
    address: string,
    port: number,
    headers: http.OutgoingHttpHeaders = {},
  ) {
    this.#headers = headers;
    this.#address = address;
    this.#port = port;
    undoAfter(t, () => this.#agent.destroy());
  }

  get(): Promise<Told> {
    const answer = new Promise<Told>((resolve, reject) => {
      const options = {
        ...{ host: '127.0.0.1', port: this.#port, agent: this.#agent },
        localAddress: this.#address,
        headers: { host: HOST, 'x-forwarded-for': '6.6.6.6', ...this.#headers },
      };
      const request = http.get(options, (response) => {
        let body = '';
        response.setEncoding('latin1').on('data', (piece: string) => {
          body += piece;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        response.on('error', reject);
      });
      request.on('error', reject);
    });
    return within(20_000, 'an answer', answer);
  }
}

test('behind HAProxy the visitor is known, and no kept connection costs a request', async (t) => {
  const programs = requirePrograms(t, ['haproxy']);
  if (programs === undefined) return;
  const site = await startHttp(t, ({ headers }, response) => {
    response.end(`${headers['x-real-ip']}|${headers['x-forwarded-for']}`);
  });
  // Says by a PROXY header of its own who visits, and then what came.
  const echo = await startTcp(t, (socket) => socket.pipe(socket));
  const tcpPort = await freePort();
  const { httpPort } = await startTunnel(
    t,
    [
      ...[
        '--upstream',
        `${HOST}=http://127.0.0.1:${site}`,
        '--tcp',
        `${tcpPort}=127.0.0.1:${echo}`,
      ],
      ...['--proxy-protocol', 'v1'],
    ],
    { args: ['--accept-proxy-protocol', TCP_PROXY, '--trusted-proxies', HTTP_PROXY] },
  );
  const fronts = { http: await freePort(), httpAsTcp: await freePort(), tcp: await freePort() };
  await startHaproxy(t, programs.haproxy, frontText(fronts, { httpPort, tcpPort }));
  for (const port of Object.values(fronts)) await untilOpen(port);

  await t.test('in TCP mode by PROXY v2, on HTTP and TCP ports', async () => {
    const told = await new Visitor(t, '127.0.0.77', fronts.httpAsTcp).get();
    assert.deepEqual(told, { status: 200, body: '127.0.0.77|127.0.0.77' });
    const answer = await talkFrom('127.0.0.78', fronts.tcp, 'hello');
    assert.match(answer, /^PROXY TCP4 127\.0\.0\.78 127\.0\.0\.1 \d+ \d+\r\nhello$/);
  });

  await t.test('in HTTP mode by X-Forwarded-For, behind what a visitor forged', async () => {
    const told = await new Visitor(t, '127.0.0.79', fronts.http).get();
    assert.deepEqual(told, { status: 200, body: `127.0.0.79|127.0.0.79, ${HTTP_PROXY}` });
    // HAProxy passes on what a visitor names in Connection, and its own line with it.
    const naming = new Visitor(t, '127.0.0.80', fronts.http, { connection: 'X-Forwarded-For' });
    const body = `127.0.0.80|127.0.0.80, ${HTTP_PROXY}`;
    assert.deepEqual(await naming.get(), { status: 200, body });
  });

  await t.test(`no 502 in ${REQUESTS} requests with gaps of 4 to 6 s`, async () => {
    const each = REQUESTS / VISITORS;
    const visit = async (index: number): Promise<number> => {
      const address = `127.0.0.${100 + index}`;
      // Three quarters in HTTP mode, where HAProxy shares connections between visitors.
      const isTcp = index % 4 === 0;
      const visitor = new Visitor(t, address, isTcp ? fronts.httpAsTcp : fronts.http);
      const expected = isTcp ? `${address}|${address}` : `${address}|${address}, ${HTTP_PROXY}`;
      for (let count = 0; count < each; count += 1) {
        // The idle time is what is tested: both ends close connections of that age.
        const isGap = count % Math.ceil(each / (GAPS + 1)) === 1 && count > 1;
        const share = ((index * 7 + count) % VISITORS) / VISITORS;
        if (isGap) await sleep(GAP_MS_MIN + share * (GAP_MS_MAX - GAP_MS_MIN));
        const told = await visitor.get();
        assert.deepEqual(told, { status: 200, body: expected }, `${address}, request ${count}`);
      }
      return each;
    };
    const counts = await Promise.all(Array.from({ length: VISITORS }, (_, index) => visit(index)));
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      REQUESTS,
    );
  });
});

function nginxText(folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/tmp-${name};`)
    .join(' ');
  const told = ['addr', 'port', 'server_addr', 'server_port'].map(
    (name) => `$proxy_protocol_${name}`,
  );
  return `
daemon off; user ${os.userInfo().username}; worker_processes 1; pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
  access_log off; ${temporary}
  server {
    listen 127.0.0.1:${port} proxy_protocol;
    location / { return 200 "${told.join(' ')}"; }
  }
}
`;
}

function haproxyUpstreamText(port: number): string {
  return `${DEFAULTS}
frontend told
  mode http
  bind 127.0.0.1:${port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
`;
}

test('HAProxy and nginx as upstreams read our PROXY headers', async (t) => {
  const programs = requirePrograms(t, ['haproxy', 'nginx']);
  if (programs === undefined) return;
  const upstreams = { haproxy: await freePort(), nginx: await freePort() };
  await startHaproxy(t, programs.haproxy, haproxyUpstreamText(upstreams.haproxy));
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'nginx.conf'), nginxText(folder, upstreams.nginx));
  const nginx = startProcess(t, {
    ...{ name: 'nginx', command: programs.nginx, endSignal: 'SIGTERM', endCode: 0 },
    args: ['-p', folder, '-c', path.join(folder, 'nginx.conf')],
  });
  await nginx.line('nginx started', (line) => line.includes('start worker processes'));
  await untilOpen(upstreams.haproxy);
  for (const version of ['v1', 'v2'] as const) {
    const ports = { haproxy: await freePort(), nginx: await freePort() };
    await startTunnel(
      t,
      [
        ...['--tcp', `${ports.haproxy}=127.0.0.1:${upstreams.haproxy}`],
        ...['--tcp', `${ports.nginx}=127.0.0.1:${upstreams.nginx}`, '--proxy-protocol', version],
      ],
      { args: ['--accept-proxy-protocol', '127.0.0.1'] },
    );
    for (const [program, port] of Object.entries(ports)) {
      for (const [from, to] of [
        ['192.0.2.7', '203.0.113.5'],
        ['2001:db8::7', '2001:db8::5'],
      ] as const) {
        const ends = [
          { address: from, port: 50_123 },
          { address: to, port: 443 },
        ] as const;
        const header = encodeProxyHeader('v2', ...ends);
        const request = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
        const answer = await sendRaw(port, Buffer.concat([header, request]));
        assert.match(
          answer,
          new RegExp(`\r\n\r\n${from} 50123 ${to} 443$`),
          `${program} ${version}`,
        );
      }
    }
  }
});

/** What comes back for `text` from a visitor at `address`, until both sides have ended. */
async function talkFrom(address: string, port: number, text: string): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: address });
  let got = '';
  socket.on('data', (piece: Buffer) => {
    got += piece.toString('latin1');
  });
  const closed = new Promise<void>((resolve, reject) => {
    socket.once('close', () => resolve());
    socket.once('error', reject);
  });
  socket.end(text);
  await within(10_000, 'the end', closed);
  return got;
}
