// Goal: SIGUSR2 replaces a server under load and no visitor notices, nor when clients are replaced;
// a successor that cannot start changes nothing. Method: real processes, 200 requests a second on
// new and on kept connections.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { RequestLoad } from '../support/request-load.ts';
import { PAIR_A, PAIR_B } from '../support/test-pairs.ts';
import { startClient, startServer, type TestServer } from '../support/tunnel.ts';
import { connectTo, echoOnce, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const EVERY_MS = 5;
const TAKE_OVERS = 4;

/** Every process that took over, by its number. */
function successors(server: TestServer): number[] {
  return server.process.stderr.flatMap((line) => {
    const found = /"successor":(\d+),"msg":"a successor starts"/u.exec(line);
    return found === null ? [] : [Number(found[1])];
  });
}

/** Ends with the test whoever serves then. */
function endSuccessors(t: TestContext, server: TestServer): void {
  undoAfter(t, async () => {
    for (const pid of successors(server)) {
      try {
        process.kill(pid, 'SIGTERM');
      } catch {
        // It has ended, as all but the last have.
      }
    }
    await server.process.expectEnd();
  });
}

async function takeOver(server: TestServer, pid: number, count: number): Promise<number> {
  process.kill(pid, 'SIGUSR2');
  const isDone = (line: string): boolean => line.includes('"msg":"the successor serves"');
  await eventually(20_000, `take-over ${count}`, async () => {
    if (server.process.stderr.filter(isDone).length < count) throw new Error('not yet');
  });
  return successors(server).at(-1) ?? 0;
}

test('a server is replaced under load, again and again: no request fails', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const server = await startServer(t, { drainTimeout: '8s' });
  endSuccessors(t, server);
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`];
  await startClient(t, server, { args: [...args, '--tcp', `${tcpPort}=127.0.0.1:${echo}`] });
  // A second client on the tunnel: both move.
  await startClient(t, server, { args: [...args, '--id', 'second'] });
  const stream = await connectTo(t, tcpPort);
  assert.equal(await echoOnce(stream, 'before'), 'before');
  const load = new RequestLoad(t, { port: server.httpPort, host: HOST, everyMs: EVERY_MS });
  let pid = server.process.pid;
  for (let count = 1; count <= TAKE_OVERS; count += 1) {
    pid = await takeOver(server, pid, count);
    if (count === 1) assert.equal(await echoOnce(stream, 'goes on'), 'goes on');
    const fresh = await connectTo(t, tcpPort);
    assert.equal(await echoOnce(fresh, 'new'), 'new');
    fresh.destroy();
    await pause(500);
  }
  await load.stop();
  t.diagnostic(`${load.sent} requests, ${load.failures.length} failed, ${TAKE_OVERS} take-overs`);
  assert.deepEqual(load.failures, []);
  const ready = await fetch(`http://127.0.0.1:${server.adminPort}/readyz`);
  assert.equal(ready.status, 200);
});

test('a balancer that asks for a tunnel is told that it is served, all the time', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const server = await startServer(t, { args: ['--control-on-http'] });
  endSuccessors(t, server);
  const come = async (name: string, port: number): Promise<string> => {
    const url = `ws://127.0.0.1:${port}`;
    const args = ['--upstream', `${name}=http://127.0.0.1:${upstream}`];
    await startClient(t, server, { url, args });
    return name;
  };
  const early: string[] = [];
  for (const name of ['a.test', 'b.test', 'c.test'])
    early.push(await come(name, server.controlPort));
  const late = await come('late.test', server.httpPort);
  const ask = async (tunnel: string): Promise<number> => {
    const url = `http://127.0.0.1:${server.controlPort}/readyz?tunnel=${tunnel}`;
    return (await fetch(url, { headers: { connection: 'close' } })).status;
  };
  const answers = new Map<string, number>();
  const done = takeOver(server, server.process.pid, 1).then(() => 'done');
  for (let end = ''; end === ''; end = await Promise.race([done, pause(EVERY_MS, '')])) {
    for (const tunnel of early) {
      const answer = `${tunnel} ${await ask(tunnel)}`;
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
  }
  t.diagnostic(JSON.stringify([...answers]));
  assert.deepEqual(
    [...answers.keys()],
    early.map((tunnel) => `${tunnel} 200`),
  );
  // Its client is told to come only now.
  await eventually(10_000, 'the last client has come', async () =>
    assert.equal(await ask(late), 200),
  );
  assert.equal(await ask('unknown.test'), 503);
});

/** Rejects unless the control port shows the certificate of `name`. */
function shows(server: TestServer, name: string, cert: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: server.controlPort, servername: name, ca: cert };
    const socket = connectTls(options, () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}

test('a certificate that is renewed after a take-over is served', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluiceway-take-over-'));
  undoAfter(t, () => rm(folder, { recursive: true }));
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  const write = (pair: typeof PAIR_A) =>
    Promise.all([writeFile(cert, pair.cert), writeFile(key, pair.key)]);
  await write(PAIR_A);
  const server = await startServer(t, { args: ['--tls-cert', cert, '--tls-key', key] });
  endSuccessors(t, server);
  const pid = await takeOver(server, server.process.pid, 1);
  await shows(server, 'a.test', PAIR_A.cert);
  await write(PAIR_B);
  process.kill(pid, 'SIGHUP');
  await eventually(20_000, 'both shards show the new certificate', async () => {
    for (let ask = 0; ask < 8; ask += 1) await shows(server, 'b.test', PAIR_B.cert);
  });
});

test('a successor that cannot start changes nothing', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluiceway-take-over-'));
  undoAfter(t, () => rm(folder, { recursive: true }));
  const file = path.join(folder, 'server.yaml');
  await writeFile(file, 'log-level: info\n');
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const server = await startServer(t, { args: ['--config', file] });
  await startClient(t, server, { args: ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`] });
  await writeFile(file, 'log-levl: info\n');
  const load = new RequestLoad(t, { port: server.httpPort, host: HOST, everyMs: EVERY_MS });
  process.kill(server.process.pid, 'SIGUSR2');
  await server.process.line('the failure', (line) => line.includes('take-over failed'));
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.ok(server.process.isRunning);
});

test('clients of a tunnel are replaced one after the other under load: no request fails', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const server = await startServer(t, {});
  const args = ['--upstream', `${HOST}=http://127.0.0.1:${upstream}`];
  let [one, other] = [
    await startClient(t, server, { args }),
    await startClient(t, server, { args }),
  ];
  const load = new RequestLoad(t, { port: server.httpPort, host: HOST, everyMs: EVERY_MS });
  for (let round = 0; round < 3; round += 1) {
    await pause(300);
    // The new one first, as docs/operating/drain.md says.
    const fresh = await startClient(t, server, { args });
    assert.equal((await one.stop('SIGTERM')).code, 0);
    [one, other] = [other, fresh];
  }
  await load.stop();
  t.diagnostic(`${load.sent} requests, ${load.failures.length} failed, 3 clients replaced`);
  assert.deepEqual(load.failures, []);
});
