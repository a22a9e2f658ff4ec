// Goal: a client comes in with a JWT of the issuer, does what the rule names for as long as it
// holds, and nobody is let in for want of an answer. Method: an issuer on loopback, a node and
// clients in this process, files that change.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import { eventually } from '../support/deadline.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { AUDIENCE, startIssuer, type TestIssuer } from '../support/oidc-issuer.ts';
import { scratchFolder } from '../support/programs.ts';
import { get, sendRaw, startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const SECRET = 'plain-secret';
/** Five seconds are promised; a busy machine has some more. */
const END_MS = 15_000;
const RULE = `oidc:
  - name: preview
    hosts: ["*.preview.test"]
    claims:
      sub: repo:acme/app:*
`;

interface Site {
  readonly issuer: TestIssuer;
  readonly node: LocalNode;
  readonly upstream: string;
  write(rules: string): void;
}

async function startSite(t: TestContext, rules: string): Promise<Site> {
  const issuer = await startIssuer(t);
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const hash = createHash('sha256').update(SECRET).digest('hex');
  const plain = `tokens:\n  - name: plain\n    hosts: ["*"]\n    hashes: [sha256:${hash}]\n`;
  const write = (next: string): void => writeFileSync(file, `${plain}${next}`);
  write(rules);
  const oidc = { issuer: issuer.url, audience: AUDIENCE };
  const node = await startNode(t, { config: { tokensFile: file, oidc }, complains: true });
  const port = await startHttp(t, (_request, response) => response.end('page'));
  return { issuer, node, upstream: `http://${LOOPBACK}:${port}`, write };
}

function connect(
  t: TestContext,
  site: Site,
  token: string,
  names: readonly string[],
  file?: string,
) {
  const flags = { upstream: names.map((name) => `${name}=${site.upstream}`) };
  const config = { token: new Masked(token), ...(file === undefined ? {} : { tokenFile: file }) };
  return startLocalClient(t, site.node, { flags, config, waits: false, complains: true });
}

async function untilServed({ node }: Site, name: string): Promise<void> {
  await eventually(END_MS, `${name} is served`, async () => {
    assert.equal((await node.ask(`/readyz?tunnel=${name}`)).status, 200);
  });
}

/** What a link's request with this token is answered. */
async function loginStatus({ node }: Site, token: string): Promise<string> {
  const head =
    'GET /connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
    `Sec-WebSocket-Protocol: sluiceway.1\r\nAuthorization: Bearer ${token}\r\n\r\n`;
  return (await sendRaw(node.controlPort, Buffer.from(head))).slice(9, 12);
}

test('a JWT serves what its rule names, under the rule’s name, and reads nothing', async (t) => {
  const site = await startSite(t, RULE);
  const jwt = await site.issuer.sign();
  const client = await connect(t, site, jwt, ['a.preview.test', 'else.test']);
  await untilServed(site, 'a.preview.test');
  const answer = await get(t, { port: site.node.httpPort, host: 'a.preview.test' });
  assert.equal(answer.body, 'page');
  await eventually(END_MS, 'else.test is refused', async () => {
    assert.ok(client.log.lines.some(({ code }) => code === 'SLW_TUNNEL_NOT_ALLOWED'));
  });
  const [shown] = (await site.node.status()).clients;
  assert.match(String(shown?.token), /^preview@[0-9a-f]{12}$/);
  assert.equal(await statusOf(site, jwt), 401);
  const text = JSON.stringify(site.node.log.lines);
  assert.ok(!text.includes(jwt.slice(-20)), 'the log has no token');
  assert.ok(text.includes('repo:acme/app:ref:main'));
});

async function statusOf({ node }: Site, token: string): Promise<number> {
  const url = `http://${LOOPBACK}:${node.controlPort}/status`;
  const headers = { authorization: `Bearer ${token}`, connection: 'close' };
  return (await fetch(url, { headers })).status;
}

test('whom no rule describes is refused for good', async (t) => {
  const site = await startSite(t, RULE);
  const jwt = await site.issuer.sign({ payload: { sub: 'repo:evil/app:ref:main' } });
  const client = await connect(t, site, jwt, ['a.preview.test']);
  assert.equal((await client.ended()).exitCode, 3);
  const expired = await site.issuer.sign({ payload: { exp: 1_700_000_000 } });
  assert.equal((await (await connect(t, site, expired, ['a.preview.test'])).ended()).exitCode, 3);
});

test('one identity cannot take the client of another under the same rule', async (t) => {
  const site = await startSite(t, RULE);
  const flags = { id: 'runner', upstream: [`a.preview.test=${site.upstream}`] };
  const start = async (sub: string) => {
    const token = new Masked(await site.issuer.sign({ payload: { sub } }));
    const options = { flags, config: { token }, waits: false, complains: true };
    return startLocalClient(t, site.node, options);
  };
  await start('repo:acme/app:one');
  await untilServed(site, 'a.preview.test');
  const taker = await start('repo:acme/app:two');
  await eventually(END_MS, 'it is refused', async () => {
    assert.ok(taker.log.lines.some(({ code }) => code === 'SLW_LINK_ID_TAKEN'));
  });
});

test('a rule that goes, or asks for something else, ends its clients; others go on', async (t) => {
  const site = await startSite(t, RULE);
  await connect(t, site, SECRET, ['plain.test']);
  const first = await connect(t, site, await site.issuer.sign(), ['a.preview.test']);
  await untilServed(site, 'a.preview.test');
  site.write(RULE.replace('repo:acme/app:*', 'repo:acme/app:ref:main'));
  assert.equal((await first.ended()).exitCode, 3);
  const second = await connect(t, site, await site.issuer.sign(), ['a.preview.test']);
  await untilServed(site, 'a.preview.test');
  site.write('');
  assert.equal((await second.ended()).exitCode, 3);
  await untilServed(site, 'plain.test');
});

test('an issuer that is down makes its JWTs wait, and nobody else', async (t) => {
  const site = await startSite(t, RULE);
  site.issuer.failing = 503;
  const client = await connect(t, site, await site.issuer.sign(), ['a.preview.test']);
  await connect(t, site, SECRET, ['plain.test']);
  await untilServed(site, 'plain.test');
  await site.node.untilMetric(
    'sluiceway_auth_failures_total{reason="unavailable"}',
    (count) => count > 0,
  );
  site.issuer.failing = 0;
  await eventually(40_000, 'it comes in', async () => {
    assert.equal((await site.node.ask('/readyz?tunnel=a.preview.test')).status, 200);
  });
  assert.ok(client.log.lines.length > 0);
});

test('forged JWTs are slowed down like wrong tokens, and good ones go on', async (t) => {
  const site = await startSite(t, RULE);
  const forged = `${(await site.issuer.sign()).slice(0, -8)}AAAAAAAA`;
  const answers: string[] = [];
  for (let count = 0; count < 12; count += 1) answers.push(await loginStatus(site, forged));
  assert.deepEqual([answers[0], answers.at(-1)], ['401', '429']);
  await connect(t, site, await site.issuer.sign(), ['b.preview.test']);
  await untilServed(site, 'b.preview.test');
  assert.equal(await site.node.metric('sluiceway_auth_failures_total{reason="wrong"}'), 10);
});

test('a client dials with what its file says now', async (t) => {
  const site = await startSite(t, RULE);
  const file = path.join(scratchFolder(t), 'jwt');
  writeFileSync(file, `${await site.issuer.sign()}\n`);
  // The first token is long over: only the file can have let it in.
  const stale = await site.issuer.sign({ payload: { exp: 1_700_000_000 } });
  const client = await connect(t, site, stale, ['a.preview.test'], file);
  await untilServed(site, 'a.preview.test');
  writeFileSync(file, '');
  site.write(RULE.replace('"*.preview.test"', '"*.other.test"'));
  await eventually(END_MS, 'it came again with the last good one', async () => {
    assert.ok(client.log.lines.some(({ code }) => code === 'SLW_TUNNEL_NOT_ALLOWED'));
    assert.ok(client.log.lines.some(({ msg }) => msg === 'the token stays as it was'));
  });
});
