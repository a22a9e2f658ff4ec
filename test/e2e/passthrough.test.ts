// TLS passed through by real processes, with the clients of others: openssl s_client and curl.
//
// Goal: they verify the upstream's certificate through the tunnel, agree on HTTP/2 with it, and say
// by name what is wrong when nobody serves a host.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { listeningPort, startTunnel } from '../support/tunnel.ts';
import { UPSTREAM_A, UPSTREAM_B, type UpstreamPair } from '../support/upstream-pairs.ts';

const LOOPBACK = '127.0.0.1';

/** A site over HTTP/2 and HTTP/1.1 that says who it is and which it speaks. */
async function startSite(t: TestContext, pair: UpstreamPair): Promise<number> {
  const server = http2.createSecureServer(
    { cert: pair.cert, key: pair.key, allowHTTP1: true },
    ({ httpVersion, headers, authority }, response) => {
      response.end(`${pair.name} ${authority || headers.host} HTTP/${httpVersion}\n`);
    },
  );
  undoAfter(t, () => {
    server.close();
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

test('openssl and curl reach two hosts behind one port', async (t) => {
  const programs = requirePrograms(t, ['openssl', 'curl']);
  if (programs === undefined) return;
  const a = await startSite(t, UPSTREAM_A);
  const b = await startSite(t, UPSTREAM_B);
  const tunnel = await startTunnel(
    t,
    [
      ...['--tls-passthrough', `a.example.com=${LOOPBACK}:${a}`],
      ...['--tls-passthrough', `*.b.example.com=${LOOPBACK}:${b}`],
    ],
    { args: ['--https-addr', `${LOOPBACK}:0`] },
  );
  const port = await listeningPort(tunnel.process, 'https');
  assert.deepEqual([...tunnel.client.stdout].sort(), [
    `tls://*.b.example.com -> ${LOOPBACK}:${b}`,
    `tls://a.example.com -> ${LOOPBACK}:${a}`,
  ]);
  const folder = scratchFolder(t);
  const ca = path.join(folder, 'ca.pem');
  writeFileSync(ca, `${UPSTREAM_A.cert}${UPSTREAM_B.cert}`);

  const curl = async (host: string, ...more: readonly string[]): Promise<string> => {
    const { stdout, stderr, code } = await runProgram(t, {
      command: programs.curl,
      args: [
        ...['-sS', '--cacert', ca, '--resolve', `${host}:${port}:${LOOPBACK}`, '--max-time', '20'],
        ...[...more, `https://${host}:${port}/`],
      ],
    });
    return code === 0 ? stdout : `${code}: ${stderr}`;
  };
  const sClient = async (host: string, ...more: readonly string[]): Promise<string> => {
    const { stdout, stderr } = await runProgram(t, {
      command: programs.openssl,
      args: [
        ...['s_client', '-connect', `${LOOPBACK}:${port}`, '-servername', host, '-CAfile', ca],
        ...['-verify_hostname', host, '-verify_return_error', ...more],
      ],
    });
    return `${stdout}\n${stderr}`;
  };

  await t.test('curl, over HTTP/2 and over HTTP/1.1', async () => {
    for (const [host, name] of [
      ['a.example.com', 'a.example.com'],
      ['x.b.example.com', 'b.example.com'],
    ] as const) {
      assert.equal(await curl(host, '--http2'), `${name} ${host}:${port} HTTP/2.0`);
      assert.equal(await curl(host, '--http1.1'), `${name} ${host}:${port} HTTP/1.1`);
    }
  });

  await t.test('openssl verifies the upstream, in TLS 1.2 and 1.3', async () => {
    for (const version of ['-tls1_2', '-tls1_3']) {
      const text = await sClient('a.example.com', version, '-alpn', 'h2');
      assert.match(text, /Verification: OK[\s\S]*ALPN protocol: h2/, version);
    }
  });

  await t.test('a host that nobody serves, and what is no TLS, are told apart', async () => {
    assert.match(await sClient('c.example.com'), /unrecognized name/);
    assert.match(await curl('c.example.com'), /^35: .*unrecognized name/);
    const { code } = await runProgram(t, {
      command: programs.curl,
      args: ['-sS', '--max-time', '20', `http://${LOOPBACK}:${port}/`],
    });
    assert.equal(code, 56, 'a reset');
  });
});
