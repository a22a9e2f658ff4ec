// A real nginx behind an HTTP tunnel, with curl as the visitor: connections kept alive, 100 MB each
// way by hash, ranges, HEAD, errors and compression exactly as nginx gives them.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { readBytes, sha256OfFile, writeRandomFile } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { type Output, runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { httpTunnel } from '../support/tunnel.ts';

const HOST = 'site.example.com';
const BIG_BYTES = 100_000_000;
const TEXT = 'The same line, again and again.\n'.repeat(2_000);

function configuration(folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/tmp-${name};`)
    .join('\n  ');
  return `
daemon off;
user ${os.userInfo().username};
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
  access_log off;
  client_max_body_size 0;
  ${temporary}
  gzip on;
  gzip_min_length 1;
  gzip_types text/plain;
  # By default nginx does not compress for requests that carry Via, as those of a gateway must.
  gzip_proxied any;
  server {
    listen 127.0.0.1:${port};
    root ${folder}/www;
    types { text/plain txt; application/octet-stream bin; }
    location /up/ { dav_methods PUT; create_full_put_path on; }
  }
}
`;
}

async function startNginx(t: TestContext, command: string, folder: string): Promise<number> {
  const port = await freePort();
  mkdirSync(path.join(folder, 'www/up'), { recursive: true });
  writeFileSync(path.join(folder, 'www/text.txt'), TEXT);
  writeFileSync(path.join(folder, 'nginx.conf'), configuration(folder, port));
  const nginx = startProcess(t, {
    ...{ name: 'nginx', command, endSignal: 'SIGTERM', endCode: 0 },
    args: ['-p', folder, '-c', path.join(folder, 'nginx.conf')],
  });
  await nginx.line('nginx started', (line) => line.includes('start worker processes'));
  return port;
}

test('nginx behind an HTTP tunnel answers curl as if it stood there itself', async (t) => {
  const programs = requirePrograms(t, ['nginx', 'curl']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const port = await startNginx(t, programs.nginx, folder);
  const bigHash = await writeRandomFile(path.join(folder, 'www/big.bin'), BIG_BYTES);
  const { httpPort } = await httpTunnel(t, HOST, port);
  const base = `http://${HOST}:${httpPort}`;

  async function curl(...words: string[]): Promise<Output> {
    const reach = ['--resolve', `${HOST}:${httpPort}:127.0.0.1`, '--noproxy', '*'];
    const args = ['-q', '-sS', ...reach, ...words];
    const run = await runProgram(t, { command: programs?.curl ?? '', args, ms: 120_000 });
    assert.equal(run.code, 0, `${run.stderr}\n${run.stdout}`);
    return run;
  }

  await t.test('several requests use one visitor connection', async () => {
    const urls = [0, 1, 2, 3].map((index) => `${base}/text.txt?${index}`);
    const outputs = urls.flatMap(() => ['-o', '/dev/null']);
    const run = await curl('-w', '%{http_code} %{num_connects}\n', ...outputs, ...urls);
    assert.deepEqual(run.stdout.trim().split('\n'), ['200 1', '200 0', '200 0', '200 0']);
  });

  await t.test('100 MB come down with the same hash', async () => {
    const file = path.join(folder, 'down');
    await curl('-o', file, `${base}/big.bin`);
    assert.equal(await sha256OfFile(file), bigHash);
  });

  await t.test('100 MB go up with the same hash, by length and chunked', async () => {
    const file = path.join(folder, 'www/big.bin');
    for (const [name, header] of [
      ['sized', 'X-Way: sized'],
      ['chunked', 'Transfer-Encoding: chunked'],
    ] as const) {
      const run = await curl('-w', '%{http_code}', '-H', header, '-T', file, `${base}/up/${name}`);
      assert.match(run.stdout, /(?:201|204)$/u);
      assert.equal(await sha256OfFile(path.join(folder, 'www/up', name)), bigHash);
    }
  });

  await t.test('a range has status 206 and the right bytes', async () => {
    const file = path.join(folder, 'range');
    const run = await curl('-w', '%{http_code}', '-r', '1000-66999', '-o', file, `${base}/big.bin`);
    assert.equal(run.stdout, '206');
    const expected = readBytes(path.join(folder, 'www/big.bin'), 1_000, 66_000);
    assert.ok(
      expected.equals(readBytes(file, 0, statSync(file).size)),
      'other bytes than asked for',
    );
  });

  await t.test('HEAD has the length and no body, and the connection goes on', async () => {
    const run = await curl('-I', `${base}/big.bin`, `${base}/text.txt`, '-w', '%{num_connects}\n');
    assert.match(run.stdout, /content-length: 100000000/iu);
    assert.match(run.stdout, /^0$/mu);
  });

  await t.test('a 404 of the upstream passes through with its body', async () => {
    const direct = await fetch(`http://127.0.0.1:${port}/nothing`);
    const file = path.join(folder, 'missing.html');
    const run = await curl('-w', '%{http_code}', '-o', file, `${base}/nothing`);
    assert.equal(run.stdout, '404');
    assert.equal(readFileSync(file, 'utf8'), await direct.text());
  });

  await t.test('a compressed body stays as nginx made it', async () => {
    const file = path.join(folder, 'text.gz');
    const run = await curl(
      '-D',
      '-',
      '-H',
      'Accept-Encoding: gzip',
      '-o',
      file,
      `${base}/text.txt`,
    );
    assert.match(run.stdout, /content-encoding: gzip/iu);
    assert.equal(gunzipSync(readBytes(file, 0, statSync(file).size)).toString(), TEXT);
  });
});
