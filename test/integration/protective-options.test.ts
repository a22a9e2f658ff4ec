// Goal: every option that protects something does so alone, whichever way it is given, and is an
// error when it is given empty. Method: a node for each option and channel, and a try to get in.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { connect } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/base/errors.ts';
import { type ClientConfig, resolveConfig, type ServerConfig } from '../../src/config/config.ts';
import { variableOf } from '../../src/config/merge.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { type Flags, LOOPBACK } from '../support/configs.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_A, PAIR_B } from '../support/test-pairs.ts';
import { startHttp, startTcp } from '../support/upstream.ts';

const SECRET = 'secret-of-this-test-0123456789';
const HOST = 'site.example.com';
const ELSEWHERE = '192.0.2.0/24';
const CHANNELS = ['flag', 'environment', 'file'] as const;
type Channel = (typeof CHANNELS)[number];
type Command = 'server' | 'client';

const BASE: Readonly<Record<Command, Flags>> = {
  server: {
    ...{ 'log-level': 'error', 'log-format': 'json', shards: '1', 'drain-delay': '0s' },
    ...{ 'control-addr': `${LOOPBACK}:0`, 'http-addr': `${LOOPBACK}:0`, 'tcp-addr': LOOPBACK },
    'admin-addr': `${LOOPBACK}:0`,
  },
  client: { 'log-level': 'error', 'log-format': 'json', 'drain-timeout': '1s' },
};

