import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Kind } from '../../src/config/option.ts';
import { InvalidText } from '../../src/config/option.ts';
import { expandPortRun } from '../../src/config/port-run.ts';
import { tcpTunnel, udpTunnel } from '../../src/config/port-tunnel.ts';
import { tlsTunnel } from '../../src/config/tls-tunnel.ts';
import { httpTunnel, type TunnelSpec } from '../../src/config/tunnel.ts';
import { readText, reasonOf } from './input.ts';

/** Gives `label -> host port [tls]` of what a text means. */
function read(kind: Kind<TunnelSpec>, text: string): string {
  const { label, upstream, name } = readText(kind, text);
  assert.ok(label.startsWith(`${name}=`));
  return `${label} -> ${upstream.host} ${upstream.port}${upstream.tls ? ' tls' : ''}`;
}

function refuses(kind: Kind<TunnelSpec>, text: string, reason: RegExp): void {
  assert.match(reasonOf(kind, text), reason, text);
}

describe('HTTP tunnels', () => {
  test('accept the spellings people bring along', () => {
    const cases: Record<string, string> = {
      'example.com=http://127.0.0.1:3000': 'example.com=http://127.0.0.1:3000 -> 127.0.0.1 3000',
      'Example.COM.=http://127.0.0.1:3000/': 'example.com=http://127.0.0.1:3000 -> 127.0.0.1 3000',
      '*.example.com=https://10.0.0.5': '*.example.com=https://10.0.0.5 -> 10.0.0.5 443 tls',
      '*=http://Localhost': '*=http://localhost -> localhost 80',
      'http://127.0.0.1:3000': '*=http://127.0.0.1:3000 -> 127.0.0.1 3000',
      'HTTPS://127.0.0.1:3443': '*=https://127.0.0.1:3443 -> 127.0.0.1 3443 tls',
      'localhost:8080': '*=http://localhost:8080 -> localhost 8080',
      'a.example=localhost:8080': 'a.example=http://localhost:8080 -> localhost 8080',
      'a.example=http://[::1]:3000': 'a.example=http://[::1]:3000 -> ::1 3000',
      'a.example=my_service:80': 'a.example=http://my_service -> my_service 80',
      'xn--bcher-kva.example=localhost:1':
        'xn--bcher-kva.example=http://localhost:1 -> localhost 1',
      '127.0.0.1=localhost:1': '127.0.0.1=http://localhost:1 -> localhost 1',
    };
    for (const [text, expected] of Object.entries(cases)) {
      assert.equal(read(httpTunnel, text), expected);
    }
  });

  test('may have a path, in its normal form', () => {
    const cases: Record<string, string> = {
      'Example.com/api': 'example.com/api',
      '*.example.com/api/V1/': '*.example.com/api/V1',
      '*/api': '*/api',
      '*/%7euser/%2f': '*/~user/%2F',
      'example.com/': 'example.com',
    };
    for (const [text, name] of Object.entries(cases)) {
      assert.equal(readText(httpTunnel, `${text}=http://a:1`).name, name);
    }
  });

  test('refuse a path that is none', () => {
    const cases: Record<string, RegExp> = {
      'a//b': /empty segment/,
      'a//': /empty segment/,
      'a/b//c': /empty segment/,
      'a/./b': /"." or ".." segment/,
      'a/%2E%2e': /"." or ".." segment/,
      'a/b?c': /query or a fragment/,
      'a/b#c': /query or a fragment/,
      'a/%zz': /a "%" that escapes nothing/,
      'a/*': /leave it out/,
      'a/b c': /may have letters/,
      'a/ä': /may have letters/,
      [`a/${'x'.repeat(200)}`]: /longer than 200/,
    };
    for (const [name, reason] of Object.entries(cases)) {
      refuses(httpTunnel, `${name}=http://a:1`, reason);
    }
  });

  test('refuse names that a Host could never match', () => {
    const names = ['', ' ', 'a..b', '.a', 'a b', 'exam\u3002ple.com', 'bücher.example', 'a\u0000'];
    for (const name of [...names, '*.', '*a.com', 'a.*.com', '**', '*.*.com', 'a%62', '1.2.3']) {
      refuses(httpTunnel, `${name}=http://a:1`, /has no valid host name before the "="/);
    }
    refuses(httpTunnel, `${'a.'.repeat(127)}abc=http://a:1`, /has no valid host name/);
    refuses(httpTunnel, 'example.com:8000=http://a:1', /write a host name without a port/);
    refuses(httpTunnel, '[::1]=http://a:1', /write a host name without a port/);
  });

  test('refuse upstreams that would be misread', () => {
    const right = /has no valid upstream host and port; write NAME=http/;
    for (const upstream of [
      '',
      '3000',
      'localhost',
      'http://',
      'http://3000',
      'http://0x7f.1:80',
    ]) {
      refuses(httpTunnel, `a.example=${upstream}`, right);
    }
    for (const upstream of ['http://::1', 'http://a:0', 'http://a:65536', 'http://a:', 'a b:1']) {
      refuses(httpTunnel, `a.example=${upstream}`, right);
    }
    refuses(httpTunnel, 'example.com', right);
    refuses(httpTunnel, 'a.example=ftp://a:21', /neither http nor https/);
    for (const path of ['', 'run/a.sock', './a', `/${'x'.repeat(107)}`, '/a\nb']) {
      refuses(httpTunnel, `a.example=unix:${path}`, /has no valid path of a Unix socket/);
    }
    refuses(httpTunnel, 'a.example=http://user:pw@a:1', /credentials/);
    for (const path of ['/app', '?a=b', '#a', '//']) {
      refuses(httpTunnel, `a.example=http://a:1${path}`, /has a path in its upstream/);
    }
  });

  test('are shown as a text that reads back as the same tunnel', () => {
    for (const text of ['http://127.0.0.1:3000', '*.a.example=https://[::1]', 'a.example=b:80']) {
      const tunnel = readText(httpTunnel, text);
      assert.deepEqual(readText(httpTunnel, httpTunnel.show(tunnel)), tunnel);
    }
  });
});

