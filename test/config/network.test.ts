// Options that protect: each, alone, by each way in which it can be given, and nothing that is
// wrong with it opens anything.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';

const OPTIONS = [
  { name: 'accept-proxy-protocol', key: 'acceptProxyProtocol' },
  { name: 'trusted-proxies', key: 'trustedProxies' },
  { name: 'allow-ips', key: 'allowIps' },
  { name: 'deny-ips', key: 'denyIps' },
  { name: 'control-allow-ips', key: 'controlAllowIps' },
] as const;

type Changes = Partial<ConfigInput<'server'>>;

/** `text` as a flag, as a variable and in the file. */
function ways(name: string, text: string): readonly (readonly [string, Changes])[] {
  const variable = `SLUICEWAY_${name.toUpperCase().replaceAll('-', '_')}`;
  return [
    ['flag', { flags: { [name]: [text] } }],
    ['variable', { env: { SLUICEWAY_TOKEN: TOKEN, [variable]: text } }],
    ['file', { file: { path: 'server.yaml', text: `${name}: "${text}"\n` } }],
  ];
}

const RIGHT: readonly (readonly [string, string, number])[] = [
  ['10.0.0.0/8', '10.0.0.0', 8],
  ['0.0.0.0/0', '0.0.0.0', 0],
  ['192.0.2.7', '192.0.2.7', 32],
  ['192.0.2.7/32', '192.0.2.7', 32],
  ['2001:DB8::/32', '2001:db8::', 32],
  ['::/0', '::', 0],
  ['::1', '::1', 128],
  ['::ffff:10.0.0.0/104', '10.0.0.0', 8],
];

