// Goal: links of a real server and client over the private CA: pinned, first use, changed,
// renewed and reloaded, and with client certificates. Method: real shards, in this process.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Agent, type RequestOptions, request } from 'node:https';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import type { ClientConfig } from '../../src/config/config.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilCovered,
} from '../support/local-tunnel.ts';
import { ClientCa, leafOf, newAuthority, serveCa } from '../support/private-pki.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';

const STOP_MS = 20_000;
const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  'sec-websocket-protocol': 'sluiceway.1',
};

interface Secure {
  readonly node: LocalNode;
  readonly folder: string;
  readonly fingerprint: string;
}

async function startSecure(
  t: TestContext,
  options: Parameters<typeof startNode>[1] = {},
): Promise<Secure> {
  const folder = scratchFolder(t);
  const flags = { 'auto-tls': true, 'auto-tls-dir': path.join(folder, 'tls'), ...options.flags };
  const node = await startNode(t, { ...options, flags });
  const { fingerprint } = await node.log.line('auto TLS');
  return { node, folder, fingerprint: String(fingerprint) };
}

function urlOf({ controlPort }: LocalNode): string {
  return `wss://${LOOPBACK}:${controlPort}`;
}

async function tcpFlags(): Promise<Record<string, string>> {
  return { tcp: `${await freePort()}=${LOOPBACK}:1` };
}

test('a client that pins the fingerprint gets links on all shards', async (t) => {
  const { node, folder, fingerprint } = await startSecure(t);
  const known = path.join(folder, 'known');
  const port = await freePort();
  const flags = {
    ...{ tcp: `${port}=${LOOPBACK}:1`, url: urlOf(node) },
    'auto-tls-fingerprint': fingerprint,
    'known-servers': known,
  };
  await startLocalClient(t, node, { flags });
  await untilCovered(node, `tcp:${port}`, 2);
  assert.throws(() => readFileSync(known), /ENOENT/);
  const days =
    (await node.metric('sluiceway_certificate_not_after_seconds{name="control"}')) -
    Date.now() / 1000;
  assert.ok(days > 0);
});

test('the CA of a new server is remembered; another CA in its place is refused', async (t) => {
  const { node, folder, fingerprint } = await startSecure(t);
  const known = path.join(folder, 'known');
  const flags = { ...(await tcpFlags()), url: urlOf(node), 'known-servers': known };
  await startLocalClient(t, node, { flags });
  assert.ok(readFileSync(known, 'utf8').includes(`${LOOPBACK}:${node.controlPort} ${fingerprint}`));
  const impostor = await newAuthority();
  const port = await serveCa(t, await leafOf(impostor), impostor.cert);
  writeFileSync(known, `${LOOPBACK}:${port} ${fingerprint}\n`);
  const refused = await startLocalClient(t, node, {
    flags: {
      ...(await tcpFlags()),
      url: `wss://${LOOPBACK}:${port}`,
      'known-servers': known,
      'max-retry': '1',
    },
    waits: false,
    complains: true,
  });
  const { exitCode, message = '' } = await refused.ended();
  assert.equal(exitCode, 3);
  assert.match(message, /gave up after 1 retries: .*its CA has changed/);
  assert.ok(message.includes(fingerprint) && message.includes(`${known} line 1`), message);
});

test('a wrong CA file and a name outside the certificate end with 3, and say why', async (t) => {
  const { node, folder, fingerprint } = await startSecure(t, {
    flags: { 'control-addr': '0.0.0.0:0', 'auto-tls-san': 'exit.example.com' },
  });
  const other = path.join(folder, 'other.crt');
  writeFileSync(other, (await newAuthority()).cert);
  const end = async (url: string, more: Record<string, string>, config?: Partial<ClientConfig>) => {
    const client = await startLocalClient(t, node, {
      flags: { ...(await tcpFlags()), url, once: true, ...more },
      ...(config === undefined ? {} : { config }),
      waits: false,
      complains: true,
    });
    return await client.ended();
  };
  const trust = { autoTls: 'off', fingerprints: [], knownServers: '', tlsCa: other } as const;
  const wrongCa = await end(urlOf(node), {}, { trust });
  assert.equal(wrongCa.exitCode, 3, String(wrongCa.message));
  assert.match(wrongCa.message ?? '', /its certificate .*CA/);
  const url = `wss://127.0.0.9:${node.controlPort}`;
  const wrongName = await end(url, { 'auto-tls-fingerprint': fingerprint });
  assert.equal(wrongName.exitCode, 3, String(wrongName.message));
  assert.match(wrongName.message ?? '', /certificate is for .*exit\.example\.com.*, and not for/);
});