describe('TCP tunnels', () => {
  test('are a public port and where to dial', () => {
    assert.equal(read(tcpTunnel, '2222=127.0.0.1:22'), 'tcp:2222=127.0.0.1:22 -> 127.0.0.1 22');
    assert.equal(read(tcpTunnel, '2222=[::1]:22'), 'tcp:2222=[::1]:22 -> ::1 22');
    assert.equal(read(tcpTunnel, '02222=db:22'), 'tcp:2222=db:22 -> db 22');
    assert.equal(read(tcpTunnel, '2222'), 'tcp:2222=localhost:2222 -> localhost 2222');
  });

  test('refuse half of one', () => {
    for (const text of ['', '0', '65536', 'ssh', '=a:1', '0=a:1', '1-2=a:1', 'a:1', 'tcp:22=a:1']) {
      refuses(tcpTunnel, text, /has no public port of 1 to 65535; write PORT=HOST:PORT/);
    }
    for (const text of [
      '2222=',
      '2222=22',
      '2222=a',
      '2222=a:0',
      '2222=::1:22',
      '2222=http://a:1',
    ]) {
      refuses(tcpTunnel, text, /has no valid upstream host and port; write PORT=HOST:PORT/);
    }
  });

  test('are shown as a text that reads back as the same tunnel', () => {
    for (const text of ['2222', '2222=[::1]:22']) {
      const tunnel = readText(tcpTunnel, text);
      assert.deepEqual(readText(tcpTunnel, tcpTunnel.show(tunnel)), tunnel);
    }
  });
});

test('a UDP tunnel is read like a TCP tunnel, and has neither socket paths nor health checks', () => {
  assert.equal(read(udpTunnel, '5353=127.0.0.1:53'), 'udp:5353=127.0.0.1:53 -> 127.0.0.1 53');
  assert.equal(read(udpTunnel, '5353=[::1]:53'), 'udp:5353=[::1]:53 -> ::1 53');
  assert.equal(read(udpTunnel, '53'), 'udp:53=localhost:53 -> localhost 53');
  const text = '5353=127.0.0.1:53;allow-ips=10.0.0.0/8;weight=3';
  const spec = readText(udpTunnel, text);
  assert.equal(spec.kind, 'udp');
  assert.equal(udpTunnel.show(spec), text, 'printed as it was given');
  for (const wrong of ['0', '65536=a:1', 'udp:53', '=a:1']) {
    refuses(udpTunnel, wrong, /has no public port of 1 to 65535; write PORT=HOST:PORT.*5353=/);
  }
  refuses(udpTunnel, '5353=unix:/run/dns.sock', /has no valid upstream host and port/);
  refuses(udpTunnel, '5353=udp://a:53', /has no valid upstream host and port/);
  refuses(udpTunnel, '53;health-check=tcp', /has a health check/);
  refuses(udpTunnel, '53;host-header=a', /only allow-ips/);
});

