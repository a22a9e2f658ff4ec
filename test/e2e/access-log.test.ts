// What an operator sees of visitors: the access log of a real server, whatever its log level, and
// what is said of error pages that cannot be used.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { ENTRY, environment, parseLine, startClient, startServer } from '../support/tunnel.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';

test('--access-log writes a line for each request and each connection', async (t) => {
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const server = await startServer(t, { args: ['--access-log'] });
  const tunnels = ['--upstream', `${HOST}=http://127.0.0.1:${site}`];
  await startClient(t, server, { args: [...tunnels, '--tcp', `${tcpPort}=127.0.0.1:${echo}`] });
  const headers = { 'user-agent': 'test/1' };
  const wanted = { port: server.httpPort, host: HOST, path: '/a?token=secret', headers };
  assert.equal((await get(t, wanted)).status, 200);
  assert.equal((await get(t, { ...wanted, host: 'unknown.example.com' })).status, 404);
  const socket = await connectTo(t, tcpPort);
  assert.equal(await echoOnce(socket, 'hi'), 'hi');
  socket.end();
  const lineOf = async (fields: Readonly<Record<string, unknown>>) => {
    const line = await server.process.line(JSON.stringify(fields), (text) => {
      const entry = parseLine(text);
      return Object.entries(fields).every(([key, value]) => entry[key] === value);
    });
    return parseLine(line);
  };
  const served = await lineOf({ component: 'access', msg: 'request', tunnel: HOST });
  const { method, path: shown, status, bytesOut, userAgent, visitor } = served;
  assert.deepEqual(
    [method, shown, status, served.code, bytesOut, userAgent, visitor],
    ['GET', '/a', 200, 'SLW_NONE', 5, 'test/1', '127.0.0.1'],
  );
  const noTunnel = { status: 404, code: 'SLW_HTTP_NO_TUNNEL' };
  await lineOf({ component: 'access', msg: 'request', ...noTunnel });
  const carried = await lineOf({ component: 'access', msg: 'connection' });
  const { tunnel, bytesIn, code } = carried;
  assert.deepEqual([tunnel, bytesIn, carried.bytesOut, code], [`tcp:${tcpPort}`, 2, 2, 'SLW_NONE']);
  assert.ok(!server.process.stderr.some((line) => line.includes('secret')));
});

test('the access log does not depend on --log-level', async (t) => {
  const port = await freePort();
  const server = startProcess(t, {
    name: 'server',
    command: process.execPath,
    args: [
      ...[ENTRY, 'server', '--access-log', '--log-level', 'error', '--log-format', 'json'],
      ...['--control-addr', '127.0.0.1:0', '--admin-addr', 'off', '--shards', '1'],
      ...['--http-addr', `127.0.0.1:${port}`, '--drain-delay', '0s'],
    ],
    env: environment(),
    endCode: 0,
  });
  await eventually(15_000, 'the server answers', async () => {
    assert.equal((await get(t, { port, host: HOST })).status, 404);
  });
  await server.line('a request', (text) => parseLine(text).component === 'access');
  assert.ok(server.stderr.every((text) => parseLine(text).component === 'access'));
});

test('pages that cannot be used end the server and the check with exit code 2', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-pages-'));
  undoAfter(t, () => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, '503.html'), Buffer.alloc(65_537));
  for (const command of [['server'], ['config', 'check', 'server']]) {
    const { code, stderr } = await runProgram(t, {
      command: process.execPath,
      args: [ENTRY, ...command, '--error-pages', folder],
      env: environment(),
    });
    assert.equal(code, 2);
    assert.match(stderr, /--error-pages: .*503\.html is larger than 64 KiB/);
  }
});
