// Goal: a token is in no log, metric, status, page or argument list, whatever goes wrong.
// Method: a token that is easily found, real processes at the most talkative level, and a search.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { scratchFolder } from '../support/programs.ts';
import { spawnClient, startClient, startServer } from '../support/tunnel.ts';
import { connectTo, echoOnce, get, sendRaw, startEcho, startHttp } from '../support/upstream.ts';

const CANARY = 'canary-8f2c61d09b7e4a53-token';
const WRONG = 'canary-of-a-wrong-client-77aa';
const HOST = 'site.example.com';

/** The arguments of every process that can be seen. */
function allArguments(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/u.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      } catch {
        return '';
      }
    })
    .join('\n');
}

test('a token is nowhere but where it belongs', async (t) => {
  const trace = ['--log-level', 'trace'];
  const server = await startServer(t, {
    args: [...trace, '--access-log'],
    env: { SLUICEWAY_TOKEN: CANARY },
  });
  const site = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const client = await startClient(t, server, {
    args: [
      ...trace,
      ...['--upstream', `${HOST}=http://127.0.0.1:${site}`],
      ...['--tcp', `${tcpPort}=127.0.0.1:${echo}`],
    ],
    env: { SLUICEWAY_TOKEN: CANARY },
  });
  const stranger = spawnClient(t, server, {
    args: [...trace, '--tcp', String(await freePort())],
    env: { SLUICEWAY_TOKEN: WRONG },
  });
  assert.equal((await stranger.expectEnd()).code, 3);
  const pages: string[] = [];
  pages.push((await get(t, { port: server.httpPort, host: HOST })).body);
  pages.push((await get(t, { port: server.httpPort, host: 'nobody.example.com' })).body);
  await echoOnce(await connectTo(t, tcpPort), 'hello');
  for (const port of [server.controlPort, server.adminPort]) {
    for (const path of ['/status', '/metrics', '/connect', '/nothing', `/status?token=${WRONG}`]) {
      for (const token of [CANARY, `${CANARY}x`, CANARY.slice(0, -1), '']) {
        const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
        const all = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
        pages.push(all, await answer.text());
      }
    }
  }
  const broken = `GET /status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${CANARY}\u0000\r\n\r\n`;
  pages.push(await sendRaw(server.controlPort, Buffer.from(broken)));
  const output = [server.process, client, stranger].flatMap((one) => [
    ...one.stdout,
    ...one.stderr,
  ]);
  const digest = createHash('sha256').update(CANARY);
  const hex = digest.copy().digest('hex');
  const secrets = [
    CANARY,
    CANARY.slice(0, 12),
    hex.slice(0, 16),
    digest.digest('base64').slice(0, 16),
  ];
  const places = { output: output.join('\n'), pages: pages.join('\n'), arguments: allArguments() };
  for (const line of ['token refused', 'tunnel up', 'listening', 'component":"access']) {
    assert.ok(places.output.includes(line), `they spoke of: ${line}`);
  }
  for (const secret of [...secrets, WRONG.slice(0, 16)]) {
    for (const [place, text] of Object.entries(places)) {
      assert.ok(!text.includes(secret), `${secret} is in ${place}`);
    }
  }
});

test("a token is not in the diagnostic report of Node's own", async (t) => {
  const folder = scratchFolder(t);
  const asked = ['--report-on-signal', '--report-signal=SIGWINCH', `--report-directory=${folder}`];
  const server = await startServer(t, {
    env: { SLUICEWAY_TOKEN: CANARY, NODE_OPTIONS: asked.join(' ') },
  });
  process.kill(server.process.pid, 'SIGWINCH');
  const report = await eventually(15_000, 'a report is written', async () => {
    const [name = ''] = readdirSync(folder);
    return JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as Record<string, unknown>;
  });
  assert.ok(Array.isArray(report.workers) && report.workers.length > 0, 'it speaks of the shards');
  assert.ok(!JSON.stringify(report).includes(CANARY.slice(0, 12)), 'the token is in it');
});
