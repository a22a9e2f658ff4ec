// Goal: a token of the file opens what it names, from where it may, for as long as it is there; a
// bad file changes nothing. Method: a node and clients in this process, files that change.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import type { ServerConfig } from '../../src/config/config.ts';
import { TOKEN } from '../support/configs.ts';
import { eventually, within } from '../support/deadline.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { type Answer, get, startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
/** Five seconds are promised; a busy machine has some more. */
const END_MS = 10_000;

interface Site {
  readonly node: LocalNode;
  readonly upstream: string;
  /** Writes the file: entries by secret. */
  put(entries: Readonly<Record<string, string>>): void;
  write(text: string): void;
}

function hashOf(secret: string): string {
  return `sha256:${createHash('sha256').update(secret).digest('hex')}`;
}

function textOf(entries: Readonly<Record<string, string>>): string {
  const items = Object.entries(entries).map(
    ([secret, rest]) => `  - name: of-${secret}\n    hashes: [${hashOf(secret)}]\n${rest}`,
  );
  return items.length === 0 ? 'tokens: []\n' : `tokens:\n${items.join('')}`;
}

async function startSite(
  t: TestContext,
  entries: Readonly<Record<string, string>>,
  more: Partial<ServerConfig> = {},
): Promise<Site> {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  writeFileSync(file, textOf(entries));
  const node = await startNode(t, { config: { tokensFile: file, ...more }, complains: true });
  const port = await startHttp(t, (_request, response) => response.end('page'));
  return {
    node,
    upstream: `http://${LOOPBACK}:${port}`,
    put: (next) => writeFileSync(file, textOf(next)),
    write: (text) => writeFileSync(file, text),
  };
}

function connect(t: TestContext, site: Site, secret: string, names: readonly string[]) {
  const flags = { upstream: names.map((name) => `${name}=${site.upstream}`) };
  const config = { token: new Masked(secret) };
  return startLocalClient(t, site.node, { flags, config, waits: false, complains: true });
}

function page(t: TestContext, { node }: Site, host: string): Promise<Answer> {
  return get(t, { port: node.httpPort, host });
}

async function untilServed(site: Site, name: string): Promise<void> {
  await eventually(END_MS, `${name} is served`, async () => {
    assert.equal((await site.node.ask(`/readyz?tunnel=${name}`)).status, 200);
  });
}

async function statusOf(node: LocalNode, target: string, authorization?: string): Promise<number> {
  const headers = {
    connection: 'close',
    ...(authorization === undefined ? {} : { authorization }),
  };
  const url = `http://${LOOPBACK}:${node.controlPort}${target}`;
  return (await fetch(url, { headers })).status;
}

test('a token serves its hosts and no others, and reads nothing', async (t) => {
  const site = await startSite(t, { alpha: '    hosts: ["*.a.test"]\n' });
  const client = await connect(t, site, 'alpha', ['x.a.test', 'b.test']);
  await untilServed(site, 'x.a.test');
  assert.equal((await page(t, site, 'x.a.test')).body, 'page');
  await eventually(END_MS, 'b.test is refused', async () => {
    const line = client.log.lines.find(({ code }) => code === 'SLW_TUNNEL_NOT_ALLOWED');
    assert.equal(line?.tunnel, 'b.test');
  });
  assert.equal((await page(t, site, 'b.test')).status, 404);
  for (const target of ['/status', '/metrics']) {
    assert.equal(await statusOf(site.node, target, 'Bearer alpha'), 403, target);
  }
  const [shown] = (await site.node.status()).clients;
  assert.equal(shown?.token, 'of-alpha');
});

test('each way of being wrong is refused, beside the shared token that goes on', async (t) => {
  const site = await startSite(t, {
    alpha: '    admin: true\n',
    late: '    admin: true\n    expires: 2020-01-01T00:00:00Z\n',
    elsewhere: '    admin: true\n    allow-ips: [192.0.2.0/24]\n',
    here: '    admin: true\n    allow-ips: [127.0.0.0/8]\n',
  });
  const { node } = site;
  for (const good of ['alpha', 'here', TOKEN]) {
    assert.equal(await statusOf(node, '/status', `Bearer ${good}`), 200, good);
  }
  const bad = ['late', 'elsewhere', 'alph', 'alphaa', hashOf('alpha'), ''];
  for (const secret of bad) {
    assert.equal(await statusOf(node, '/status', `Bearer ${secret}`), 401, secret);
  }
  assert.equal(await statusOf(node, '/status?token=alpha'), 401);
});