const WRONG = [
  ...['10.0.0.1/8', '10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '010.0.0.0/8', '::1/64', '::/129'],
  ...['::ffff:10.0.0.1/104', 'localhost', 'true', 'all', '*', '@', '@missing.txt', '[::1]', '%'],
];

for (const { name, key } of OPTIONS) {
  test(`--${name} means the same by flag, variable and file`, () => {
    for (const [text, address, prefixBits] of RIGHT) {
      for (const [way, changes] of ways(name, text)) {
        const config = resolveConfig(configInput('server', changes));
        assert.deepEqual(config[key], [{ address, prefixBits }], `${way}: ${text}`);
      }
    }
  });

  test(`--${name} with anything wrong in it is refused, never left out`, () => {
    for (const text of WRONG) {
      for (const [way, changes] of ways(name, text)) {
        const problems = problemsOf(() => resolveConfig(configInput('server', changes)));
        assert.match(problems.join('\n'), new RegExp(`^--${name} \\(`), `${way}: ${text}`);
      }
      const both = { flags: { [name]: ['10.0.0.0/8', text] } };
      problemsOf(() => resolveConfig(configInput('server', both)));
    }
  });

  test(`--${name} takes lists, and entries of files among them`, () => {
    const readFile = (path: string): string => {
      assert.equal(path, '/etc/lists/lb.txt');
      return '# balancers\n10.0.0.0/8\r\n\n  2001:db8::/32  # both\n';
    };
    for (const [way, changes] of ways(name, '192.0.2.1,@/etc/lists/lb.txt')) {
      const config = resolveConfig(configInput('server', { ...changes, readFile }));
      const addresses = config[key].map(({ address }) => address);
      assert.deepEqual(addresses, ['192.0.2.1', '10.0.0.0', '2001:db8::'], way);
    }
  });

  test(`--${name} refuses a file that is missing or wrong, and an empty one unless it denies`, () => {
    const texts: Readonly<Record<string, string>> = {
      empty: '',
      comments: '# nothing\n\n',
      wrong: '10.0.0.0/8\n10.0.0.1/8\n',
      nested: '@empty\n',
    };
    const isDenying = name === 'deny-ips';
    for (const path of ['empty', 'comments', 'wrong', 'nested', 'missing']) {
      const readFile = (wanted: string): string => {
        const text = texts[wanted];
        if (text === undefined) throw new Error(`${wanted} does not exist`);
        return text;
      };
      const input = configInput('server', { flags: { [name]: [`@${path}`] }, readFile });
      if (isDenying && (path === 'empty' || path === 'comments')) {
        assert.deepEqual(resolveConfig(input)[key], [], 'nobody is banned at the time');
        continue;
      }
      assert.match(problemsOf(() => resolveConfig(input)).join(), new RegExp(`^--${name}`), path);
    }
  });
}

test('--deny-ips names file and line of what is wrong, and refuses an empty list that no file has', () => {
  const readFile = (): string => '192.0.2.1\n\nnonsense # who is this\n';
  const input = configInput('server', { flags: { 'deny-ips': '@bans' }, readFile });
  const [problem] = problemsOf(() => resolveConfig(input));
  assert.match(problem ?? '', /^--deny-ips \(flag\): bans line 3: 'nonsense' is not a network/);
  const file = { path: 'server.yaml', text: 'deny-ips: []\n' };
  const empty = problemsOf(() => resolveConfig(configInput('server', { file })));
  assert.match(empty.join(), /--deny-ips \(server\.yaml line 1.*is an empty list/);
});

test('--deny-ips takes 65,536 entries, of several files together, and not one more', () => {
  const lines = (octet: number): string =>
    Array.from({ length: 32_768 }, (_, at) => `10.${octet}.${at >> 8}.${at & 0xff}\n`).join('');
  const texts: Readonly<Record<string, string>> = { a: lines(0), b: lines(1), c: '192.0.2.1\n' };
  const read = (lists: string) =>
    resolveConfig(
      configInput('server', {
        flags: { 'deny-ips': lists },
        readFile: (path) => texts[path] ?? '',
      }),
    );
  assert.equal(read('@a,@b').denyIps.length, 65_536);
  assert.match(problemsOf(() => read('@a,@b,@c')).join(), /65537 values; give at most 65536/);
});

test('--proxy-protocol is for TCP and TLS tunnels', () => {
  const flags = { url: ['ws://127.0.0.1:1'], 'proxy-protocol': 'v2' };
  const tcp = { ...flags, tcp: ['2222'] };
  assert.equal(resolveConfig(configInput('client', { flags: tcp })).proxyProtocol, 'v2');
  const http = { ...flags, upstream: ['http://127.0.0.1:1'] };
  const wrong = (given: typeof flags): readonly string[] =>
    problemsOf(() => resolveConfig(configInput('client', { flags: given })));
  assert.match(wrong(http).join(), /--proxy-protocol \(flag\): is for TCP and TLS tunnels/);
  assert.match(wrong({ ...tcp, 'proxy-protocol': 'v3' }).join(), /write off, v1, v2/);
});

test('--udp-proxy-protocol is for UDP tunnels, and in version 2 alone', () => {
  const flags = { url: ['ws://127.0.0.1:1'], tcp: ['2222'] };
  type Flags = Readonly<Record<string, string | string[]>>;
  const resolve = (given: Flags) => resolveConfig(configInput('client', { flags: given }));
  const udp = { ...flags, udp: ['5353'] };
  assert.equal(resolve(udp).udpProxyProtocol, 'off');
  const both = resolve({ ...udp, 'udp-proxy-protocol': 'v2' });
  assert.deepEqual([both.udpProxyProtocol, both.proxyProtocol], ['v2', 'off']);
  const byName = {
    flags: udp,
    env: { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_UDP_PROXY_PROTOCOL: 'v2' },
  };
  assert.equal(resolveConfig(configInput('client', byName)).udpProxyProtocol, 'v2');
  const wrong = (given: Flags): string => problemsOf(() => resolve(given)).join();
  assert.match(
    wrong({ ...flags, 'udp-proxy-protocol': 'v2' }),
    /--udp-proxy-protocol \(flag\): is for UDP tunnels, and there is none; give --udp/,
  );
  assert.match(wrong({ ...udp, 'udp-proxy-protocol': 'v1' }), /write off, v2/);
});
