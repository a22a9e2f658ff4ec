// Goal: what is declared for an upstream means the same however it is given, and whatever is not
// understood is refused. Method: the same rules through flag, environment and file.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { resolveConfig } from '../../src/config/config.ts';
import { InvalidText } from '../../src/config/option.ts';
import { tcpTunnel } from '../../src/config/port-tunnel.ts';
import { maskedConfig } from '../../src/config/print.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import { httpTunnel } from '../../src/config/tunnel.ts';
import { quoteValue, splitUnquoted } from '../../src/config/upstream-options.ts';
import { configInput, problemsOf, readText, reasonOf, TOKEN } from './input.ts';
import { CERT } from './tls-pair.ts';

const URL_FLAG = { url: 'ws://localhost:8123' };
const ADD = 'request-header-add';

function tunnelsOf(changes: Partial<ConfigInput<'client'>>) {
  const flags = { ...URL_FLAG, ...changes.flags };
  return resolveConfig(configInput('client', { ...changes, flags })).tunnels;
}

function problemOf(text: string): string {
  return reasonOf(httpTunnel, `a=https://b;${text}`);
}

test('flag, environment and file say the same', () => {
  const text = `a.example/x=https://b:1;host-header=i;${ADD}="Vary: a, b";${ADD}="X: \\"c;d\\" \\\\";tls-server-name=s`;
  const yaml = [
    'upstream:',
    '  - name: a.example/x',
    '    url: https://b:1',
    '    host-header: i',
    `    ${ADD}:`,
    '      - "Vary: a, b"',
    `      - 'X: "c;d" \\'`,
    '    tls-server-name: s',
    '  - c=http://d:1',
  ].join('\n');
  const two = `${text},c=http://d:1`;
  const wanted = tunnelsOf({ flags: { upstream: [text, 'c=http://d:1'] } });
  assert.deepEqual(wanted[0], {
    name: 'a.example/x',
    kind: 'http',
    upstream: { host: 'b', port: 1, tls: true, verify: { serverName: 's' } },
    label: 'a.example/x=https://b:1',
    options: { 'host-header': ['i'], [ADD]: ['Vary: a, b', 'X: "c;d" \\'] },
  });
  assert.equal(wanted[1]?.options, undefined);
  assert.deepEqual(tunnelsOf({ flags: { upstream: two } }), wanted);
  const env = { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_UPSTREAM: two };
  assert.deepEqual(tunnelsOf({ env }), wanted);
  assert.deepEqual(tunnelsOf({ file: { path: 'a.yaml', text: yaml } }), wanted);
});

test('an empty list in a map is refused, and never the lack of what it would protect', () => {
  const keys = [
    'allow-ips',
    'basic-auth',
    'bearer-token-file',
    'tls-ca',
    'login-allow',
    'alow-ips',
  ];
  for (const key of [...keys, 'name', 'url']) {
    const pairs = { name: 'a.example', url: 'https://b:1', [key]: [] };
    const file = { path: 'a.yaml', text: JSON.stringify({ upstream: [pairs] }) };
    const problems = problemsOf(() => tunnelsOf({ file }));
    assert.equal(problems.length, 1, problems.join());
    assert.match(
      problems[0] ?? '',
      new RegExp(`^a.yaml line 1, column \\d+: '${key}' is an empty`),
    );
  }
});

test('a map without a name is for every host, and one with an empty name is refused', () => {
  const fileOf = (pairs: object) => ({ path: 'a.yaml', text: JSON.stringify({ upstream: pairs }) });
  const url = 'http://b:1';
  assert.equal(tunnelsOf({ file: fileOf({ url }) })[0]?.name, '*');
  assert.equal(tunnelsOf({ file: fileOf({ name: '*', url }) })[0]?.name, '*');
  for (const name of ['', [''], ' ', []]) {
    const problems = problemsOf(() => tunnelsOf({ file: fileOf({ name, url }) }));
    assert.equal(problems.length, 1, problems.join());
    assert.match(problems[0] ?? '', /an empty name|no valid host name|'name' is an empty list/);
  }
});

test('a name in a map that begins as an upstream is no host name, and not every host', () => {
  const url = 'http://b:1';
  for (const name of ['unix:/run/a.sock', 'fileserver:/srv', 'http://a.example', 'HTTPS://a']) {
    const text = JSON.stringify({ upstream: { name, url } });
    const problems = problemsOf(() => tunnelsOf({ file: { path: 'a.yaml', text } }));
    assert.equal(problems.length, 1, problems.join());
    assert.match(problems[0] ?? '', /write a host name without a port/);
  }
});

