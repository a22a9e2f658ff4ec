import assert from 'node:assert/strict';
import { get, type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { DemoSite, SITE_MARK } from '../../src/cli/demo-site.ts';

async function startSite(t: TestContext): Promise<number> {
  const site = new DemoSite();
  const port = await site.listen();
  t.after(() => site.close());
  return port;
}

function fetchFrom(port: number, path: string, headers = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, headers, agent: false }, resolve).on('error', reject);
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of response) text += piece;
  return text;
}

test('the page shows what it received, escaped', async (t) => {
  const port = await startSite(t);
  const headers = { 'x-forwarded-for': '203.0.113.7', 'x-evil': '<script>$&"' };
  const response = await fetchFrom(port, '/', headers);
  const page = await textOf(response);
  assert.equal(response.statusCode, 200);
  assert.ok(page.includes(SITE_MARK));
  assert.match(page, /<th>x-forwarded-for<td>203\.0\.113\.7/);
  assert.match(page, /<th>x-evil<td>&#60;script&#62;\$&#38;&#34;/);
});

test('the counter comes as events', async (t) => {
  const port = await startSite(t);
  const response = await fetchFrom(port, '/events');
  assert.equal(response.headers['content-type'], 'text/event-stream');
  const [piece] = await new Promise<Buffer[]>((resolve) => {
    response.once('data', (data: Buffer) => resolve([data]));
  });
  assert.match(String(piece), /^data: \d+\n\n/);
  response.destroy();
});

test('anything else is not found', async (t) => {
  const port = await startSite(t);
  const response = await fetchFrom(port, '/<script>');
  assert.equal(response.statusCode, 404);
  assert.equal(await textOf(response), 'not on this site\n');
});
