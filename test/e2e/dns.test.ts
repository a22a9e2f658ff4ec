// Real DNS through a UDP tunnel: dig asks dnsmasq, a thousand names at ten visitors at once, large
// answers, a client that is killed and started again, and a server that is replaced meanwhile; and
// dnsdist, which is told who asks.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import {
  startClient,
  startServer,
  startTunnel,
  type TestServer,
  tunnelReadiness,
} from '../support/tunnel.ts';

const PROGRAMS = ['dnsmasq', 'dig'] as const;
const LOOPBACK = '127.0.0.1';
const NAMES = 1000;
const VISITORS = 10;
const TEXT = 'x'.repeat(200);
const TEXTS = 15;
const WAIT_MS = 30_000;

const addressOf = (index: number): string => `10.1.${Math.floor(index / 250)}.${index % 250}`;

/** A DNS server that knows `hN.test` for each N, and `large.test` with 3 KB of text. */
async function startDns(t: TestContext, command: string): Promise<number> {
  const port = await freePort();
  const file = path.join(scratchFolder(t), 'dnsmasq.conf');
  const lines = [
    ...[`port=${port}`, `listen-address=${LOOPBACK}`, 'bind-interfaces', 'no-resolv', 'no-hosts'],
    ...['user=root', 'pid-file=', 'log-facility=-', 'edns-packet-max=4096'],
    // A line of the file has room for a thousand letters.
    ...Array.from({ length: TEXTS }, (_, index) => `txt-record=large.test,${index}-${TEXT}`),
    ...Array.from({ length: NAMES }, (_, index) => `address=/h${index}.test/${addressOf(index)}`),
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const args = ['--keep-in-foreground', `--conf-file=${file}`];
  const server = startProcess(t, { name: 'dnsmasq', command, args, endCode: 0 });
  await server.line('dnsmasq is ready', (line) => line.includes('started, version'));
  return port;
}

class Resolver {
  readonly #t: TestContext;
  readonly #dig: string;
  readonly #peer: readonly string[];

  constructor(t: TestContext, dig: string, port: number) {
    this.#t = t;
    this.#dig = dig;
    this.#peer = [`@${LOOPBACK}`, '-p', String(port), '-r'];
  }

  /** What dig prints. */
  async ask(...words: readonly string[]): Promise<string> {
    const args = [...this.#peer, ...words];
    const run = await runProgram(this.#t, { command: this.#dig, args });
    assert.equal(run.code, 0, `${run.stdout}${run.stderr}`);
    return run.stdout;
  }

  async check(index: number): Promise<void> {
    const answer = await this.ask('+short', '+tries=3', '+time=2', `h${index}.test`);
    assert.equal(answer.trim(), addressOf(index));
  }
}

test('dig asks dnsmasq through two shards: a thousand names, none lost or mixed up', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const dns = await startDns(t, programs.dnsmasq);
  const port = await freePort();
  await startTunnel(t, ['--udp', `${port}=${LOOPBACK}:${dns}`]);
  const resolver = new Resolver(t, programs.dig, port);
  const folder = scratchFolder(t);
  const share = NAMES / VISITORS;
  const runs = Array.from({ length: VISITORS }, async (_, visitor) => {
    const indexes = Array.from({ length: share }, (_, at) => visitor * share + at);
    const file = path.join(folder, `visitor-${visitor}`);
    writeFileSync(file, indexes.map((index) => `h${index}.test\n`).join(''));
    // By addresses of their own: dig shares its port (SO_REUSEADDR), and two of them on one port
    // would get each other's answers. One try: whatever is lost is missed.
    const from = ['-b', `127.0.0.${visitor + 2}`];
    const answer = await resolver.ask(...from, '+short', '+tries=1', '+time=10', '-f', file);
    assert.deepEqual(answer.trim().split('\n'), indexes.map(addressOf));
  });
  await Promise.all(runs);
  const large = await resolver.ask('+bufsize=4096', '+ignore', 'large.test', 'TXT');
  assert.match(large, /status: NOERROR/u);
  assert.doesNotMatch(large, /flags:[^;]* tc/u, 'not cut');
  assert.ok(Number(/MSG SIZE {2}rcvd: (\d+)/u.exec(large)?.[1]) > TEXTS * TEXT.length);
  const unknown = await resolver.ask('+tries=1', 'nobody.example');
  assert.match(unknown, /status: REFUSED/u, 'an answer that is none is one, too');
});

test('a client that is killed leaves the port to the next one', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const dns = await startDns(t, programs.dnsmasq);
  const port = await freePort();
  const args = ['--udp', `${port}=${LOOPBACK}:${dns}`, '--id', 'resolver'];
  const { client, ...server } = await startTunnel(t, args);
  const resolver = new Resolver(t, programs.dig, port);
  await resolver.check(1);
  client.kill('SIGKILL');
  await client.expectEnd();
  await tunnelReadiness(server, `udp:${port}`, 503);
  const next = await startClient(t, server, { args });
  assert.match(next.stdout.join('\n'), new RegExp(`^udp://127\\.0\\.0\\.1:${port} -> `, 'mu'));
  await tunnelReadiness(server, `udp:${port}`, 200);
  await resolver.check(2);
});

/** Every process that took over, by its number. */
function successors(server: TestServer): number[] {
  const lines = server.process.stderr.join('\n');
  const told = lines.matchAll(/"successor":(\d+),"msg":"a successor starts"/gu);
  return [...told].map(([, pid]) => Number(pid));
}

/** Ends with the test whoever serves then. */
function endSuccessors(t: TestContext, server: TestServer): void {
  undoAfter(t, async () => {
    for (const pid of successors(server)) if (isAlive(pid)) process.kill(pid, 'SIGTERM');
    await server.process.expectEnd();
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // There is no such process any more.
    return false;
  }
}

test('a server that is replaced goes on to answer, and the old one lets the port go', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const dns = await startDns(t, programs.dnsmasq);
  const port = await freePort();
  const server = await startServer(t, { shards: 1 });
  endSuccessors(t, server);
  await startClient(t, server, { args: ['--udp', `${port}=${LOOPBACK}:${dns}`] });
  const resolver = new Resolver(t, programs.dig, port);
  await resolver.check(1);
  process.kill(server.process.pid, 'SIGUSR2');
  let asked = 0;
  await eventually(WAIT_MS, 'the successor serves', async () => {
    // A query that is under way in the moment of the change is asked again by dig.
    await resolver.check(asked % NAMES);
    asked += 1;
    assert.ok(server.process.stderr.some((line) => line.includes('"msg":"the successor serves"')));
  });
  // Its streams stay open, as the successor has them.
  await eventually(WAIT_MS, 'the old one has ended', async () => {
    assert.ok(!isAlive(server.process.pid));
  });
  assert.equal(successors(server).length, 1);
  for (let index = 0; index < 20; index += 1) await resolver.check(index);
  await tunnelReadiness(server, `udp:${port}`, 200);
});

/** dnsdist, which answers `who.test` with the visitor's address and wants it by PROXY header. */
async function startDnsdist(t: TestContext, command: string): Promise<number> {
  const port = await freePort();
  const file = path.join(scratchFolder(t), 'dnsdist.conf');
  const answer = (name: string, what: string) =>
    `addAction("${name}.", LuaAction(function(dq) return DNSAction.Spoof, dq.${what}:toString() end))`;
  const lines = [
    ...[`setLocal("${LOOPBACK}:${port}")`, `setProxyProtocolACL("${LOOPBACK}/32")`],
    ...[
      'setACL({"127.0.0.1/32", "127.0.0.9/32"})',
      'setProxyProtocolApplyACLToProxiedClients(true)',
    ],
    // It would ask the internet whether its version is safe.
    'setSecurityPollSuffix("")',
    ...[answer('who.test', 'remoteaddr'), answer('where.test', 'localaddr')],
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const args = ['--supervised', '--disable-syslog', '-C', file];
  const server = startProcess(t, { name: 'dnsdist', command, args, endSignal: 'SIGKILL' });
  await server.line('dnsdist listens', (line) => line.includes('Listening on'));
  return port;
}

test('dnsdist knows each visitor by the PROXY header, over UDP and over TCP', async (t) => {
  const programs = requirePrograms(t, ['dnsdist', 'dig']);
  if (programs === undefined) return;
  const dns = await startDnsdist(t, programs.dnsdist);
  const [port, barePort] = [await freePort(), await freePort()];
  const upstream = `${LOOPBACK}:${dns}`;
  const { client: _one, ...server } = await startTunnel(t, [
    ...['--udp', `${port}=${upstream}`, '--udp-proxy-protocol', 'v2'],
    ...['--tcp', `${port}=${upstream}`, '--proxy-protocol', 'v2'],
  ]);
  await startClient(t, server, { args: ['--udp', `${barePort}=${upstream}`] });
  const resolver = new Resolver(t, programs.dig, port);
  for (const way of ['+notcp', '+tcp']) {
    for (const visitor of ['127.0.0.9', LOOPBACK]) {
      const told = await resolver.ask(way, '+short', '-b', visitor, 'who.test');
      assert.equal(told.trim(), visitor, way);
    }
    assert.equal((await resolver.ask(way, '+short', 'where.test')).trim(), LOOPBACK);
  }
  // Of who is not on dnsdist's list, and of who is not named at all, nothing is taken.
  const silent = [
    ['-p', String(port), '-b', '127.0.0.10'],
    ['-p', String(barePort), '-b', '127.0.0.9'],
  ];
  for (const words of silent) {
    const args = [`@${LOOPBACK}`, '-r', ...words, '+tries=1', '+time=1', 'who.test'];
    const run = await runProgram(t, { command: programs.dig, args });
    assert.match(run.stdout, /timed out|no servers could be reached/u, words.join(' '));
  }
});