interface Given {
  readonly option: string;
  readonly value: string;
  readonly channel: Channel;
  /** What else has to be there, in the environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly flags?: Flags;
}

function inputOf(command: Command, { option, value, channel, env, flags }: Given) {
  const { [option]: _replaced, ...base } = BASE[command];
  const variable = channel === 'environment' ? { [variableOf(option)]: value } : {};
  const file = { path: 'sluiceway.yaml', text: `${option}: ${JSON.stringify(value)}\n` };
  return {
    command,
    flags: { ...base, ...flags, ...(channel === 'flag' ? { [option]: value } : {}) },
    env: { ...env, ...variable },
    ...(channel === 'file' ? { file } : {}),
    defaults: { cores: 1, logFormat: 'json' as const },
    readFile: (name: string) => readFileSync(name, 'utf8'),
  };
}

function serverOf(given: Given): ServerConfig {
  return resolveConfig({ ...inputOf('server', given), command: 'server' });
}

function clientOf(given: Given): ClientConfig {
  return resolveConfig({ ...inputOf('client', given), command: 'client' });
}

/** All that comes back for `text`, however the connection ends. */
async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, LOOPBACK);
  let got = '';
  socket.on('data', (piece) => {
    got += piece.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return got;
}

const requestFor = (target: string, ...fields: readonly string[]): string =>
  [`GET ${target} HTTP/1.1`, `Host: ${HOST}`, 'Connection: close', ...fields, '', ''].join('\r\n');

async function statusWith(node: LocalNode, token: string, query = ''): Promise<number> {
  const answer = await exchange(
    node.controlPort,
    requestFor(`/status${query}`, ...(token === '' ? [] : [`Authorization: Bearer ${token}`])),
  );
  return Number(/^HTTP\/1\.1 (\d{3})/u.exec(answer)?.[1] ?? 0);
}

/** Only the whole secret opens. */
async function opensForSecretAlone(_t: TestContext, node: LocalNode): Promise<void> {
  assert.equal(await statusWith(node, SECRET), 200);
  const wrong = ['', `${SECRET}x`, SECRET.slice(0, -1), SECRET.toUpperCase(), 'x'.repeat(4096)];
  for (const token of wrong) assert.equal(await statusWith(node, token), 401, token.slice(0, 40));
  assert.equal(await statusWith(node, '', `?token=${SECRET}`), 401);
  // Longer than a head may be: refused before anybody looks at it.
  const huge = await statusWith(node, 'x'.repeat(1024 * 1024));
  assert.ok(huge === 431 || huge === 0, String(huge));
}

/** Nobody is there: what it has not signed, or cannot be asked about, opens nothing. */
const ISSUER = 'http://127.0.0.1:1';
const RULES = 'oidc:\n  - name: one\n    hosts: ["*"]\n    claims: {sub: someone}\n';

async function opensForNoJwt(_t: TestContext, node: LocalNode): Promise<void> {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = part({ iss: ISSUER, aud: HOST, sub: 'someone', exp: 4_000_000_000 });
  for (const token of ['', `${part({ alg: 'none' })}.${claims}.AA`, 'a.b.c']) {
    assert.equal(await statusWith(node, token), 401, token);
    const answer = await exchange(
      node.controlPort,
      requestFor('/connect', `Authorization: Bearer ${token}`, 'Sec-WebSocket-Version: 13').replace(
        'Connection: close',
        'Connection: Upgrade\r\nUpgrade: websocket',
      ),
    );
    assert.match(answer, /^HTTP\/1\.1 (401|503) /u, token);
  }
}

async function serve(t: TestContext, node: LocalNode, more: Flags = {}): Promise<void> {
  const site = await startHttp(t, (request, response) => {
    request.resume();
    request.on('end', () => response.end(`seen ${String(request.headers['x-forwarded-for'])}`));
  });
  const upstream = `${HOST}=http://127.0.0.1:${site}`;
  const config = clientOf({
    ...{ option: 'upstream', value: upstream, channel: 'flag', env: { SLUICEWAY_TOKEN: SECRET } },
    flags: { url: `ws://${LOOPBACK}:${node.controlPort}`, ...more },
  });
  await startLocalClient(t, node, { flags: { upstream }, config });
}

interface Row {
  readonly value: (t: TestContext) => string;
  /** No token but for those of this row. */
  readonly isLogin?: true;
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: (t: TestContext) => Flags;
  readonly tries: (t: TestContext, node: LocalNode) => Promise<void>;
}

const written = (t: TestContext, name: string, text: string): string => {
  const file = path.join(scratchFolder(t), name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
};

const SERVER_ROWS: Readonly<Record<string, Row>> = {
  token: { isLogin: true, value: () => SECRET, tries: opensForSecretAlone },
  'token-file': {
    ...{ isLogin: true, tries: opensForSecretAlone },
    value: (t) => written(t, 'token', `${SECRET}\n`),
  },
  'token-env': {
    ...{ isLogin: true, tries: opensForSecretAlone },
    ...{ value: () => 'WHERE_IT_IS', env: { WHERE_IT_IS: SECRET } },
  },
  'tokens-file': {
    ...{ isLogin: true, tries: opensForSecretAlone },
    value: (t) => {
      const digest = createHash('sha256').update(SECRET).digest('hex');
      const entry = `  - name: one\n    hashes: [sha256:${digest}]\n    admin: true\n`;
      return written(t, 'tokens.yaml', `tokens:\n${entry}`);
    },
  },
  'oidc-issuer': {
    isLogin: true,
    value: () => ISSUER,
    flags: (t) => ({ 'oidc-audience': HOST, 'tokens-file': written(t, 'rules.yaml', RULES) }),
    tries: opensForNoJwt,
  },
  'oidc-audience': {
    isLogin: true,
    value: () => HOST,
    flags: (t) => ({ 'oidc-issuer': ISSUER, 'tokens-file': written(t, 'rules.yaml', RULES) }),
    tries: opensForNoJwt,
  },
  'client-ca': {
    isLogin: true,
    value: (t) => written(t, 'ca.pem', PAIR_B.cert),
    flags: (t) => ({
      'tls-cert': written(t, 'cert.pem', PAIR_A.cert),
      'tls-key': written(t, 'key.pem', PAIR_A.key),
    }),
    tries: async (_t, node) => {
      const status = await new Promise<number>((resolve) => {
        const options = { host: LOOPBACK, port: node.controlPort, path: '/status' };
        https
          .get(
            { ...options, ca: PAIR_A.cert, checkServerIdentity: () => undefined, agent: false },
            (response) => {
              response.resume();
              resolve(response.statusCode ?? 0);
            },
          )
          .once('error', () => resolve(0));
      });
      assert.equal(status, 401);
    },
  },
  'allow-ips': {
    value: () => ELSEWHERE,
    tries: async (t, node) => {
      await serve(t, node);
      assert.equal(await exchange(node.httpPort, requestFor('/')), '');
    },
  },
  'control-allow-ips': {
    value: () => ELSEWHERE,
    tries: async (_t, node) => assert.equal(await statusWith(node, SECRET), 0),
  },
  'accept-proxy-protocol': {
    value: () => '127.0.0.0/8',
    tries: async (_t, node) => assert.equal(await exchange(node.httpPort, requestFor('/')), ''),
  },
  'trusted-proxies': {
    value: () => ELSEWHERE,
    tries: async (t, node) => {
      await serve(t, node);
      const lie = requestFor('/', 'X-Forwarded-For: 203.0.113.9');
      assert.match(await exchange(node.httpPort, lie), /seen 127\.0\.0\.1$/u);
    },
  },
  'client-forwarding': {
    value: () => 'elsewhere.example:80',
    tries: async (t, node) => {
      const echo = await startTcp(t, (socket) => socket.end('served'));
      const port = await freePort();
      const env = { SLUICEWAY_TOKEN: SECRET };
      const local = `${port}:127.0.0.1:${echo}`;
      const given: Given = { option: 'local', value: local, channel: 'flag', env };
      const config = clientOf({ ...given, flags: { url: `ws://${LOOPBACK}:${node.controlPort}` } });
      const client = await startLocalClient(t, node, { flags: { local }, config, complains: true });
      await client.log.line('local forward up');
      assert.equal(await exchange(port, 'x'), '');
    },
  },
  'tcp-ports': {
    value: () => '1024-1025',
    tries: async (t, node) => {
      const echo = await startTcp(t, (socket) => socket.end('served'));
      const tcp = `${await freePort()}=127.0.0.1:${echo}`;
      const env = { SLUICEWAY_TOKEN: SECRET };
      const given: Given = { option: 'tcp', value: tcp, channel: 'flag', env };
      const url = `ws://${LOOPBACK}:${node.controlPort}`;
      const config = clientOf({ ...given, flags: { url } });
      const options = { flags: { tcp }, config, waits: false, complains: true };
      const client = await startLocalClient(t, node, options);
      const line = await client.log.line('tunnel refused');
      assert.equal(line.code, 'SLW_TUNNEL_PORT_NOT_ALLOWED');
    },
  },
  'admin-addr': {
    value: () => 'off',
    tries: async (_t, node) => assert.equal(node.adminPort, 0),
  },
  'visitor-connections-per-ip-max': {
    value: () => '1',
    tries: async (t, node) => {
      await serve(t, node);
      const first = connect(node.httpPort, LOOPBACK);
      first.on('error', () => {});
      first.write(requestFor('/').replace('close', 'keep-alive'));
      await new Promise((resolve) => first.once('data', resolve));
      const answer = await exchange(node.httpPort, requestFor('/'));
      first.destroy();
      assert.doesNotMatch(answer, /^HTTP\/1\.1 200/u);
    },
  },
  'requests-per-second-per-ip-max': {
    value: () => '1',
    tries: async (t, node) => {
      await serve(t, node);
      const answers: string[] = [];
      for (let count = 0; count < 6; count += 1) {
        answers.push(await exchange(node.httpPort, requestFor('/')));
      }
      assert.ok(answers.some((one) => /^HTTP\/1\.1 429/u.test(one)));
    },
  },
  'request-body-max': {
    value: () => '10',
    tries: async (t, node) => {
      await serve(t, node);
      const post = requestFor('/', 'Content-Length: 11').replace('GET', 'POST');
      assert.match(await exchange(node.httpPort, `${post}${'x'.repeat(11)}`), /^HTTP\/1\.1 413/u);
    },
  },
};

for (const [option, row] of Object.entries(SERVER_ROWS)) {
  test(`server: --${option}, alone`, async (t) => {
    for (const channel of CHANNELS) {
      await t.test(`by ${channel}`, async (t) => {
        const env = { ...(row.isLogin ? {} : { SLUICEWAY_TOKEN: SECRET }), ...row.env };
        const flags = row.flags?.(t) ?? {};
        const given: Given = { option, value: row.value(t), channel, env, flags };
        const node = await startNode(t, { config: serverOf(given), complains: true });
        await row.tries(t, node);
      });
    }
  });
}

test('client: --allow-ips, alone', async (t) => {
  for (const channel of CHANNELS) {
    await t.test(`by ${channel}`, async (t) => {
      const env = { SLUICEWAY_TOKEN: SECRET };
      const admin: Given = { option: 'shards', value: '1', channel: 'flag', env };
      const node = await startNode(t, { config: serverOf(admin) });
      const site = await startHttp(t, (_request, response) => response.end('served'));
      const upstream = `${HOST}=http://127.0.0.1:${site}`;
      const url = `ws://${LOOPBACK}:${node.controlPort}`;
      const given = { option: 'allow-ips', value: ELSEWHERE, channel, env };
      const config = clientOf({ ...given, flags: { url, upstream } });
      await startLocalClient(t, node, { flags: { upstream }, config });
      assert.match(await exchange(node.httpPort, requestFor('/')), /^HTTP\/1\.1 403/u);
    });
  }
});

for (const option of ['basic-auth', 'bearer-token-file']) {
  test(`client: --${option}, alone`, async (t) => {
    for (const channel of CHANNELS) {
      await t.test(`by ${channel}`, async (t) => {
        const env = { SLUICEWAY_TOKEN: SECRET };
        const admin: Given = { option: 'shards', value: '1', channel: 'flag', env };
        const node = await startNode(t, { config: serverOf(admin) });
        const site = await startHttp(t, (_request, response) => response.end('served'));
        const upstream = `${HOST}=http://127.0.0.1:${site}`;
        const url = `ws://${LOOPBACK}:${node.controlPort}`;
        const isBasic = option === 'basic-auth';
        const value = isBasic ? 'user:secret' : written(t, 'tokens', `${SECRET}\n`);
        const config = clientOf({ option, value, channel, env, flags: { url, upstream } });
        await startLocalClient(t, node, { flags: { upstream }, config });
        const good = isBasic ? `Basic ${btoa('user:secret')}` : `Bearer ${SECRET}`;
        const wrong = [
          ...[`Basic ${btoa('user:secre')}`, `Basic ${btoa('user:secretx')}`, `Bearer ${SECRET}x`],
          ...[good.slice(0, -3), good.replace(' ', ''), `X${good}`, 'Basic', 'Bearer ', ''],
        ];
        for (const text of wrong) {
          const answer = await exchange(node.httpPort, requestFor('/', `Authorization: ${text}`));
          assert.match(answer, /^HTTP\/1\.1 (?:401|429) /u, text);
        }
        assert.match(await exchange(node.httpPort, requestFor('/')), /^HTTP\/1\.1 401 /u);
        const twice = requestFor('/', `Authorization: ${good}`, `Authorization: ${good}`);
        assert.match(await exchange(node.httpPort, twice), /^HTTP\/1\.1 (?:401|429) /u);
        const answer = await exchange(node.httpPort, requestFor('/', `Authorization: ${good}`));
        assert.match(answer, /^HTTP\/1\.1 200 /u);
      });
    }
  });
}

/** Given empty, each of these would protect nothing. */
const MUST_HAVE_A_VALUE: Readonly<Record<Command, readonly string[]>> = {
  server: Object.keys(SERVER_ROWS),
  client: [
    ...['basic-auth', 'bearer-token-file'],
    ...['allow-ips', 'token', 'token-file', 'token-env', 'tls-ca', 'auto-tls-fingerprint'],
  ],
};

test('a protective option that is given empty is an error that names it', (t) => {
  for (const command of ['server', 'client'] as const) {
    for (const option of MUST_HAVE_A_VALUE[command]) {
      // A token of the environment is stronger than an empty one of the file.
      const env: Record<string, string> = /^tokens?\b/u.test(option)
        ? {}
        : { SLUICEWAY_TOKEN: SECRET };
      for (const channel of CHANNELS) {
        const needed: Flags =
          command === 'client'
            ? { url: 'ws://127.0.0.1:1', tcp: '2222' }
            : (SERVER_ROWS[option]?.flags?.(t) ?? {});
        const given: Given = { option, value: '', channel, env, flags: needed };
        const resolve = () => (command === 'server' ? serverOf(given) : clientOf(given));
        assert.throws(
          resolve,
          (error) => error instanceof ConfigError && error.message.includes(option),
          `${command} --${option} by ${channel}`,
        );
      }
    }
  }
});

/** Options that keep nobody out: what they are given decides what is offered, or how. */
const OTHERS: Readonly<Record<Command, readonly string[]>> = {
  server: [
    ...['config', 'control-addr', 'http-addr', 'https-addr', 'https-cert', 'https-redirect'],
    ...['hsts', 'letsencrypt-domain', 'letsencrypt-on-demand', 'letsencrypt-issuer'],
    ...['letsencrypt-email', 'letsencrypt-ca-file', 'letsencrypt-challenge'],
    ...['letsencrypt-dns-hook', 'letsencrypt-dir', 'tcp-addr', 'tls-cert', 'tls-key'],
    ...['auto-tls', 'auto-tls-san', 'auto-tls-dir', 'shards', 'reuse-port', 'drain-delay'],
    ...['drain-timeout', 'log-level', 'log-format', 'access-log', 'error-pages'],
    ...['inspect', 'inspect-requests', 'inspect-body-max'],
    ...['control-on-http', 'control-on-https'],
    ...[
      'tokens-usage-file',
      'allow-faults',
      'fault',
      'window-initial',
      'window-max',
      'session-memory-max',
    ],
    ...['frame-max', 'streams-per-link-max', 'upstream-connect-timeout', 'tcp-idle-timeout'],
    ...['half-close-timeout', 'link-ping-interval', 'link-dead-after', 'visitor-connections-max'],
    ...['header-timeout', 'body-idle-timeout', 'keep-alive-timeout', 'upstream-response-timeout'],
    // Shared by all visitors: they bound load, as test/integration/limits.test.ts shows.
    ...['tunnel-connections-max', 'requests-per-second-max', 'tunnel-requests-per-second-max'],
    ...['tunnel-bytes-in-per-second-max', 'tunnel-bytes-out-per-second-max'],
  ],
  client: [
    ...['config', 'url', 'auto-tls', 'known-servers', 'tls-client-cert', 'tls-client-key'],
    ...['upstream', 'tcp', 'tls-passthrough', 'proxy-protocol', 'host-header'],
    ...['local', 'local-addr', 'local-socks', 'proxy', 'weight', 'affinity', 'json'],
    ...['health-check', 'health-check-interval', 'health-check-timeout'],
    ...['health-check-rise', 'health-check-fall'],
    ...['request-header-add', 'request-header-remove', 'response-header-add'],
    ...[
      'response-header-remove',
      'status-dir',
      'id',
      'links',
      'link-mask',
      'once',
      'max-retry',
      'shards',
    ],
    ...['drain-timeout', 'log-level', 'log-format', 'window-initial', 'window-max'],
    ...['session-memory-max', 'frame-max', 'streams-per-link-max', 'upstream-connect-timeout'],
    ...['tcp-idle-timeout', 'half-close-timeout', 'link-ping-interval', 'link-dead-after'],
  ],
};

test('every option is known here as one that protects or one that does not', () => {
  for (const command of ['server', 'client'] as const) {
    const known = [...MUST_HAVE_A_VALUE[command], ...OTHERS[command]];
    assert.deepEqual(known.toSorted(), Object.keys(SCHEMA[command]).toSorted(), command);
  }
});