test("the client's own options hold for each upstream that does not say otherwise", () => {
  const flags = {
    upstream: [`a=http://b:1;${ADD}=X-A: 1`, 'c=http://d:1', 'e=http://f:1;host-header=own'],
    tcp: '2222',
    'host-header': 'shared',
    [ADD]: ['Cache-Control: no-store, max-age=0', 'X-B: 2'],
    'response-header-remove': 'Server, X-Powered-By',
  };
  const response = { 'response-header-remove': ['Server', 'X-Powered-By'] };
  const request = { [ADD]: flags[ADD] };
  assert.deepEqual(
    tunnelsOf({ flags }).map(({ options }) => options),
    [
      { 'host-header': ['shared'], [ADD]: ['X-A: 1'], ...response },
      { 'host-header': ['shared'], ...request, ...response },
      { 'host-header': ['own'], ...request, ...response },
      undefined,
    ],
  );
  const env = {
    SLUICEWAY_TOKEN: TOKEN,
    SLUICEWAY_UPSTREAM: 'a=http://b:1',
    SLUICEWAY_RESPONSE_HEADER_ADD: 'A: b, c\nD: e',
  };
  assert.deepEqual(tunnelsOf({ env })[0]?.options, { 'response-header-add': ['A: b, c', 'D: e'] });
});

describe('what is refused', () => {
  test('behind an upstream', () => {
    const cases: Record<string, RegExp> = {
      '': /has the unknown key ''/,
      'host-header': /has host-header without "="/,
      'host-headr=a': /unknown key 'host-headr' .*did you mean host-header\?/,
      'constructor=a': /unknown key 'constructor'/,
      'oauth=github': /unknown key/,
      'host-header=a;host-header=b': /has host-header twice/,
      'host-header=a b': /has a host-header that is no host/,
      'host-header="a"b': /has a quote in host-header/,
      'host-header="a': /has a quote in host-header/,
      [`${ADD}=X: a"b`]: /has a quote in request-header-add; write the whole value in quotes/,
      [`${ADD}=X`]: /is no field/,
      [`${ADD}=Host: a`]: /is Host; use host-header/,
      [`${ADD}=Content-Length: 5`]: /belongs to framing or to one connection/,
      [`${ADD}=Transfer_Encoding: x`]: /belongs to framing/,
      [`${ADD}=X-Forwarded-For: 1.2.3.4`]: /is set by the exit node/,
      [`${ADD}="X: a\nY: b"`]: /other than visible ASCII/,
      [`${ADD}=Authorization: [masked]`]: /was masked when it was printed/,
      'response-header-remove=a b': /is no field name/,
      'tls-insecure=yes': /is not true or false/,
      'tls-server-name=a/b': /is no host name/,
      'tls-ca=': /is no path/,
      [Array.from({ length: 33 }, () => 'request-header-remove=a').join(';')]: /33 header rules/,
    };
    for (const [text, reason] of Object.entries(cases)) assert.match(problemOf(text), reason);
    assert.match(
      reasonOf(httpTunnel, 'a=http://b;tls-insecure=true'),
      /a key of TLS and an upstream without/,
    );
  });

  test('as an option of the client, and together', () => {
    const flags = { ...URL_FLAG, upstream: 'a=http://b:1', 'host-header': 'a/b', [ADD]: 'Via: x' };
    assert.deepEqual(
      problemsOf(() => resolveConfig(configInput('client', { flags }))),
      [
        "--host-header (flag): 'a/b' is no host; write internal.example or internal.example:8080",
        `--${ADD} (flag): 'Via: x' is set by the exit node, and is not changed`,
      ],
    );
    const names = Array.from({ length: 20 }, (_, index) => `x-${index}`);
    const both = {
      ...{ ...URL_FLAG, 'request-header-remove': names },
      upstream: `a=http://b:1;${names.map((name) => `${ADD}=${name}: 1`).join(';')}`,
    };
    assert.match(
      problemsOf(() => resolveConfig(configInput('client', { flags: both }))).join(),
      /--upstream \(flag\): 'a': 40 header rules for a request are too many/,
    );
  });

  test('without repeating what may be a secret', () => {
    const flags = { ...URL_FLAG, upstream: `a=http://b:1;${ADD}=Authorization: s3cret\u0001` };
    const problems = problemsOf(() => resolveConfig(configInput('client', { flags })));
    assert.match(problems.join(), /'a=http:\/\/b:1;…' has a request-header-add that/);
    assert.doesNotMatch(problems.join(), /s3cret/);
    for (const [option, head] of [
      ['tcp', '2222=127.0.0.1:22'],
      ['udp', '5353=127.0.0.1:53'],
      ['tls-passthrough', 'a.example=127.0.0.1:443'],
    ] as const) {
      const wrong = { ...URL_FLAG, [option]: `${head};basic-auth=u:s3cret` };
      const [line = ''] = problemsOf(() => resolveConfig(configInput('client', { flags: wrong })));
      assert.ok(line.startsWith(`--${option} (flag): '${head};…' has a key for HTTP`), line);
    }
    for (const field of ['Authorization: s3cret\u0001', 'Authorization s3cret', 'X-Token=s3cret']) {
      const wrong = { ...URL_FLAG, upstream: 'a=http://b:1', [ADD]: field };
      const [line = ''] = problemsOf(() => resolveConfig(configInput('client', { flags: wrong })));
      assert.match(line, /^--request-header-add \(flag\): '(?:Authorization|X-Token): …' /);
    }
  });

  test('a CA file that is none', () => {
    const files: Record<string, string> = { 'good.pem': CERT, 'bad.pem': 'x' };
    const readFile = (path: string): string => {
      const text = files[path];
      if (text === undefined) throw new Error(`${path} does not exist`);
      return text;
    };
    const resolve = (path: string) => () =>
      resolveConfig(
        configInput('client', {
          readFile,
          flags: { ...URL_FLAG, upstream: `a=https://b;tls-ca=${path}` },
        }),
      );
    assert.deepEqual(resolve('good.pem')().tunnels[0]?.upstream.verify, { ca: 'good.pem' });
    assert.match(problemsOf(resolve('bad.pem')).join(), /tls-ca: the file holds no certificate/);
    assert.match(problemsOf(resolve('none.pem')).join(), /none\.pem does not exist/);
  });
});