test('the CA is open to all at its place, on the control port and the admin address', async (t) => {
  const { node, folder } = await startSecure(t);
  const ca = readFileSync(path.join(folder, 'tls/ca.crt'), 'utf8');
  const plain = await fetch(`http://${LOOPBACK}:${node.adminPort}/.well-known/ca.crt`);
  assert.equal(await plain.text(), ca);
  const programs = requirePrograms(t, ['curl', 'openssl']);
  if (programs === undefined) return;
  const file = path.join(folder, 'fetched.crt');
  const run = (command: string, args: string[]) => runProgram(t, { command, args });
  const base = `https://localhost:${node.controlPort}`;
  const args = ['-sS', '--cacert', path.join(folder, 'tls/ca.crt')];
  const curl = (...more: string[]) => run(programs.curl, [...args, ...more]);
  const fetched = await curl('-o', file, `${base}/.well-known/ca.crt`);
  assert.equal(fetched.code, 0, fetched.stderr);
  assert.equal(readFileSync(file, 'utf8'), ca);
  assert.equal((await curl(`${base}/healthz`)).stdout, 'ok');
  const server = ['s_client', '-connect', `${LOOPBACK}:${node.controlPort}`, '-brief'];
  const verified = [...server, '-CAfile', file, '-verify_return_error'];
  const opened = await run(programs.openssl, verified);
  assert.equal(opened.code, 0, opened.stderr);
  const old = await run(programs.openssl, [...verified, '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0']);
  assert.equal(old.code, 1, old.stderr);
});

/** Serial of the certificate that the control port shows now. */
function serial(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: LOOPBACK, port, ca }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

/** Files for --tls-cert and --tls-key, and what replaces them as an operator does. */
function pairFiles(folder: string) {
  const tlsCert = path.join(folder, 'cert.pem');
  const tlsKey = path.join(folder, 'key.pem');
  const write = (pair: { cert: string; key: string }): void => {
    for (const [file, text] of [
      [tlsKey, pair.key],
      [tlsCert, pair.cert],
    ] as const) {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    }
  };
  return { tlsCert, tlsKey, write };
}

test('own files are read again when they change; a broken pair keeps the old', async (t) => {
  const folder = scratchFolder(t);
  const authority = await newAuthority();
  const { tlsCert, tlsKey, write } = pairFiles(folder);
  write(await leafOf(authority));
  const node = await startNode(t, { config: { tlsCert, tlsKey }, complains: true });
  const first = await serial(node.controlPort, authority.cert);
  const client = await startLocalClient(t, node, {
    flags: { ...(await tcpFlags()), url: urlOf(node) },
    config: {
      trust: {
        autoTls: 'off',
        fingerprints: [],
        knownServers: '',
        tlsCa: caFile(folder, authority.cert),
      },
    },
  });
  writeFileSync(tlsKey, 'no key');
  await node.untilMetric('sluiceway_config_reloads_total{result="failed"}', (count) => count >= 1);
  assert.equal(await serial(node.controlPort, authority.cert), first);
  const second = await leafOf(authority);
  write(second);
  await eventually(STOP_MS, 'both shards show the new certificate', async () => {
    for (let connection = 0; connection < 8; connection += 1) {
      assert.notEqual(await serial(node.controlPort, authority.cert), first);
    }
  });
  assert.ok((await node.metric('sluiceway_config_reloads_total{result="ok"}')) >= 1);
  assert.deepEqual(client.log.all('link failed'), [], 'no link was cut');
});

test('own files are read again by a server that took over, too', async (t) => {
  const authority = await newAuthority();
  const { tlsCert, tlsKey, write } = pairFiles(scratchFolder(t));
  write(await leafOf(authority));
  const node = await startNode(t, { config: { tlsCert, tlsKey }, succeeds: true });
  const first = await serial(node.controlPort, authority.cert);
  write(await leafOf(authority));
  await eventually(STOP_MS, 'both shards show the new certificate', async () => {
    for (let connection = 0; connection < 8; connection += 1) {
      assert.notEqual(await serial(node.controlPort, authority.cert), first);
    }
  });
});

