// Goal: every option that protects something does so alone, whichever way it is given, and is an
// error when it is given empty. Method: a node for each option and channel, and a try to get in.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import { connect } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/base/errors.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { type Flags, LOOPBACK } from '../support/configs.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import {
  CHANNELS,
  type Command,
  clientOf,
  type Given,
  serverOf,
} from '../support/option-channels.ts';
import { scratchFolder } from '../support/programs.ts';
import {
  exchange,
  HOST,
  ISSUER,
  opensForNoJwt,
  opensForNoSession,
  opensForSecretAlone,
  RULES,
  requestFor,
  SECRET,
  serve,
  statusWith,
} from '../support/shut-doors.ts';
import { PAIR_A, PAIR_B } from '../support/test-pairs.ts';
import { startUdp, visitUdp } from '../support/udp.ts';
import { startHttp, startTcp } from '../support/upstream.ts';

const ELSEWHERE = '192.0.2.0/24';

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
  'login-providers': {
    // Nobody is there, and so nobody can have logged in.
    value: (t) =>
      written(
        t,
        'providers.yaml',
        `providers: [{name: company, issuer: "${ISSUER}", client-id: x}]`,
      ),
    tries: async (t, node) => {
      await serve(t, node, { login: 'company', 'login-allow': 'anyone' });
      await opensForNoSession(node, 503);
    },
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
  'deny-ips': {
    value: () => '127.0.0.0/8',
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
  'udp-ports': {
    value: () => '1024-1025',
    tries: async (t, node) => {
      const udp = `${await freePort()}=127.0.0.1:9`;
      const given: Given = {
        ...{ option: 'udp', value: udp, channel: 'flag' },
        env: { SLUICEWAY_TOKEN: SECRET },
      };
      const url = `ws://${LOOPBACK}:${node.controlPort}`;
      const config = clientOf({ ...given, flags: { url } });
      const options = { flags: { udp }, config, waits: false, complains: true };
      const client = await startLocalClient(t, node, options);
      const line = await client.log.line('tunnel refused');
      assert.equal(line.code, 'SLW_TUNNEL_PORT_NOT_ALLOWED');
    },
  },
  'udp-flows-per-ip-max': {
    value: () => '1',
    tries: async (t, node) => {
      const upstream = await startUdp(t);
      const port = await freePort();
      const udp = `${port}=127.0.0.1:${upstream.port}`;
      const env = { SLUICEWAY_TOKEN: SECRET };
      const given: Given = { option: 'udp', value: udp, channel: 'flag', env };
      const url = `ws://${LOOPBACK}:${node.controlPort}`;
      await startLocalClient(t, node, {
        flags: { udp },
        config: clientOf({ ...given, flags: { url } }),
      });
      const first = await visitUdp(t, port);
      await first.ask('one');
      await first.ask('two');
      (await visitUdp(t, port)).send('no room');
      const denied = 'sluiceway_udp_dropped_total{reason="address-flows"}';
      await node.untilMetric(denied, (count) => count === 1);
      assert.equal(upstream.received, 2);
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
  'connections-per-second-per-ip-max': {
    value: () => '1',
    tries: async (t, node) => {
      await serve(t, node);
      const asking = Array.from({ length: 9 }, () => exchange(node.httpPort, requestFor('/')));
      const answers = await Promise.all(asking);
      assert.ok(answers.some((one) => /^HTTP\/1\.1 429/u.test(one)));
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

for (const [option, value, needed] of [
  ['login', 'company', { 'login-allow': '@example.com' }],
  ['login-allow', '@example.com', { login: 'company' }],
] as const) {
  test(`client: --${option}, which needs its other half`, async (t) => {
    const env = { SLUICEWAY_TOKEN: SECRET };
    for (const channel of CHANNELS) {
      await t.test(`by ${channel}`, async (t) => {
        const text = `providers: [{name: company, issuer: "${ISSUER}", client-id: x}]`;
        const file = written(t, 'providers.yaml', text);
        const given: Given = { option: 'login-providers', value: file, channel: 'flag', env };
        const node = await startNode(t, { config: serverOf(given), complains: true });
        const site = await startHttp(t, (_request, response) => response.end('served'));
        const upstream = `${HOST}=http://127.0.0.1:${site}`;
        const url = `ws://${LOOPBACK}:${node.controlPort}`;
        const alone: Given = { option, value, channel, env, flags: { url, upstream } };
        assert.throws(
          () => clientOf(alone),
          (error) => error instanceof ConfigError && error.message.includes('login-allow'),
        );
        const config = clientOf({ ...alone, flags: { url, upstream, ...needed } });
        await startLocalClient(t, node, { flags: { upstream }, config });
        await opensForNoSession(node, 503);
      });
    }
  });
}

test('client: a login at a provider that the server does not have serves nobody', async (t) => {
  const env = { SLUICEWAY_TOKEN: SECRET };
  const admin: Given = { option: 'shards', value: '1', channel: 'flag', env };
  const node = await startNode(t, { config: serverOf(admin), complains: true });
  const site = await startHttp(t, (_request, response) => response.end('served'));
  const upstream = `${HOST}=http://127.0.0.1:${site}`;
  const flags = { url: `ws://${LOOPBACK}:${node.controlPort}`, upstream, 'login-allow': 'anyone' };
  const config = clientOf({ option: 'login', value: 'company', channel: 'flag', env, flags });
  const options = { flags: { upstream }, config, waits: false, complains: true };
  const client = await startLocalClient(t, node, options);
  await client.log.line('tunnel refused');
  assert.match(await exchange(node.httpPort, requestFor('/')), /^HTTP\/1\.1 404 /u);
});

/** Given empty, each of these would protect nothing. */
const MUST_HAVE_A_VALUE: Readonly<Record<Command, readonly string[]>> = {
  server: Object.keys(SERVER_ROWS),
  client: [
    ...['basic-auth', 'bearer-token-file', 'login', 'login-allow'],
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
    ...['tunnel-bytes-in-per-second-max', 'tunnel-bytes-out-per-second-max', 'memory-max'],
    ...['udp-flows-max', 'udp-new-flows-per-second-max', 'udp-idle-timeout', 'udp-addr'],
  ],
  client: [
    ...['config', 'url', 'auto-tls', 'known-servers', 'tls-client-cert', 'tls-client-key'],
    ...[
      'upstream',
      'tcp',
      'udp',
      'udp-idle-timeout',
      'tls-passthrough',
      'proxy-protocol',
      'udp-proxy-protocol',
      'host-header',
    ],
    ...['local', 'local-addr', 'local-socks', 'proxy', 'weight', 'affinity', 'json'],
    ...['health-check', 'health-check-interval', 'health-check-timeout'],
    ...['health-check-rise', 'health-check-fall'],
    ...['request-header-add', 'request-header-remove', 'response-header-add'],
    ...[
      'response-header-remove',
      'status-dir',
      'metrics-addr',
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
