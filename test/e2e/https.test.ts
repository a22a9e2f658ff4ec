// HTTPS with certificates from files, as foreign programs see it: curl, sslscan, and visitors who
// ask for any name.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect as connectTcp } from 'node:net';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { hello, serverName } from '../edge/hello-bytes.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { faultOnCue } from '../support/fault.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { PAIR_A, PAIR_B, PAIR_WILD, type TestPair } from '../support/test-pairs.ts';
import { parseLine, startClient, startServer, type TestServer } from '../support/tunnel.ts';

const LOOPBACK = '127.0.0.1';
const STRANGERS = 10_000;
const AT_ONCE = 100;
/** RFC 6066 3: a fatal alert in a record of its own. */
const UNRECOGNIZED_NAME = '15030100020270';

interface Site {
  readonly server: TestServer;
  readonly port: number;
  readonly folder: string;
  put(pair: TestPair): void;
}

async function startSite(
  t: TestContext,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Site> {
  const folder = scratchFolder(t);
  const file = (name: string, text: string): string => {
    const at = path.join(folder, name);
    writeFileSync(at, text);
    return at;
  };
  const write = (name: string, pair: TestPair): string =>
    `${file(`${name}.crt`, pair.cert)},${file(`${name}.key`, pair.key)}`;
  const upstreamPort = await freePort();
  const upstream = createServer((request, response) => {
    const { host, 'x-forwarded-proto': scheme, 'x-real-ip': visitor } = request.headers;
    const echo = request.headers['x-echo'] === undefined ? '' : ` ${visitor}`;
    response.end(`${host} ${scheme}${echo}`);
  }).listen(upstreamPort, LOOPBACK);
  undoAfter(t, () => {
    upstream.closeAllConnections();
    upstream.close();
  });
  const port = await freePort();
  const server = await startServer(t, {
    env,
    args: [
      ...['--https-addr', `${LOOPBACK}:${port}`, '--https-cert', `a.test=${write('a', PAIR_A)}`],
      ...['--https-cert', `*.wild.test=${write('wild', PAIR_WILD)}`, ...args],
    ],
  });
  const to = `http://${LOOPBACK}:${upstreamPort}`;
  const client = await startClient(t, server, {
    args: ['--upstream', `a.test=${to}`, '--upstream', `x.wild.test=${to}`],
  });
  assert.deepEqual(client.stdout.toSorted(), [
    `https://a.test -> ${to}`,
    `https://x.wild.test -> ${to}`,
  ]);
  return { server, port, folder, put: (pair) => void write('a', pair) };
}

function curl(
  t: TestContext,
  { port, folder, server }: Site,
  args: readonly string[],
): ReturnType<typeof runProgram> {
  const hosts = ['a.test', 'x.wild.test'].flatMap((host) => [
    ...['--resolve', `${host}:${port}:${LOOPBACK}`],
    ...['--resolve', `${host}:${server.httpPort}:${LOOPBACK}`],
  ]);
  const ca = ['--cacert', path.join(folder, 'a.crt')];
  return runProgram(t, {
    command: 'curl',
    args: ['-sS', '--max-time', '10', ...ca, ...hosts, ...args],
  });
}

test('curl verifies with the CA file alone, is redirected, and told to stay', async (t) => {
  if (requirePrograms(t, ['curl']) === undefined) return;
  const site = await startSite(t, ['--hsts', '300', '--https-redirect']);
  const page = await curl(t, site, ['-i', `https://a.test:${site.port}/`]);
  assert.match(page.stdout, /^HTTP\/1\.1 200 [\s\S]*a\.test:\d+ https$/);
  assert.match(page.stdout, /^Strict-Transport-Security: max-age=300\r?$/m);
  const wild = path.join(site.folder, 'wild.crt');
  const other = await curl(t, site, ['--cacert', wild, `https://x.wild.test:${site.port}/`]);
  assert.match(other.stdout, /^x\.wild\.test:\d+ https$/);
  const plain = await curl(t, site, ['-L', `http://a.test:${site.server.httpPort}/p?q`]);
  assert.match(plain.stdout, /^a\.test:\d+ https$/);
  const misdirected = ['-H', 'Host: x.wild.test', '-o', '/dev/null', '-w', '%{http_code}'];
  const wrong = await curl(t, site, [...misdirected, `https://a.test:${site.port}/`]);
  assert.equal(wrong.stdout, '421');
  const unknown = await curl(t, site, [
    ...['--resolve', `nobody.test:${site.port}:${LOOPBACK}`, `https://nobody.test:${site.port}/`],
  ]);
  assert.equal(unknown.code, 35, unknown.stderr);
});

test('sslscan finds nothing below TLS 1.2, no weak cipher and no renegotiation', async (t) => {
  const programs = requirePrograms(t, ['sslscan']);
  if (programs === undefined) return;
  const { port } = await startSite(t);
  const args = ['--no-colour', '--sni-name=a.test', `${LOOPBACK}:${port}`];
  const { stdout } = await runProgram(t, { command: programs.sslscan, args });
  for (const old of ['SSLv2', 'SSLv3', 'TLSv1.0', 'TLSv1.1']) {
    assert.match(stdout, new RegExp(`^${old} +disabled$`, 'm'), stdout);
  }
  assert.match(stdout, /^TLSv1\.2 +enabled$/m);
  assert.match(stdout, /^TLSv1\.3 +enabled$/m);
  assert.match(stdout, /session renegotiation not supported/i, stdout);
  const ciphers = [...stdout.matchAll(/^(?:Preferred|Accepted) .* bits +(\S+)/gmu)].map(
    ([, name]) => name ?? '',
  );
  assert.ok(ciphers.length >= 6, stdout);
  for (const name of ciphers) assert.match(name, /^(?:TLS_|ECDHE-).*(?:GCM|POLY1305)/);
});

/** Shakes hands with a name that nobody has; resolves when it is over. */
/** What somebody who asks for `name` is told, as bytes. */
async function stranger(port: number, name: string): Promise<string> {
  const socket = connectTcp({ port, host: LOOPBACK });
  socket.on('error', () => socket.destroy());
  socket.write(hello({ extensions: [serverName(name)] }));
  const told: Buffer[] = [];
  socket.on('data', (piece: Buffer) => told.push(piece));
  await once(socket, 'close');
  return Buffer.concat(told).toString('hex');
}

/** Samples of all metrics by name and labels, without their values. */
async function series({ server }: Site): Promise<number> {
  const url = `http://${LOOPBACK}:${server.adminPort}/metrics`;
  const page = await (await fetch(url, { headers: { connection: 'close' } })).text();
  return page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
}

test('ten thousand random names change nothing, and leave no line', async (t) => {
  const site = await startSite(t);
  const before = site.server.process.stderr.length;
  const seriesBefore = await series(site);
  const answers = new Map<string, number>();
  for (let count = 0; count < STRANGERS; count += AT_ONCE) {
    const names = Array.from({ length: AT_ONCE }, (_, at) => `${noise(count + at)}.strange.test`);
    for (const told of await Promise.all(names.map((name) => stranger(site.port, name)))) {
      answers.set(told, (answers.get(told) ?? 0) + 1);
    }
  }
  assert.deepEqual([...answers], [[UNRECOGNIZED_NAME, STRANGERS]]);
  // Links come and go by themselves while a client settles.
  const isOurs = (line: string): boolean => /"component":"shard"|strange/u.test(line);
  const lines = site.server.process.stderr.slice(before).filter(isOurs);
  assert.deepEqual(
    lines.filter((line) => !line.includes('"msg":"link ended"')),
    [],
  );
  // The one refusal and result that there were none of before, and none a name.
  assert.ok((await series(site)) - seriesBefore <= 5, 'hardly a series more than before');
  if (requirePrograms(t, ['curl']) === undefined) return;
  const page = await curl(t, site, [`https://a.test:${site.port}/`]);
  assert.match(page.stdout, /^a\.test:\d+ https$/);
});

function noise(seed: number): string {
  return createHash('sha256')
    .update(String(seed))
    .digest('hex')
    .slice(0, 8 + (seed % 50));
}

/** Whose certificates 16 visitors of a.test get: enough to meet both shards. */
async function subjects({ port }: Site): Promise<ReadonlySet<string>> {
  const ca = [PAIR_A.cert, PAIR_B.cert];
  const subject = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { port, host: LOOPBACK, servername: 'a.test', ca };
      const socket = connect({ ...options, checkServerIdentity: () => undefined }, () => {
        resolve(socket.getPeerX509Certificate()?.subject ?? '');
        socket.destroy();
      });
      socket.on('error', reject);
    });
  return new Set(await Promise.all(Array.from({ length: 16 }, subject)));
}