test('are printed as a text that reads back as the same, but for secrets', () => {
  const flags = {
    ...URL_FLAG,
    upstream: [`a/x=https://b;${ADD}="A: \\"b\\", c;d";tls-insecure=true;tls-server-name=n`],
    'response-header-add': ['A: b, c', 'D: e'],
  };
  const input = configInput('client', { flags });
  const text = maskedConfig(input);
  const again = configInput('client', { file: { path: 'a.yaml', text } });
  assert.deepEqual(resolveConfig(again).tunnels, resolveConfig(input).tunnels);
  const secrets = ['Authorization: Bearer s3cret', 'X-Api-Key: s3cret', 'cookie: a=s3cret'];
  const upstream = `a=http://b;${secrets.map((one) => `${ADD}=${one}`).join(';')}`;
  const more = { ...URL_FLAG, upstream, 'response-header-add': 'Set-Cookie: s3cret' };
  const masked = maskedConfig(configInput('client', { flags: more }));
  assert.doesNotMatch(masked, /s3cret/);
  assert.match(masked, /X-Api-Key: \[masked\]/);
});

test('any value survives its quotes', () => {
  const seed = 7;
  const value = fc.string({ unit: fc.constantFrom(...'ab;,"\\= :/') });
  fc.assert(
    fc.property(fc.array(value, { maxLength: 4 }), (values) => {
      const fields = values.map((one) => `X: ${one}`.trim());
      const rules = fields.map((field) => `;${ADD}=${quoteValue(field)}`).join('');
      const text = `a=http://b${rules}`;
      assert.deepEqual(splitUnquoted(`${text},c`, ',\n'), [text, 'c']);
      const { options } = readText(httpTunnel, text);
      assert.deepEqual(options?.[ADD] ?? [], fields);
    }),
    { seed, numRuns: 2000 },
  );
});

test('who may visit by default is bounded for every kind of tunnel', () => {
  const networks = Array.from({ length: 65 }, (_, at) => `10.0.0.${at}`);
  for (const flag of [{ tcp: '2222' }, { 'tls-passthrough': 'a.test=127.0.0.1:443' }]) {
    const flags = { url: 'ws://127.0.0.1:1', 'allow-ips': networks, ...flag };
    const problems = problemsOf(() => resolveConfig(configInput('client', { flags })));
    assert.match(
      problems.join(),
      /--(?:tcp|tls-passthrough) .*65 networks are too many; give at most 64/u,
    );
  }
});

test('logins behind an upstream are read, and printed without the secret', () => {
  const text = 'a.example=http://b;basic-auth="ann:o;n,e";basic-auth=bob:two;bearer-token-file=/t';
  const tunnel = readText(httpTunnel, text);
  assert.deepEqual(tunnel.logins, {
    ...{ basic: ['ann:o;n,e', 'bob:two'], bearerFiles: ['/t'], allow: [] },
  });
  const shown = httpTunnel.show(tunnel);
  assert.doesNotMatch(shown, /ann|bob|two/u);
  assert.ok(httpTunnel.read(shown) instanceof InvalidText, 'a mask is no password');
  for (const bad of ['', ':', 'ann', 'ann:', ':one', 'a:\n']) {
    const value = httpTunnel.read(`a.example=http://b;basic-auth=${bad}`);
    assert.ok(value instanceof InvalidText, JSON.stringify(bad));
  }
});

test('a login at a provider is read with whom it lets in, and never without', () => {
  const text = 'a.example=http://b;login=google;login-allow=ann@example.com;login-allow=@b.example';
  const tunnel = readText(httpTunnel, text);
  const allow = ['ann@example.com', '@b.example'];
  assert.deepEqual(tunnel.logins, { basic: [], bearerFiles: [], provider: 'google', allow });
  assert.equal(httpTunnel.show(tunnel), text);
  for (const bad of [
    ...['login=google', 'login-allow=anyone', 'login=;login-allow=anyone', 'login=a;login=b'],
    ...['login=a b;login-allow=anyone', 'login=a;login-allow=', 'login=a;login-allow=ann'],
  ]) {
    assert.ok(httpTunnel.read(`a.example=http://b;${bad}`) instanceof InvalidText, bad);
  }
  assert.ok(tcpTunnel.read('22;login=a;login-allow=anyone') instanceof InvalidText);
});