test('who may visit is declared behind a TCP upstream, and nothing else is', () => {
  const text = '2222=127.0.0.1:22;allow-ips=10.0.0.0/8;allow-ips=192.0.2.7';
  const spec = readText(tcpTunnel, text);
  assert.deepEqual(spec.options, { 'allow-ips': ['10.0.0.0/8', '192.0.2.7'] });
  assert.equal(tcpTunnel.show(spec), text, 'and printed as it was given');
  for (const wrong of ['host-header=a', 'tls-insecure=true']) {
    refuses(tcpTunnel, `2222=127.0.0.1:22;${wrong}`, /only allow-ips/);
  }
  refuses(tcpTunnel, '2222=127.0.0.1:22;allow-ips=', /is not a network/);
  refuses(tcpTunnel, '2222=127.0.0.1:22;allow-ips=@list', /is not a network/);
  refuses(tcpTunnel, '2222=127.0.0.1:22;allow-ips=10.0.0.1/8', /bits set behind the prefix/);
  const many = Array.from({ length: 65 }, (_, at) => `;allow-ips=10.0.0.${at}`).join('');
  refuses(tcpTunnel, `2222=127.0.0.1:22${many}`, /at most 64/);
});

test('Unix sockets are upstreams of HTTP and TCP tunnels', () => {
  const path = '/run/app/a.sock';
  for (const text of [`a.example=unix:${path}`, `a.example=unix://${path}`, `unix:${path}`]) {
    const tunnel = readText(httpTunnel, text);
    assert.equal(tunnel.upstream.path, path);
    assert.deepEqual(readText(httpTunnel, httpTunnel.show(tunnel)), tunnel);
  }
  const tunnel = readText(tcpTunnel, `2222=unix:${path};weight=2`);
  assert.equal(tunnel.label, `tcp:2222=unix:${path}`);
  assert.deepEqual(readText(tcpTunnel, tcpTunnel.show(tunnel)), tunnel);
});

test('folders are upstreams of HTTP tunnels, and of those alone', () => {
  const rows = [
    ['a.example=fileserver:/srv/my site', '/srv/my site', undefined],
    ['a.example=fileserver:///srv/site', '/srv/site', undefined],
    ['fileserver:site', 'site', undefined],
    ['a.example/b=fileserver:.;listing=false', '.', { listing: false }],
    [
      'a.example=fileserver:/a;hidden=true;weight=2;listing=true',
      '/a',
      { listing: true, hidden: true },
    ],
  ] as const;
  for (const [text, folder, files] of rows) {
    const tunnel = readText(httpTunnel, text);
    assert.equal(tunnel.upstream.folder, folder);
    assert.deepEqual(tunnel.upstream.files, files);
    assert.deepEqual(readText(httpTunnel, httpTunnel.show(tunnel)), tunnel);
  }
  for (const wrong of ['', '/a\nb', '/a\0', `/${'a'.repeat(4095)}`]) {
    refuses(httpTunnel, `a.example=fileserver:${wrong}`, /has no valid path of a folder/);
  }
  refuses(httpTunnel, 'a.example=http://a:1;listing=false', /for fileserver:\/PATH alone/);
  refuses(httpTunnel, 'a.example=unix:/a;hidden=true', /for fileserver:\/PATH alone/);
  refuses(httpTunnel, 'a.example=fileserver:/a;listing=no', /is not true or false/);
  refuses(httpTunnel, 'a.example=fileserver:/a;tls-insecure=true', /write https:/);
  refuses(tcpTunnel, '2222=fileserver:/a', /served over HTTP; give it to --upstream/);
  refuses(tlsTunnel, 'a.example=fileserver:/a', /served over HTTP; give it to --upstream/);
});

test('a run of ports stands for a tunnel each', () => {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['2222', ['2222']],
    ['2222=db:22', ['2222=db:22']],
    ['2222=my-db:22', ['2222=my-db:22']],
    ['8000-8002', ['8000', '8001', '8002']],
    ['8000-8001=db:9000-9001', ['8000=db:9000', '8001=db:9001']],
    ['80-81=[::1]:90-91;weight=2', ['80=[::1]:90;weight=2', '81=[::1]:91;weight=2']],
    ['5-5=a:6-6', ['5=a:6']],
  ];
  for (const [text, wanted] of rows) assert.deepEqual(expandPortRun(text), wanted, text);
  for (const text of ['8001-8000', '8000-', '-8000', '0-5', '1-70000', '8000-8001=db:9000']) {
    assert.ok(expandPortRun(text) instanceof InvalidText, text);
  }
  for (const text of ['8000-8001=db', '8000-8001=db:9000-9002', '1-2000', '8000-8001=']) {
    assert.ok(expandPortRun(text) instanceof InvalidText, text);
  }
});