test('without a shared token those of the file alone open', async (t) => {
  const site = await startSite(t, { alpha: '    admin: true\n' });
  assert.equal(await statusOf(site.node, '/status', 'Bearer alpha'), 200);
  assert.equal(await statusOf(site.node, '/status', 'Bearer '), 401);
});

test('who guesses on is told to wait, and a good token is not', async (t) => {
  const { node } = await startSite(t, { alpha: '    admin: true\n' });
  const statuses: number[] = [];
  for (let count = 0; count < 12; count += 1) {
    statuses.push(await statusOf(node, '/status', `Bearer guess-${count}`));
  }
  assert.deepEqual(statuses, [...new Array<number>(10).fill(401), 429, 429]);
  assert.equal(await statusOf(node, '/status', 'Bearer alpha'), 200);
  assert.ok((await node.metric('sluiceway_auth_failures_total{reason="throttled"}')) >= 2);
});

test('a token that is removed ends its client with code 3, and no other', async (t) => {
  const both = { alpha: '    hosts: [a.test]\n', beta: '    hosts: [b.test]\n' };
  const site = await startSite(t, both);
  const alpha = await connect(t, site, 'alpha', ['a.test']);
  await connect(t, site, 'beta', ['b.test']);
  await untilServed(site, 'a.test');
  await untilServed(site, 'b.test');
  site.put({ beta: both.beta });
  const { exitCode } = await within(END_MS, 'the client ends', alpha.ended());
  assert.equal(exitCode, 3);
  assert.equal((await page(t, site, 'b.test')).body, 'page');
  assert.equal((await site.node.status()).clients.length, 1);
});

test('a second rotation ends for good who has the oldest secret alone', async (t) => {
  const hosts = '    hosts: ["*.test"]\n';
  const site = await startSite(t, { 'secret-1': hosts });
  const rotate = (...secrets: readonly string[]): void => {
    const hashes = secrets.map(hashOf).join(', ');
    site.write(`tokens:\n  - name: of-secret-1\n    hashes: [${hashes}]\n${hosts}`);
  };
  const tokenFile = path.join(scratchFolder(t), 'token');
  writeFileSync(tokenFile, 'secret-1\n');
  const moves = await startLocalClient(t, site.node, {
    flags: { upstream: `moves.test=${site.upstream}`, links: '1' },
    config: { token: new Masked('secret-1'), tokenFile },
    ...{ waits: false, complains: true },
  });
  const stays = await connect(t, site, 'secret-1', ['stays.test']);
  for (const name of ['moves.test', 'stays.test']) await untilServed(site, name);
  rotate('secret-1', 'secret-2');
  writeFileSync(tokenFile, 'secret-2\n');
  await eventually(END_MS, 'the first rotation is known', async () => {
    assert.ok(site.node.log.lines.some(({ msg }) => msg === 'tokens were read again'));
  });
  const linksUp = (): number => moves.log.lines.filter(({ msg }) => msg === 'link up').length;
  assert.equal(linksUp(), 1, 'a link that is well has the secret that it came with');
  rotate('secret-2', 'secret-3');
  const { exitCode } = await within(END_MS, 'the client of the old one ends', stays.ended());
  assert.equal(exitCode, 3);
  await eventually(END_MS, 'the other has dialled again', async () => assert.equal(linksUp(), 2));
  await untilServed(site, 'moves.test');
  assert.equal((await page(t, site, 'moves.test')).body, 'page');
});