function caFile(folder: string, pem: string): string {
  const file = path.join(folder, 'ca.crt');
  writeFileSync(file, pem);
  return file;
}

test('a client with a certificate of --client-ca needs no token; no other gets in', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const folder = scratchFolder(t);
  const [ca, other] = [new ClientCa(folder), new ClientCa(folder, 'other')];
  const clientCa = path.join(folder, 'client-ca.pem');
  copyFileSync(ca.ca, clientCa);
  const { node, fingerprint } = await startSecure(t, { config: { clientCa }, complains: true });
  const flags = { url: urlOf(node), 'auto-tls-fingerprint': fingerprint };
  const start = async (pair: { cert: string; key: string } | undefined, waits: boolean) => {
    const own = pair === undefined ? {} : { clientCert: pair.cert, clientKey: pair.key };
    const trust = { autoTls: 'on', fingerprints: [fingerprint], knownServers: '', ...own } as const;
    // A token that the server does not know: only the certificate can let it in.
    const config = { trust, token: undefined } as unknown as Partial<ClientConfig>;
    const all = { ...flags, ...(await tcpFlags()), once: true };
    return startLocalClient(t, node, { flags: all, config, waits, complains: !waits });
  };
  const good = ca.issue('good', '/O=Example/CN=edge-7');
  await start(good, true);
  const [client] = (await node.status()).clients;
  assert.equal(client?.identity, 'edge-7');
  await node.log.line('client link up', { identity: 'edge-7' });
  const byDns = ca.issue('dns', '/O=Example', 'subjectAltName=DNS:edge.example.com');
  await start(byDns, true);
  await node.log.line('client link up', { identity: 'edge.example.com' });
  const refused = [
    undefined,
    other.issue('foreign', '/CN=edge-7'),
    ca.issue('server', '/CN=edge-7', 'extendedKeyUsage=serverAuth'),
    ca.issue('odd', '/CN=edge 7 <script>'),
  ];
  for (const pair of refused) {
    const { exitCode, message } = await (await start(pair, false)).ended();
    assert.equal(exitCode, 3, String(message));
    assert.match(message ?? '', /authentication refused.*--tls-client-cert/);
  }
  // The same certificate is worth nothing once its CA is no longer that of --client-ca.
  copyFileSync(other.ca, clientCa);
  await node.untilMetric('sluiceway_config_reloads_total{result="ok"}', (count) => count >= 1);
  await eventually(STOP_MS, 'refused by both shards', async () => {
    for (let ask = 0; ask < 6; ask += 1) assert.equal(await statusCode(node, good), 401);
  });
  // A CA file without a certificate would make Node trust everybody's.
  writeFileSync(clientCa, '');
  await node.untilMetric('sluiceway_config_reloads_total{result="failed"}', (count) => count >= 1);
  assert.equal(await statusCode(node, good), 401);
  // And one without a root nobody's.
  copyFileSync(new ClientCa(folder, 'issuing', ca).ca, clientCa);
  await node.untilMetric('sluiceway_config_reloads_total{result="failed"}', (count) => count >= 2);
  await node.log.line('certificate files: the old ones stay in use', { err: /no root/ });
});

test('a server that took over goes with --client-ca when that is replaced', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const folder = scratchFolder(t);
  const [old, next] = [new ClientCa(folder, 'old'), new ClientCa(folder, 'next')];
  const clientCa = path.join(folder, 'client-ca.pem');
  copyFileSync(old.ca, clientCa);
  const { node } = await startSecure(t, { config: { clientCa }, succeeds: true, complains: true });
  const [withdrawn, good] = [old.issue('one', '/CN=edge-1'), next.issue('two', '/CN=edge-2')];
  assert.equal(await statusCode(node, withdrawn), 200);
  copyFileSync(next.ca, clientCa);
  await eventually(STOP_MS, 'both shards go with the new CA', async () => {
    for (let ask = 0; ask < 6; ask += 1) {
      assert.equal(await statusCode(node, withdrawn), 401);
      assert.equal(await statusCode(node, good), 200);
    }
  });
});

