// Goal: remote services on a local port, with the real programs: NATS, PostgreSQL and curl, over
// links that are cut and come back; and from a namespace of its own not one SYN to a target that is
// not allowed. Method: real processes; nftables counts what leaves.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect } from '@nats-io/transport-node';
import { undoAfter } from '../support/cleanup.ts';
import { type CutRelay, startRelay } from '../support/cut-relay.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { createNetns, type Netns } from '../support/netns.ts';
import { POSTGRES_PROGRAMS, startPostgres } from '../support/postgres.ts';
import { runProgram, startProcess, type TestProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { parseLine, spawnClient, startClient, startServer } from '../support/tunnel.ts';
import { connectTo, echoOnce, startEcho, startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
/** "Traffic back ≤ 10 s after it can be"; a busy machine has some more. */
const BACK_MS = 15_000;

interface Forwarded {
  readonly port: number;
  readonly relay: CutRelay;
  readonly client: TestProcess;
  readonly server: TestProcess;
}

/** A local port for `target`, over a relay that can be cut. */
async function forward(t: TestContext, target: string, rule = target): Promise<Forwarded> {
  const server = await startServer(t, { args: ['--client-forwarding', rule] });
  const relay = await startRelay(t, server.controlPort);
  const port = await freePort();
  const client = await startClient(
    t,
    { ...server, controlPort: relay.port },
    {
      args: ['--local', `${port}:${target}`],
    },
  );
  assert.deepEqual(client.stdout, [`tcp://${LOOPBACK}:${port} -> ${target}`]);
  return { port, relay, client, server: server.process };
}

/** The link is down for a moment, with all that ran on it. */
async function interrupt(relay: CutRelay, ms: number): Promise<void> {
  relay.goDown();
  await new Promise((resolve) => setTimeout(resolve, ms));
  relay.goUp();
}

test('NATS through a local port: requests go on after the link was cut', async (t) => {
  const programs = requirePrograms(t, ['nats-server']);
  if (programs === undefined) return;
  const port = await freePort();
  const nats = startProcess(t, {
    ...{ name: 'nats', command: programs['nats-server'] },
    args: ['--addr', LOOPBACK, '--port', String(port)],
  });
  await nats.line('nats is ready', (line) => line.includes('Server is ready'));
  const forwarded = await forward(t, `${LOOPBACK}:${port}`);

  const near = await connect({ servers: `${LOOPBACK}:${port}` });
  undoAfter(t, () => near.close());
  const service = near.subscribe('twice', {
    callback: (_error, message) => {
      message.respond(`${message.string()}${message.string()}`);
    },
  });
  await near.flush();
  const remote = await connect({
    servers: `${LOOPBACK}:${forwarded.port}`,
    ...{ reconnectTimeWait: 250, maxReconnectAttempts: -1, timeout: 10_000 },
  });
  undoAfter(t, () => remote.close());
  const ask = async (text: string): Promise<void> => {
    const answer = await remote.request('twice', text, { timeout: 2000 });
    assert.equal(answer.string(), text + text);
  };
  for (let number = 0; number < 500; number += 1) await ask(`message ${number}`);
  const big = 'x'.repeat(400_000);
  await ask(big);

  for (const downMs of [0, 3000]) {
    await interrupt(forwarded.relay, downMs);
    await eventually(BACK_MS, `NATS answers again after ${downMs} ms`, () => ask('again'));
    for (let number = 0; number < 100; number += 1) await ask(`later ${number}`);
  }
  service.unsubscribe();
});

test('PostgreSQL through a local port, before and after the link was cut', async (t) => {
  const programs = requirePrograms(t, POSTGRES_PROGRAMS);
  if (programs === undefined) return;
  const forwarded = await forward(t, `${LOOPBACK}:${await startPostgres(t, programs)}`);
  const peer = ['-h', LOOPBACK, '-p', String(forwarded.port), '-U', 'postgres'];
  const query = async (sql: string): Promise<string> => {
    const args = [...peer, '-X', '-At', '-c', sql, 'postgres'];
    const run = await runProgram(t, { command: programs.psql, args });
    assert.equal(run.code, 0, run.stderr);
    return run.stdout;
  };
  assert.equal(await query('select 6 * 7'), '42');
  const answer = await query(`select repeat('0123456789', 1000000)`);
  assert.ok(answer === '0123456789'.repeat(1_000_000), 'other bytes than those sent');
  await interrupt(forwarded.relay, 1000);
  await eventually(BACK_MS, 'PostgreSQL answers again', async () => {
    assert.equal(await query('select 2 * 21'), '42');
  });
  const init = ['-i', '-q', '-s', '1', ...peer, 'postgres'];
  const made = await runProgram(t, { command: programs.pgbench, args: init, ms: 120_000 });
  assert.equal(made.code, 0, made.stderr);
  const load = ['-T', '3', '-c', '8', ...peer, 'postgres'];
  const bench = await runProgram(t, { command: programs.pgbench, args: load });
  assert.match(bench.stdout, /number of failed transactions: 0 /u);
});

test('curl through the SOCKS port, by a name that the server resolves', async (t) => {
  const programs = requirePrograms(t, ['curl']);
  if (programs === undefined) return;
  const site = await startHttp(t, (_request, response) => response.end('from far away'));
  const server = await startServer(t, { args: ['--client-forwarding', `localhost:${site}`] });
  const port = await freePort();
  const client = await startClient(t, server, { args: ['--local-socks', String(port)] });
  const curl = (url: string) =>
    runProgram(t, {
      command: programs.curl,
      args: ['-sS', '--socks5-hostname', `${LOOPBACK}:${port}`, url],
    });
  assert.equal((await curl(`http://localhost:${site}/`)).stdout, 'from far away');
  const denied = await curl('http://example.com/');
  assert.equal(denied.code, 97, denied.stderr);
  const told = await client.line('the refusal', (line) => line.includes('forward refused'));
  assert.equal(parseLine(told).missing, '--client-forwarding example.com:80 of the server');
});

test('a forward that is not allowed is reset, and one line on each side says what is missing', async (t) => {
  const echo = await startEcho(t);
  const forwarded = await forward(t, `${LOOPBACK}:${echo}`, '*:*');
  for (let visit = 0; visit < 3; visit += 1) {
    const socket = await connectTo(t, forwarded.port);
    await assert.rejects(echoOnce(socket, 'denied'), /closed after 0/u);
  }
  const atServer = await forwarded.server.line('the denial', (line) =>
    line.includes('forward denied'),
  );
  assert.equal(parseLine(atServer).missing, `--client-forwarding ${LOOPBACK}:${echo}`);
  const atClient = await forwarded.client.line('the same', (line) =>
    line.includes('forward refused'),
  );
  const { code, target } = parseLine(atClient);
  assert.deepEqual([code, target], ['SLW_FORWARD_ADDRESS', `${LOOPBACK}:${echo}`]);
  const lines = [...forwarded.server.stderr, ...forwarded.client.stderr];
  assert.equal(lines.filter((line) => /forward (denied|refused)/u.test(line)).length, 2);
});

test('a rule that is taken out of the file cuts what came by it, and one that is put in opens', async (t) => {
  const [first, second] = [await startEcho(t), await startEcho(t)];
  const file = path.join(scratchFolder(t), 'server.yaml');
  const put = (port: number): void =>
    writeFileSync(file, `client-forwarding: ["${LOOPBACK}:${port}"]\n`);
  put(first);
  const server = await startServer(t, { args: ['--config', file] });
  const ports = [await freePort(), await freePort()] as const;
  const locals = [`${ports[0]}:${LOOPBACK}:${first}`, `${ports[1]}:localhost:${second}`];
  await startClient(t, server, { args: locals.flatMap((local) => ['--local', local]) });
  const live = await connectTo(t, ports[0]);
  assert.equal(await echoOnce(live, 'allowed'), 'allowed');
  const early = await connectTo(t, ports[1]);
  await assert.rejects(echoOnce(early, 'not yet'), /closed after 0/u);
  const cut = new Promise<void>((resolve) => live.once('close', () => resolve()));
  put(second);
  await within(BACK_MS, 'the live connection is cut', cut);
  await eventually(BACK_MS, 'the other one is allowed', async () => {
    assert.equal(await echoOnce(await connectTo(t, ports[1]), 'now'), 'now');
  });
});

/** Address of the namespace that may be reached. */
const ALLOWED = '10.77.0.1';
const RESERVED = [
  ...['127.0.0.1', '127.1.2.3', '127.255.255.254', '0.0.0.0', '0.1.2.3', '169.254.169.254'],
  ...['169.254.0.1', '100.100.100.200', '168.63.129.16', '192.0.0.192', '224.0.0.1', '240.0.0.1'],
  ...['255.255.255.255', '::', '::1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1'],
  ...['::ffff:169.254.169.254', '::ffff:0:127.0.0.1', 'fe80::1', 'fe80::a9fe:a9fe', 'ff02::1'],
  ...['fd00:42::42', 'fd00:a9fe:a9fe::1', 'fd00:c1::a9fe:a9fe', 'fd00:100::100:200'],
  ...['fd00:ec2::254', 'fd20:ce::254', '64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '2002:7f00:1::1'],
];
/** What a resolver would take for an address, or a parser for the end of something. */
const NO_HOSTS = [
  ...['2130706433', '0x7f000001', '0x7f.0.0.1', '0177.0.0.1', '127.1', '127.0.1', '127.0.0.1.'],
  ...['[::1]', '::1%lo', 'fe80::1%lo', '127.0.0.1 ', ' 127.0.0.1', '127.0.0.1\0', '127.0.0.1%00'],
  ...['127.0.0.1\r\nHost: a', 'a\r\nb', 'ok.test\r\n', '127.0.0.1/8', '127.0.0.1:80', 'a b', ''],
  ...['①②⑦.0.0.1', 'user@ok.test', 'http://ok.test', '*', '*.test'],
];
const NAMES: Readonly<Record<string, readonly string[] | readonly (readonly string[])[]>> = {
  'ok.test': [ALLOWED],
  'loop.test': ['127.0.0.1'],
  'six.test': ['::1'],
  'mapped.test': ['::ffff:127.0.0.1'],
  'meta.test': ['169.254.169.254'],
  'zero.test': ['0.0.0.0'],
  'nat64.test': ['64:ff9b::a9fe:a9fe'],
  // Good at the first look, and bad at the second, which there is none of.
  'turn.test': [[ALLOWED], ['127.0.0.1']],
  // Several: the good one alone is dialled.
  'both.test': ['127.0.0.1', ALLOWED, '169.254.169.254'],
};

test('not one SYN leaves for a target that is not allowed', async (t) => {
  const netns = await createNetns(t);
  if (netns === undefined) return;
  // Everything would have a way out.
  await netns.ip(
    ...['link add out type bridge', `addr add ${ALLOWED}/24 dev out`, 'link set out up'],
    ...[
      'route add default dev out',
      '-6 addr add fd77::1/64 dev out nodad',
      '-6 route add default dev out',
    ],
  );
  const dns = startProcess(t, {
    name: 'dns',
    ...nodeInside(netns, ['test/fixtures/dns.ts', '53', JSON.stringify(NAMES)]),
  });
  await dns.line('the name server is ready', (line) => line === 'ready');
  const echo = startProcess(t, {
    name: 'echo',
    ...nodeInside(netns, ['-e', ECHO]),
  });
  const port = Number(await echo.line('the echo is ready', (line) => /^\d+$/u.test(line)));
  const server = await startServer(t, { netns, args: ['--client-forwarding', `*:${port}`] });
  const socks = 1080;
  const client = spawnClient(t, server, { netns, args: ['--local-socks', String(socks)] });
  await client.line('the proxy is up', (line) => line.startsWith('socks5://'));
  await countSyns(netns, [
    `ip daddr ${ALLOWED} tcp dport ${port}`,
    `tcp dport { ${socks}, ${server.controlPort}, ${server.adminPort} }`,
  ]);

  const forbidden = [
    ...RESERVED.map((host) => [host, port] as const),
    ...NO_HOSTS.map((host) => [host, port] as const),
    ...Object.keys(NAMES).flatMap((name) =>
      /^(?:ok|turn|both)\./u.test(name) ? [] : [[name, port] as const],
    ),
    // Allowed hosts at ports that are not.
    ...[0, port - 1, 22, 65_535].flatMap((at) => [
      [ALLOWED, at] as const,
      ['ok.test', at] as const,
    ]),
  ];
  assert.ok(forbidden.length >= 40, `${forbidden.length} targets`);
  const visit = (targets: readonly (readonly [string, number])[]) =>
    visitAll(t, netns, socks, targets);
  const outcomes = await visit(forbidden);
  for (const [index, outcome] of outcomes.entries()) {
    assert.ok(outcome !== 'ok', `${JSON.stringify(forbidden[index])} was reached`);
  }
  assert.deepEqual(await syns(netns), { allowed: 0, others: 0, seen: '' });

  const allowed = ['ok.test', ALLOWED, 'both.test', 'turn.test'].map(
    (host) => [host, port] as const,
  );
  assert.deepEqual(await visit(allowed), ['ok', 'ok', 'ok', 'ok']);
  // The second look of another stream is another answer.
  assert.deepEqual(await visit([['turn.test', port]]), [2]);
  assert.deepEqual(await syns(netns), { allowed: 4, others: 0, seen: '' });
  t.diagnostic(`${forbidden.length} targets refused: ${JSON.stringify(outcomes)}`);
});

const ECHO = `require('net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(0, function () { console.log(this.address().port) })`;

function nodeInside(netns: Netns, args: readonly string[]) {
  return netns.inside(process.execPath, args);
}

/** Counts SYNs that leave, but for those that `others` match. */
async function countSyns(netns: Netns, [allowed = '', own = '']: readonly string[]): Promise<void> {
  const rules = [
    'add table inet watch',
    'add set inet watch seen4 { type ipv4_addr . inet_service; flags dynamic; size 999; }',
    'add set inet watch seen6 { type ipv6_addr . inet_service; flags dynamic; size 999; }',
    'add chain inet watch out { type filter hook output priority 0; }',
    `add rule inet watch out tcp flags & (syn | ack) == syn ${own} accept`,
    `add rule inet watch out tcp flags & (syn | ack) == syn ${allowed} counter accept comment "allowed"`,
    'add rule inet watch out tcp flags & (syn | ack) == syn add @seen4 { ip daddr . tcp dport }',
    'add rule inet watch out tcp flags & (syn | ack) == syn add @seen6 { ip6 daddr . tcp dport }',
    'add rule inet watch out tcp flags & (syn | ack) == syn counter comment "others"',
  ];
  for (const rule of rules) await netns.run('nft', rule);
}

async function syns(netns: Netns): Promise<{ allowed: number; others: number; seen: string }> {
  const text = await netns.run('nft', 'list', 'table', 'inet', 'watch');
  const count = (comment: string): number =>
    Number(new RegExp(`counter packets (\\d+) .*comment "${comment}"`, 'u').exec(text)?.[1]);
  const seen = [...text.matchAll(/elements = \{ ([^}]*) \}/gu)].map(([, found]) => found).join();
  return { allowed: count('allowed'), others: count('others'), seen };
}

async function visitAll(
  t: TestContext,
  netns: Netns,
  socks: number,
  targets: readonly (readonly [string, number])[],
): Promise<readonly (number | 'ok' | 'cut')[]> {
  const args = ['test/fixtures/socks-visitor.ts', String(socks), JSON.stringify(targets)];
  const run = await runProgram(t, nodeInside(netns, args));
  assert.equal(run.code, 0, run.stderr);
  return JSON.parse(run.stdout) as readonly (number | 'ok' | 'cut')[];
}
