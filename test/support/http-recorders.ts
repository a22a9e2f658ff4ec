// HTTP upstreams that remember every target they saw: bytes taken apart by hand, Node, nginx,
// HAProxy, Go's net/http and Python's http.server.
//
// Invariant: each answers a whole request with `target <target>`, and what it remembers is its own
// reading of the bytes: of foreign programs their log. Must not know: tunnels, or what was sent.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { freePort } from './free-port.ts';
import { runProgram, startProcess, type TestProcess } from './process.ts';
import { findProgram, scratchFolder } from './programs.ts';
import { RequestReader } from './raw-requests.ts';

const LOOPBACK = '127.0.0.1';
const FIXTURES = path.resolve(import.meta.dirname, '../fixtures/upstreams');
/** Ignored by git; a built program is kept for the next run. */
const CACHE = path.resolve(import.meta.dirname, '../../.cache');
const BUILD_MS = 120_000;
const SEEN = 'seen ';

export interface Recorder {
  readonly port: number;
  /** Every target that was seen. Ends the upstream when it is a program. */
  seen(): Promise<readonly string[]>;
}

export type Start = (t: TestContext) => Promise<Recorder | string>;

/** By name; one that cannot be started gives the reason. */
export const RECORDERS: Readonly<Record<string, Start>> = {
  raw: startRaw,
  node: startNode,
  nginx: startNginx,
  haproxy: startHaproxy,
  go: startGo,
  python: startPython,
};

function portOf(server: net.Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

async function startRaw(t: TestContext): Promise<Recorder> {
  const seen: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    const reader = new RequestReader({
      onHead: (request) => seen.push(request.target),
      onEnd: ({ method, target }) => {
        const body = `target ${target}\n`;
        const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`;
        socket.write(method === 'HEAD' ? head : head + body, 'latin1');
      },
      onFault: (fault) => seen.push(`fault: ${fault}`),
    });
    socket.on('data', (piece: Buffer) => reader.push(piece));
    socket.on('error', ignore);
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  undoAfter(t, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: portOf(server), seen: () => Promise.resolve(seen) };
}

async function startNode(t: TestContext): Promise<Recorder> {
  const seen: string[] = [];
  const server = http.createServer((request, response) => {
    seen.push(request.url ?? '');
    request.on('error', ignore);
    request.resume().on('end', () => response.end(`target ${request.url ?? ''}\n`));
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return { port: portOf(server), seen: () => Promise.resolve(seen) };
}

function nginxConfiguration(folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/tmp-${name};`)
    .join('\n  ');
  return `
daemon off;
user ${os.userInfo().username};
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 1024; }
http {
  log_format seen escape=none '${SEEN}$request_uri';
  access_log ${folder}/seen.log seen;
  client_max_body_size 0;
  keepalive_requests 100000;
  ${temporary}
  server {
    listen ${LOOPBACK}:${port};
    location / { return 200 "target $request_uri\\n"; }
  }
}
`;
}

async function startNginx(t: TestContext): Promise<Recorder | string> {
  const command = findProgram('nginx');
  if (command === undefined) return 'not installed: nginx';
  const folder = scratchFolder(t);
  const port = await freePort();
  const file = path.join(folder, 'nginx.conf');
  writeFileSync(file, nginxConfiguration(folder, port));
  const nginx = startProcess(t, {
    ...{ name: 'nginx', command, endSignal: 'SIGQUIT', endCode: 0 },
    args: ['-p', folder, '-c', file],
  });
  await nginx.line('nginx started', (line) => line.includes('start worker processes'));
  const seen = async (): Promise<readonly string[]> => {
    await nginx.stop('SIGTERM');
    return seenLines(readFileSync(path.join(folder, 'seen.log'), 'latin1').split('\n'));
  };
  return { port, seen };
}

/** HAProxy answers for the bytes recorder behind it, whose connections it uses again. */
async function startHaproxy(t: TestContext): Promise<Recorder | string> {
  const command = findProgram('haproxy');
  if (command === undefined) return 'not installed: haproxy';
  const behind = await startRaw(t);
  const folder = scratchFolder(t);
  const port = await freePort();
  const file = path.join(folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `
global
  log stdout format raw local0
defaults
  mode http
  timeout client 20s
  timeout server 20s
  timeout connect 5s
  http-reuse always
frontend edge
  bind ${LOOPBACK}:${port}
  log global
  log-format "${SEEN}%HU"
  default_backend bytes
backend bytes
  server one ${LOOPBACK}:${behind.port}
`,
  );
  const haproxy = startProcess(t, {
    ...{ name: 'haproxy', command, endSignal: 'SIGTERM' },
    args: ['-db', '-f', file],
  });
  await untilListening(port);
  const seen = async (): Promise<readonly string[]> => {
    await haproxy.stop();
    // What reached the server behind, and what its log has beyond that: requests that it refused.
    const passed = await behind.seen();
    const logged = new Set(seenLines(haproxy.stdout).filter((target) => target !== '<BADREQ>'));
    return [...passed, ...logged.difference(new Set(passed))];
  };
  return { port, seen };
}

async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const socket = net.connect({ port, host: LOOPBACK });
    socket.on('error', ignore);
    const closed = once(socket, 'close');
    const isOpen = await Promise.race([once(socket, 'connect').then(() => true), closed]).catch(
      () => false,
    );
    socket.destroy();
    await closed.catch(ignore);
    if (isOpen === true) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`nobody listens on ${port}`);
}

/** `undefined` where there is no Go. */
async function buildGo(t: TestContext): Promise<string | undefined> {
  const go = findProgram('go') ?? ['/usr/local/go/bin/go'].find((file) => existsSync(file));
  if (go === undefined) return undefined;
  const source = path.join(FIXTURES, 'main.go');
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const program = path.join(CACHE, `go-upstream-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(CACHE, { recursive: true });
  const { code, stderr } = await runProgram(t, {
    ...{ command: go, args: ['build', '-o', program, source], cwd: FIXTURES, ms: BUILD_MS },
    env: { ...process.env, GO111MODULE: 'off', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
  });
  if (code !== 0) throw new Error(`go build: ${stderr}`);
  return program;
}

async function startGo(t: TestContext): Promise<Recorder | string> {
  const command = await buildGo(t);
  if (command === undefined) return 'not installed: go';
  return await saying(startProcess(t, { name: 'go', command, args: [] }));
}

async function startPython(t: TestContext): Promise<Recorder | string> {
  const command = findProgram('python3');
  if (command === undefined) return 'not installed: python3';
  const args = [path.join(FIXTURES, 'upstream.py')];
  return await saying(startProcess(t, { name: 'python', command, args }));
}

/** A program that tells its port and what it saw on its standard output. */
async function saying(started: TestProcess): Promise<Recorder> {
  const line = await started.line('its port', (text) => text.startsWith('port '));
  const seen = async (): Promise<readonly string[]> => {
    await started.stop();
    return seenLines(started.stdout);
  };
  return { port: Number(line.slice('port '.length)), seen };
}

function seenLines(lines: readonly string[]): string[] {
  return lines.filter((line) => line.startsWith(SEEN)).map((line) => line.slice(SEEN.length));
}

function ignore(): void {
  // Cut, or refused: the test looks at what was seen.
}