test('who came before --client-ca was changed is sent back, not refused for ever', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const folder = scratchFolder(t);
  const [old, next] = [new ClientCa(folder, 'old'), new ClientCa(folder, 'next')];
  const clientCa = path.join(folder, 'client-ca.pem');
  copyFileSync(old.ca, clientCa);
  const { node } = await startSecure(t, { config: { clientCa }, complains: true });
  const [pair, nextPair] = [old.issue('one', '/CN=edge-1'), next.issue('two', '/CN=edge-2')];
  const [scraper, dialler, newcomer] = [keptAlive(t), keptAlive(t), keptAlive(t)];
  assert.equal(await statusCode(node, pair, { agent: scraper }), 200);
  for (const [own, agent] of [
    [pair, dialler],
    [nextPair, newcomer],
  ] as const) {
    assert.equal(await statusCode(node, own, { agent, path: '/healthz' }), 200);
  }
  writeFileSync(clientCa, readFileSync(old.ca, 'utf8') + readFileSync(next.ca, 'utf8'));
  await eventually(STOP_MS, 'both shards go with the new CA', async () => {
    for (let ask = 0; ask < 8; ask += 1) assert.equal(await statusCode(node, nextPair), 200);
  });
  assert.equal(await statusCode(node, pair, { agent: scraper }), 401);
  assert.equal(await statusCode(node, pair, { agent: scraper }), 200);
  const dial = { path: '/connect', headers: UPGRADE };
  for (const [own, agent] of [
    [pair, dialler],
    [nextPair, newcomer],
  ] as const) {
    assert.equal(await statusCode(node, own, { ...dial, agent }), 503);
    assert.equal(await statusCode(node, own, { ...dial, agent }), 101);
  }
  const stranger = new ClientCa(folder, 'stranger').issue('three', '/CN=edge-3');
  assert.equal(await statusCode(node, stranger, dial), 401);
});

/** One connection, for as long as the server keeps it. */
function keptAlive(t: TestContext): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  undoAfter(t, () => agent.destroy());
  return agent;
}

/** What is answered to whoever shows `pair`, at /status if not elsewhere. */
function statusCode(
  node: LocalNode,
  pair: { cert: string; key: string },
  where: Pick<RequestOptions, 'agent' | 'path' | 'headers'> = {},
): Promise<number> {
  const ca = readFileSync(`${String(node.log.all('auto TLS')[0]?.folder)}/ca.crt`, 'utf8');
  const [cert, key] = [readFileSync(pair.cert), readFileSync(pair.key)];
  const place = { host: LOOPBACK, port: node.controlPort, path: '/status', agent: false as const };
  return new Promise((resolve, reject) => {
    request({ ...place, ca, cert, key, ...where }, (response) => {
      response.resume();
      // Not before: an agent has its connection back by then.
      response.on('close', () => resolve(response.statusCode ?? 0));
    })
      .on('upgrade', (_response, socket) => {
        socket.destroy();
        resolve(101);
      })
      .on('error', reject)
      .end();
  });
}

test('a token is enough beside --client-ca, with a certificate of another CA too', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const folder = scratchFolder(t);
  const [ca, other] = [new ClientCa(folder), new ClientCa(folder, 'other')];
  const { node, fingerprint } = await startSecure(t, { config: { clientCa: ca.ca } });
  const { cert, key } = other.issue('foreign', '/CN=edge-7');
  const flags = { ...(await tcpFlags()), url: urlOf(node) };
  const trust = { autoTls: 'on', fingerprints: [fingerprint], knownServers: '' } as const;
  const own = { clientCert: cert, clientKey: key };
  await startLocalClient(t, node, { flags, config: { trust: { ...trust, ...own } } });
  assert.equal((await node.status()).clients[0]?.identity, undefined);
});

test('a plain link to another machine warns once', async (t) => {
  const { node } = await startSecure(t);
  const flags = { ...(await tcpFlags()), url: 'ws://192.0.2.255:9', once: true };
  const client = await startLocalClient(t, node, { flags, waits: false, complains: true });
  assert.equal(
    client.log.all('not encrypted: the token and all traffic can be read on the way').length,
    1,
  );
});