test('a token ends at its time, with its client', async (t) => {
  const until = (expiresMs: number): string =>
    `    hosts: [a.test]\n    expires: ${new Date(expiresMs).toISOString()}\n`;
  const site = await startSite(t, { alpha: until(Date.now() + 3_600_000) });
  const client = await connect(t, site, 'alpha', ['a.test']);
  await untilServed(site, 'a.test');
  // From here on, as a start takes longer than this on a busy machine.
  const expiresMs = Date.now() + 3000;
  site.put({ alpha: until(expiresMs) });
  const { exitCode } = await within(END_MS, 'the client ends', client.ended());
  assert.equal(exitCode, 3);
  assert.ok(Date.now() >= expiresMs, 'not before its time');
});

test('a client that serves more than its token still names comes again with the rest', async (t) => {
  const site = await startSite(t, { alpha: '    hosts: [a.test, b.test]\n' });
  const client = await connect(t, site, 'alpha', ['a.test', 'b.test']);
  await untilServed(site, 'a.test');
  await untilServed(site, 'b.test');
  site.put({ alpha: '    hosts: [a.test]\n' });
  await eventually(END_MS, 'b.test is gone', async () => {
    assert.equal((await site.node.ask('/readyz?tunnel=b.test')).status, 503);
  });
  await untilServed(site, 'a.test');
  assert.equal((await page(t, site, 'a.test')).body, 'page');
  assert.match(JSON.stringify(client.log.lines), /SLW_TUNNEL_NOT_ALLOWED/);
});

test('a token that no longer lets an address in ends its clients there', async (t) => {
  const site = await startSite(t, { alpha: '    hosts: [a.test]\n' });
  const client = await connect(t, site, 'alpha', ['a.test']);
  await untilServed(site, 'a.test');
  site.put({ alpha: '    hosts: [a.test]\n    allow-ips: [192.0.2.0/24]\n' });
  const { exitCode } = await within(END_MS, 'the client ends', client.ended());
  assert.equal(exitCode, 3);
});

test('a file with a fault changes nothing, and says where the fault is', async (t) => {
  const site = await startSite(t, { alpha: '    hosts: [a.test]\n' });
  await connect(t, site, 'alpha', ['a.test']);
  await untilServed(site, 'a.test');
  site.write('tokens:\n  - nam: x\n');
  site.node.node.reload();
  await site.node.untilMetric(
    'sluiceway_config_reloads_total{result="failed"}',
    (count) => count > 0,
  );
  const line = site.node.log.lines.find(({ msg }) => String(msg).includes('the tokens file'));
  assert.match(JSON.stringify(line), /line 2, column 5: 'nam' is unknown; did you mean name/);
  assert.equal((await page(t, site, 'a.test')).body, 'page');
});

test('a client cannot take the place of one with another token', async (t) => {
  const site = await startSite(t, {
    alpha: '    hosts: [a.test]\n',
    beta: '    hosts: [b.test]\n',
  });
  const flags = { upstream: `a.test=${site.upstream}`, id: 'same' };
  const common = { waits: false, complains: true } as const;
  const config = { token: new Masked('alpha') };
  await startLocalClient(t, site.node, { flags, config, ...common });
  await untilServed(site, 'a.test');
  const other = { upstream: `b.test=${site.upstream}`, id: 'same' };
  const thief = await startLocalClient(t, site.node, {
    ...{ flags: other, config: { token: new Masked('beta') } },
    ...common,
  });
  await eventually(END_MS, 'it is refused', async () => {
    assert.match(JSON.stringify(thief.log.lines), /SLW_LINK_ID_TAKEN/);
  });
  assert.equal((await page(t, site, 'a.test')).body, 'page');
});

test('a token has so many clients and links', async (t) => {
  const site = await startSite(t, {
    alpha: '    hosts: ["*.a.test"]\n    clients-max: 1\n',
  });
  await connect(t, site, 'alpha', ['one.a.test']);
  await untilServed(site, 'one.a.test');
  const second = await connect(t, site, 'alpha', ['two.a.test']);
  await eventually(END_MS, 'it is refused', async () => {
    assert.match(JSON.stringify(second.log.lines), /SLW_LINK_LIMIT/);
  });
  assert.equal((await site.node.status()).clients.length, 1);
});
