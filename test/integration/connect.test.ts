// Goal: a program has a tunnel by one call, and what is wrong is an error that it can tell apart,
// with nothing left running. Method: a node in this process, calls of the library.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import {
  type ClientEvent,
  ConfigError,
  connect,
  SluicewayError,
  type Tunnel,
} from '../../src/client/connect.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK, TOKEN } from '../support/configs.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startNode } from '../support/local-tunnel.ts';
import { runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';
import { connectTo, echoOnce, get, startEcho, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const WAIT_MS = 15_000;
/** Less than a drain may take. */
const PROGRAM_MS = 20_000;
const LIBRARY = new URL('../../src/client/connect.ts', import.meta.url).href;
/** Refuses most tunnels, and says so. */
const NARROW = { flags: { 'tcp-ports': '1024-1025' }, complains: true };

const urlOf = ({ controlPort }: LocalNode): string => `ws://${LOOPBACK}:${controlPort}`;

async function open(t: TestContext, ...args: Parameters<typeof connect>): Promise<Tunnel> {
  const tunnel = await connect(...args);
  undoAfter(t, () => tunnel.close());
  return tunnel;
}

test('a tunnel of each kind is up when the call resolves, and gone after close', async (t) => {
  const echo = await startEcho(t);
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const node = await startNode(t, { flags: { 'client-forwarding': `${LOOPBACK}:${echo}` } });
  const port = await freePort();
  const tunnel = await open(t, {
    ...{ url: urlOf(node), token: TOKEN },
    upstreams: { [HOST]: `http://${LOOPBACK}:${site}` },
    tcp: { [port]: `${LOOPBACK}:${echo}` },
    local: { 0: `${LOOPBACK}:${echo}` },
  });
  assert.deepEqual(tunnel.urls.toSorted(), [`http://${HOST}`, `tcp://${LOOPBACK}:${port}`]);
  assert.equal((await get(t, { port: node.httpPort, host: HOST })).body, 'served');
  const there = await connectTo(t, port);
  assert.equal(await echoOnce(there, 'there'), 'there');
  there.destroy();
  const [local = ''] = tunnel.locals;
  const back = await connectTo(t, Number(local.split(':')[1]));
  assert.equal(await echoOnce(back, 'and back'), 'and back');
  back.destroy();
  const events: ClientEvent[] = [];
  tunnel.on('event', (event) => events.push(event));
  const closed = new Promise<number>((resolve) => {
    tunnel.once('closed', ({ exitCode }) => resolve(exitCode));
  });
  await within(WAIT_MS, 'it closes', tunnel.close());
  assert.equal(await closed, 0);
  assert.equal(events.at(-1)?.event, 'ended');
  assert.equal((await get(t, { port: node.httpPort, host: HOST })).status, 503);
  await within(WAIT_MS, 'it closes again', tunnel.close());
});

test("what a listener throws is the program's, and the tunnel goes on", async (t) => {
  const node = await startNode(t);
  const relay = await startRelay(t, node.controlPort);
  const echo = await startEcho(t);
  const port = await freePort();
  const tcp = { [port]: `${LOOPBACK}:${echo}` };
  const tunnel = await open(t, { url: `ws://${LOOPBACK}:${relay.port}`, token: TOKEN, tcp });
  const uncaught: string[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => {
    uncaught.push((error as Error).message);
  });
  undoAfter(t, () => process.setUncaughtExceptionCaptureCallback(null));
  const heard: string[] = [];
  const again = new Promise<void>((resolve) => {
    tunnel.on('event', ({ event }) => {
      heard.push(event);
      if (event === 'connected') resolve();
      throw new Error(event);
    });
  });
  relay.cut();
  await within(WAIT_MS, 'another link', again);
  await eventually(WAIT_MS, 'it serves', async () => {
    const there = await connectTo(t, port);
    assert.equal(await echoOnce(there, 'there'), 'there');
    there.destroy();
  });
  await within(WAIT_MS, 'it closes', tunnel.close());
  assert.deepEqual([heard[0], heard.at(-1)], ['disconnected', 'ended']);
  await eventually(WAIT_MS, 'all are told', async () => assert.deepEqual(uncaught, heard));
});

test('options that cannot be are one error that lists them all', async () => {
  const calling = connect({ url: 'http://a', upstreams: { 'a b': 'ftp://x' }, id: '?' });
  const error = await calling.catch((reason: unknown) => reason);
  assert.ok(error instanceof ConfigError);
  assert.equal(error.problems.length >= 3, true, error.message);
});

test('a name or a value that is none is refused, never ignored', async () => {
  const right = { url: 'wss://127.0.0.1:1', token: TOKEN, upstreams: { [HOST]: 'http://a' } };
  const problemsOf = async (...given: readonly unknown[]): Promise<readonly string[]> => {
    const error: unknown = await Reflect.apply(connect, undefined, given).catch(
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  };
  const cases: readonly (readonly [object, string])[] = [
    [
      { autoTlsFingerPrint: 'sha256:0' },
      "'autoTlsFingerPrint': unknown option; did you mean autoTls",
    ],
    [{ upstream: right.upstreams }, "'upstream': unknown option; options of the client stand in"],
    [{ quux: 1 }, "'quux': unknown option"],
    [{ options: { config: 'nofile' } }, 'options.config: a program has no file of options'],
    [{ options: { token: TOKEN } }, 'options.token: is given twice, here and as token'],
    [{ options: { 'helth-check': 'tcp' } }, "'--helth-check' (flag): unknown option; did you mean"],
    [
      { options: { 'max-retry': null } },
      "'options.max-retry': must be a text, a number, a boolean or a list of texts",
    ],
    [{ url: undefined }, '--url is required'],
    [{ url: null }, 'url: must be a text or a list'],
    [{ autoTlsFingerprint: null }, 'autoTlsFingerprint: must be a text'],
    [{ upstreams: 'a.b=http://x' }, 'upstreams: must be an object of texts'],
    [{ tcp: new Map([[1, 'a:1']]) }, 'tcp: must be an object of texts'],
    [{ timeoutMs: '3s' }, 'timeoutMs: must be a number of milliseconds above 0'],
    [{ timeoutMs: -1 }, 'timeoutMs: must be a number of milliseconds above 0'],
    [{ timeoutMs: Number.NaN }, 'timeoutMs: must be a number of milliseconds above 0'],
    [{ signal: {} }, 'signal: must be an AbortSignal'],
  ];
  for (const [change, problem] of cases) {
    const problems = await problemsOf({ ...right, ...change });
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.equal(problems[0]?.slice(0, problem.length), problem);
  }
  assert.deepEqual(await problemsOf(), ['connect: takes an object of options']);
});

test('a wrong token, a refused tunnel and a silent server each have their code', async (t) => {
  const node = await startNode(t, { flags: { 'tcp-ports': '1024-1025' }, complains: true });
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  const url = urlOf(node);
  await assert.rejects(connect({ url, token: 'not-the-token-0123456789', upstreams }), {
    code: 'SLW_AUTH_REFUSED',
  });
  await assert.rejects(connect({ url, token: TOKEN, tcp: { 2222: '127.0.0.1:1' } }), {
    code: 'SLW_TUNNEL_PORT_NOT_ALLOWED',
  });
  const nobody = `ws://${LOOPBACK}:${await freePort()}`;
  await assert.rejects(connect({ url: nobody, token: TOKEN, upstreams, timeoutMs: 5000 }), {
    code: 'SLW_TIMEOUT',
    message: new RegExp(`^not up within 5000 ms: ${HOST}; ${nobody}/connect: nobody listens at .+`),
  });
  await node.untilMetric('sluiceway_links', (links) => links === 0);
});

test('a certificate that is not trusted has a code of its own', async (t) => {
  const server = createServer(PAIR_A).listen(0, LOOPBACK);
  undoAfter(t, () => {
    server.close();
  });
  await once(server, 'listening');
  const url = `wss://${LOOPBACK}:${(server.address() as AddressInfo).port}`;
  const calling = connect({
    ...{ url, token: TOKEN, upstreams: { [HOST]: 'http://127.0.0.1:1' } },
    options: { once: true, 'auto-tls': false },
  });
  await assert.rejects(calling, { code: 'SLW_TLS_REFUSED', message: /\(--once\)$/ });
});

test('a tunnel that one of two servers refuses is up on the other', async (t) => {
  const narrow = await startNode(t, NARROW);
  const echo = await startEcho(t);
  const port = await freePort();
  const tcp = { [port]: `${LOOPBACK}:${echo}` };
  const wide = await startNode(t);
  await open(t, { url: [urlOf(narrow), urlOf(wide)], token: TOKEN, tcp });
  assert.equal(await echoOnce(await connectTo(t, port), 'there'), 'there');
  const other = await startNode(t, NARROW);
  await assert.rejects(connect({ url: [urlOf(narrow), urlOf(other)], token: TOKEN, tcp }), {
    code: 'SLW_TUNNEL_PORT_NOT_ALLOWED',
  });
});

test('a refusal that may end is waited out, and told when it did not', async (t) => {
  const node = await startNode(t, { complains: true });
  const port = await startEcho(t);
  const refused = `tcp:${port} (SLW_TUNNEL_PORT_TAKEN: `;
  const untilLate = async (timeoutMs: number): Promise<string> => {
    const calling = connect({
      ...{ url: urlOf(node), token: TOKEN, tcp: { [port]: `${LOOPBACK}:1` }, timeoutMs },
    });
    const error: unknown = await calling.then(
      () => assert.fail('the port is free'),
      (why) => why,
    );
    assert.ok(error instanceof SluicewayError && error.code === 'SLW_TIMEOUT', String(error));
    assert.ok(error.message.startsWith(`not up within ${timeoutMs} ms: tcp:${port}`));
    return error.message;
  };
  // A call tells of no refusal while it waits, which on a busy machine comes late.
  let told = '';
  for (const timeoutMs of [2000, 8000, 30_000]) {
    if (!told.includes(refused)) told = await untilLate(timeoutMs);
  }
  assert.ok(told.includes(refused), told);
});

test('a call may wait for as long as a timer can', async (t) => {
  const node = await startNode(t);
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  for (const timeoutMs of [Number.POSITIVE_INFINITY, 2 ** 32]) {
    const tunnel = await open(t, { url: urlOf(node), token: TOKEN, upstreams, timeoutMs });
    assert.deepEqual(tunnel.urls, [`http://${HOST}`]);
    await tunnel.close();
  }
});

test('a call for a SOCKS proxy alone waits until a server is there for it', async (t) => {
  const nobody = `ws://${LOOPBACK}:${await freePort()}`;
  const options = { 'local-socks': '0' };
  await assert.rejects(open(t, { url: nobody, token: TOKEN, options, timeoutMs: 5000 }), {
    code: 'SLW_TIMEOUT',
    message: /^not up within 5000 ms: the local ports; /,
  });
  const node = await startNode(t, { flags: { 'client-forwarding': `${LOOPBACK}:1` } });
  const tunnel = await open(t, { url: urlOf(node), token: TOKEN, options });
  assert.match(tunnel.locals.join(' '), /^127\.0\.0\.1:\d+$/);
});

test('a signal gives up', async () => {
  const nobody = `ws://${LOOPBACK}:${await freePort()}`;
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  const controller = new AbortController();
  const calling = connect({ url: nobody, token: TOKEN, upstreams, signal: controller.signal });
  setTimeout(() => controller.abort(), 300);
  await assert.rejects(calling, { name: 'AbortError' });
  await assert.rejects(
    connect({ url: nobody, token: TOKEN, upstreams, signal: controller.signal }),
    { name: 'AbortError' },
  );
});

test('an upstream that is not well keeps the call waiting, and other options hold', async (t) => {
  const node = await startNode(t);
  const port = await freePort();
  const calling = connect({
    ...{ url: urlOf(node), token: TOKEN, timeoutMs: 1500 },
    upstreams: { [HOST]: `http://${LOOPBACK}:${port}` },
    options: { 'health-check': 'tcp', 'health-check-interval': '100ms' },
  });
  await assert.rejects(calling, { code: 'SLW_TIMEOUT' });
});

test('a program ends by itself once its tunnel is closed, or was none', async (t) => {
  const node = await startNode(t);
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  const options = { url: urlOf(node), token: TOKEN, upstreams, options: { shards: '2' } };
  const nobody = `ws://${LOOPBACK}:${await freePort()}`;
  for (const [told, whole] of [
    ['closed', options],
    ['SLW_TIMEOUT', { ...options, url: nobody, timeoutMs: 300 }],
  ] as const) {
    const program = `import { connect } from '${LIBRARY}';
      const tunnel = await connect(${JSON.stringify(whole)}).catch(({ code }) => ({
        close: () => console.log(code),
      }));
      await tunnel.close();
      console.log('closed');`;
    const { stdout, stderr, code } = await runProgram(t, {
      ...{ command: process.execPath, args: ['--input-type=module', '-e', program] },
      ms: PROGRAM_MS,
    });
    assert.equal(code, 0, stderr);
    assert.equal(stdout.split('\n')[0], told);
  }
});

test('the log is as the options by name say, as it is by `logLevel`', async (t) => {
  const node = await startNode(t, { flags: {} });
  const whole = { url: `ws://${LOOPBACK}:${node.controlPort}`, token: TOKEN };
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  const stderrOf = async (options: object): Promise<string> => {
    const program = `import { connect } from '${LIBRARY}';
      await (await connect(${JSON.stringify({ ...whole, upstreams, ...options })})).close();`;
    const { stderr, code } = await runProgram(t, {
      ...{ command: process.execPath, args: ['--input-type=module', '-e', program] },
      ms: PROGRAM_MS,
    });
    assert.equal(code, 0, stderr);
    return stderr;
  };
  assert.equal(await stderrOf({}), '');
  assert.match(await stderrOf({ logLevel: 'info' }), /"msg":"tunnel up"/u);
  const byName = { 'log-level': 'info', 'log-format': 'pretty' };
  const pretty = await stderrOf({ options: byName });
  assert.match(pretty, /tunnel up/u);
  assert.doesNotMatch(pretty, /^\{/mu, 'no line of it is JSON');
  assert.equal(await stderrOf({ options: byName, logLevel: 'silent' }), '');
});

test('the CA of a server by address is remembered in the home of the user', async (t) => {
  const folder = scratchFolder(t);
  const node = await startNode(t, {
    flags: { 'auto-tls': true, 'auto-tls-dir': path.join(folder, 'tls') },
  });
  const server = `${LOOPBACK}:${node.controlPort}`;
  const upstreams = { [HOST]: 'http://127.0.0.1:1' };
  const options = { url: `wss://${server}`, token: TOKEN, upstreams };
  const program = `import { connect } from '${LIBRARY}';
    await (await connect(${JSON.stringify(options)})).close();`;
  const home = path.join(folder, 'home');
  const { code, stderr } = await runProgram(t, {
    ...{ command: process.execPath, args: ['--input-type=module', '-e', program] },
    ...{ env: { PATH: process.env.PATH, HOME: home }, ms: PROGRAM_MS },
  });
  assert.equal(code, 0, stderr);
  const known = readFileSync(path.join(home, '.local/state/sluiceway/known-servers'), 'utf8');
  assert.match(known, new RegExp(`^${server} sha256:`, 'm'));
});