test('changed files are served, by every shard', async (t) => {
  const site = await startSite(t);
  assert.deepEqual(await subjects(site), new Set(['CN=a.test']));
  site.put(PAIR_B);
  await eventually(20_000, 'the new certificate', async () => {
    assert.deepEqual(await subjects(site), new Set(['CN=b.test']));
  });
});

test('a shard that was started again has the certificates', async (t) => {
  const fault = faultOnCue(t, 'shard-throw');
  const site = await startSite(t, fault.args, fault.env);
  assert.deepEqual(await subjects(site), new Set(['CN=a.test']));
  fault.strike();
  // Until it listens the other one has all visitors, and nothing would be known of it.
  const isBack = (text: string): boolean => parseLine(text).msg === 'shard restarted';
  await site.server.process.line('a shard that is back', isBack, 20_000);
  for (let round = 0; round < 3; round += 1) {
    assert.deepEqual(await subjects(site), new Set(['CN=a.test']));
  }
});

test('a PROXY header goes before the handshake, and names the visitor', async (t) => {
  const site = await startSite(t, ['--accept-proxy-protocol', LOOPBACK]);
  const under = connectTcp({ port: site.port, host: LOOPBACK });
  undoAfter(t, () => {
    under.destroy();
  });
  under.write('PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n');
  const socket = connect({ socket: under, servername: 'a.test', ca: PAIR_A.cert });
  socket.end('GET / HTTP/1.1\r\nHost: a.test\r\nX-Echo: yes\r\nConnection: close\r\n\r\n');
  const answer: Buffer[] = [];
  socket.on('data', (piece: Buffer) => answer.push(piece));
  await once(socket, 'end');
  assert.match(Buffer.concat(answer).toString(), /a\.test https 192\.0\.2\.7$/);
});
