// Goal: a folder is served as a browser, curl and a download that is resumed expect it, and nothing
// outside of it, however it is asked for. Method: the server on a socket, raw requests, a folder
// with links, pipes and hidden names; a secret beside it that must never be seen.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createFileServer } from '../../src/files/file-server.ts';
import { listen, stop } from '../../src/files/listening.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { scratchFolder } from '../support/programs.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { connectTo, sendRaw } from '../support/upstream.ts';

const SECRET = 'a-secret-beside-the-folder';
const PAGE = '<!doctype html><p>the index';
const NOISE = seededNoise(5, 100_000);

interface Site {
  readonly port: number;
  /** What is served. */
  readonly root: string;
  /** What is beside it. */
  readonly outside: string;
}

interface Settings {
  readonly listing?: boolean;
  readonly hidden?: boolean;
}

async function startSite(t: TestContext, settings: Settings = {}): Promise<Site> {
  const outside = scratchFolder(t);
  const root = path.join(outside, 'site');
  const put = (name: string, text: string | Buffer): void => {
    mkdirSync(path.dirname(path.join(outside, name)), { recursive: true });
    writeFileSync(path.join(outside, name), text);
  };
  put('secret.txt', SECRET);
  put('site-two/secret.txt', SECRET);
  put('site/index.html', PAGE);
  put('site/a.txt', 'text of a');
  put('site/noise.bin', NOISE);
  put('site/empty', '');
  put('site/with index/index.html', 'index below');
  put('site/plain/file 10.txt', 'ten');
  put('site/plain/file 9.txt', 'nine');
  put('site/plain/sub/deep.css', 'body{}');
  put('site/plain/<img src=x onerror=alert(1)>&".txt', 'x');
  put('site/plain/javascript:alert(1)', 'x');
  put('site/.env', SECRET);
  put('site/.git/config', SECRET);
  put('site/plain/.htpasswd', SECRET);
  put('site/.well-known/security.txt', 'Contact: x');
  symlinkSync('a.txt', path.join(root, 'link-within'));
  symlinkSync('plain', path.join(root, 'folder-within'));
  symlinkSync('../secret.txt', path.join(root, 'link-out'));
  symlinkSync('/etc/passwd', path.join(root, 'link-passwd'));
  symlinkSync('..', path.join(root, 'folder-out'));
  symlinkSync('../site-two', path.join(root, 'folder-two'));
  symlinkSync('/', path.join(root, 'folder-root'));
  symlinkSync('.git', path.join(root, 'git'));
  symlinkSync('.env', path.join(root, 'env.txt'));
  symlinkSync('link-loop', path.join(root, 'link-loop'));
  symlinkSync('nowhere', path.join(root, 'link-nowhere'));
  symlinkSync('../../secret.txt', path.join(root, 'plain/deep-out'));
  execFileSync('mkfifo', [path.join(root, 'pipe')]);
  symlinkSync('/dev/zero', path.join(root, 'zero'));
  const { listing = true, hidden = false } = settings;
  const options = { folder: root, listing, hidden, accessLog: false, log: SILENT_LOG };
  const server = createFileServer(options);
  const port = await listen(server, { host: '127.0.0.1', port: 0, name: 'test' });
  undoAfter(t, () => stop(server));
  return { port, root, outside };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** One request as it stands; bodies as latin1. */
async function ask(
  { port }: Pick<Site, 'port'>,
  target: string,
  { method = 'GET', fields = [] }: { method?: string; fields?: readonly string[] } = {},
): Promise<Answer> {
  const lines = [`${method} ${target} HTTP/1.1`, 'Host: site.example', 'Connection: close'];
  const raw = await sendRaw(port, Buffer.from(`${[...lines, ...fields].join('\r\n')}\r\n\r\n`));
  const end = raw.indexOf('\r\n\r\n');
  const [first = '', ...rest] = raw.slice(0, end).split('\r\n');
  const headers = rest.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return {
    status: Number(first.split(' ')[1]),
    headers: Object.fromEntries(headers),
    body: raw.slice(end + 4),
  };
}

test('files, their types, indexes, and links that stay within', async (t) => {
  const site = await startSite(t);
  const rows: readonly (readonly [string, string, string])[] = [
    ['/', PAGE, 'text/html; charset=utf-8'],
    ['/index.html', PAGE, 'text/html; charset=utf-8'],
    ['/a.txt', 'text of a', 'text/plain; charset=utf-8'],
    ['/a.txt?version=2', 'text of a', 'text/plain; charset=utf-8'],
    ['/empty', '', 'application/octet-stream'],
    ['/with%20index/', 'index below', 'text/html; charset=utf-8'],
    ['/plain/sub/deep.css', 'body{}', 'text/css; charset=utf-8'],
    ['//plain//sub///deep.css', 'body{}', 'text/css; charset=utf-8'],
    ['/folder-within/sub/deep.css', 'body{}', 'text/css; charset=utf-8'],
    ['/link-within', 'text of a', 'application/octet-stream'],
    ['/.well-known/security.txt', 'Contact: x', 'text/plain; charset=utf-8'],
    ['http://any.example/a.txt', 'text of a', 'text/plain; charset=utf-8'],
    ['/noise.bin', NOISE.toString('latin1'), 'application/octet-stream'],
  ];
  for (const [target, body, type] of rows) {
    const answer = await ask(site, target);
    assert.equal(answer.status, 200, target);
    assert.ok(answer.body === body, target);
    assert.equal(answer.headers['content-type'], type, target);
    assert.equal(answer.headers['content-length'], String(Buffer.from(body, 'latin1').length));
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    const head = await ask(site, target, { method: 'HEAD' });
    assert.deepEqual([head.status, head.body], [200, ''], target);
    assert.equal(head.headers['content-length'], answer.headers['content-length']);
    assert.equal(head.headers.etag, answer.headers.etag);
  }
});

/** What must be refused, with one of these. */
const HOSTILE: readonly (readonly [string, number])[] = [
  ['/../secret.txt', 404],
  ['/..', 404],
  ['/./../secret.txt', 404],
  ['/plain/../../secret.txt', 404],
  ['/plain/../a.txt', 404],
  ['/%2e%2e/secret.txt', 404],
  ['/%2e%2e%2fsecret.txt', 404],
  ['/..%2fsecret.txt', 404],
  ['/.%2e/secret.txt', 404],
  ['/%252e%252e/secret.txt', 404],
  ['/%252e%252e%252fsecret.txt', 404],
  ['/%c0%ae%c0%ae/secret.txt', 400],
  ['/%c0%af..%c0%afsecret.txt', 400],
  ['/%e0%80%ae/secret.txt', 400],
  ['/%u002e%u002e/secret.txt', 400],
  ['/..\\secret.txt', 404],
  ['/..%5csecret.txt', 404],
  ['/plain%5c..%5c..%5csecret.txt', 404],
  ['/a.txt%00', 404],
  ['/a.txt%00.html', 404],
  ['/%00/../secret.txt', 404],
  ['/a.txt%0a', 404],
  ['/a.txt%0d%0aX-Injected:%20yes', 404],
  ['/a.txt/', 404],
  ['/a.txt/../a.txt', 404],
  ['/a.txt/more', 404],
  ['/a.txt%2f', 404],
  ['/.env', 404],
  ['/%2eenv', 404],
  ['/.git/config', 404],
  ['/.git/', 404],
  ['/plain/.htpasswd', 404],
  ['/plain/.well-known/x', 404],
  ['/git/config', 404],
  ['/git/', 404],
  ['/env.txt', 404],
  ['/link-out', 404],
  ['/link-passwd', 404],
  ['/folder-out/secret.txt', 404],
  ['/folder-out/', 404],
  ['/folder-out/site/a.txt', 200],
  ['/folder-two/secret.txt', 404],
  ['/folder-two/', 404],
  ['/folder-root/etc/passwd', 404],
  ['/folder-root/', 404],
  ['/plain/deep-out', 404],
  ['/link-loop', 404],
  ['/link-nowhere', 404],
  ['/pipe', 404],
  ['/zero', 404],
  ['/nothing', 404],
  [`/${'n'.repeat(300)}`, 404],
  [`/${'d/'.repeat(2500)}`, 404],
  [`/${'a'.repeat(9000)}`, 414],
  ['*', 400],
  ['/%', 400],
  ['/a.txt#fragment', 400],
  ['/etc/passwd', 404],
  ['//etc/passwd', 404],
  ['/C:/secret.txt', 404],
  ['/site/../secret.txt', 404],
  ['file:///etc/passwd', 400],
];

test(`${HOSTILE.length} hostile targets give nothing away`, async (t) => {
  const site = await startSite(t);
  for (const [target, status] of HOSTILE) {
    const answer = await ask(site, target);
    const shown = target.slice(0, 60);
    assert.equal(answer.status, status, shown);
    const all = JSON.stringify(answer);
    assert.ok(!all.includes(SECRET) && !all.includes('root:'), `${shown} gave a secret`);
    if (status === 200) continue;
    assert.match(answer.body, /^\d{3} [A-Z][\w ]+\n$/u, 'a refusal is constant');
    assert.ok(!all.includes(site.root), `${shown} tells where the folder is`);
  }
});

test('only GET and HEAD, and the body of anything else is not waited for', async (t) => {
  const site = await startSite(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'TRACE']) {
    const fields = ['Content-Length: 5', '', 'hello'];
    const answer = await ask(site, '/a.txt', { method, fields: method === 'TRACE' ? [] : fields });
    assert.equal(answer.status, 405, method);
    assert.equal(answer.headers.allow, 'GET, HEAD');
  }
});

test('an upload is refused before it has come, and what comes is read behind the refusal', async (t) => {
  const site = await startSite(t);
  const visitor = await connectTo(t, site.port);
  let answer = '';
  visitor.on('data', (piece) => {
    answer += String(piece);
  });
  const head = 'PUT /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n';
  visitor.write(head);
  await eventually(5000, 'the refusal is whole', async () =>
    assert.match(answer, /^HTTP\/1\.1 405 .*\r\n\r\n405 Method Not Allowed\n$/su),
  );
  // A close with these unread would be a reset.
  const closed = within(10_000, 'the end', once(visitor, 'end'));
  visitor.write(Buffer.alloc(20_000_000));
  await closed;
  // Who never sends it is not waited for.
  const silent = await connectTo(t, site.port);
  silent.resume();
  silent.write(head);
  await within(10_000, 'the end', once(silent, 'end'));
});

test('a folder without its slash is sent there, on the same host', async (t) => {
  const site = await startSite(t);
  const rows = [
    ['/plain', '/plain/'],
    ['/with%20index?a=b', '/with%20index/?a=b'],
    ['//plain', '/plain/'],
    ['/folder-within/sub', '/folder-within/sub/'],
  ] as const;
  for (const [target, location] of rows) {
    const answer = await ask(site, target);
    assert.deepEqual([answer.status, answer.headers.location], [301, location]);
  }
});

test('a listing is sorted, escaped, and shows only what can be had', async (t) => {
  const site = await startSite(t);
  const answer = await ask(site, '/plain/');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8');
  assert.match(answer.headers['content-security-policy'] ?? '', /default-src 'none'/u);
  const links = [...answer.body.matchAll(/<tr><td><a href="([^"]*)"/gu)].map(([, link]) => link);
  assert.deepEqual(links, [
    './sub/',
    `./${encodeURIComponent('<img src=x onerror=alert(1)>&".txt')}`,
    './file%209.txt',
    './file%2010.txt',
    './javascript%3Aalert(1)',
  ]);
  assert.ok(!answer.body.includes('<img'), 'a name became markup');
  assert.ok(answer.body.includes('<a href="../">'), 'no way up');
  rmSync(path.join(site.root, 'index.html'));
  const top = await ask(site, '/');
  for (const name of ['link-out', 'folder-out', 'env', 'git', 'pipe', 'zero', 'link-loop']) {
    assert.ok(!top.body.includes(name), `${name} is shown`);
  }
  for (const name of ['link-within', 'folder-within', 'a.txt', 'noise.bin']) {
    assert.ok(top.body.includes(name), `${name} is not shown`);
  }
  assert.ok(!top.body.includes('../'), 'there is nothing above the top');
});

test('more entries than are shown, and none at all', async (t) => {
  const site = await startSite(t);
  mkdirSync(path.join(site.root, 'many'));
  mkdirSync(path.join(site.root, 'none'));
  for (let number = 0; number < 5003; number += 1) {
    writeFileSync(path.join(site.root, 'many', `${number}`), '');
  }
  const many = await ask(site, '/many/');
  assert.equal([...many.body.matchAll(/<tr><td><a href="\.\/\d+"/gu)].length, 5000);
  assert.match(many.body, /Only 5000 of its entries/u);
  assert.match((await ask(site, '/none/')).body, /Nothing is in this folder/u);
});

test('without listings a folder without an index is not there; hidden names are, when served', async (t) => {
  const closed = await startSite(t, { listing: false });
  assert.equal((await ask(closed, '/plain/')).status, 404);
  assert.equal((await ask(closed, '/')).body, PAGE);
  const open = await startSite(t, { hidden: true });
  assert.equal((await ask(open, '/.git/config')).body, SECRET);
  assert.equal((await ask(open, '/env.txt')).body, SECRET);
  assert.match((await ask(open, '/plain/')).body, /\.htpasswd/u);
  // What is outside stays outside.
  assert.equal((await ask(open, '/link-out')).status, 404);
});

test('as many ranges as may be asked for come in order, and nobody is warned of them', async (t) => {
  const site = await startSite(t);
  const warnings: Error[] = [];
  const warn = (warning: Error): unknown => warnings.push(warning);
  process.on('warning', warn);
  undoAfter(t, () => void process.off('warning', warn));
  const firsts = Array.from({ length: 16 }, (_, index) => index * 6000);
  const wanted = firsts.map((first) => `${first}-${first + 3}`).join();
  const many = await ask(site, '/noise.bin', { fields: [`Range: bytes=${wanted}`] });
  const [, mark = ''] = /boundary=(\w+)/.exec(many.headers['content-type'] ?? '') ?? [];
  const expected = firsts.map((first) => {
    const about = `Content-Range: bytes ${first}-${first + 3}/${NOISE.length}`;
    const type = 'Content-Type: application/octet-stream';
    return `\r\n--${mark}\r\n${type}\r\n${about}\r\n\r\n${NOISE.toString('latin1', first, first + 4)}`;
  });
  assert.equal(many.body, `${expected.join('')}\r\n--${mark}--\r\n`);
  // Warnings come in a tick of their own.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

test('ranges: one, several, none that is there, and those of another version', async (t) => {
  const site = await startSite(t);
  const { headers } = await ask(site, '/noise.bin');
  const range = (value: string, ...more: string[]): Promise<Answer> =>
    ask(site, '/noise.bin', { fields: [`Range: ${value}`, ...more] });
  const part = (first: number, last: number): string =>
    NOISE.subarray(first, last + 1).toString('latin1');

  const one = await range('bytes=10-19');
  assert.deepEqual([one.status, one.body], [206, part(10, 19)]);
  assert.equal(one.headers['content-range'], `bytes 10-19/${NOISE.length}`);
  assert.equal(one.headers['content-length'], '10');
  assert.ok((await range('bytes=-1000')).body === part(99_000, 99_999));
  assert.ok((await range('bytes=70000-')).body === part(70_000, 99_999));

  const two = await range('bytes=0-4,90000-90009');
  assert.equal(two.status, 206);
  const boundary = /boundary=(\w+)/u.exec(two.headers['content-type'] ?? '')?.[1] ?? '';
  const pieces = two.body.split(`\r\n--${boundary}`);
  assert.equal(pieces.length, 4, 'two parts between a start and an end');
  assert.ok(pieces[1]?.endsWith(`\r\n\r\n${part(0, 4)}`));
  assert.ok(pieces[2]?.includes(`bytes 90000-90009/${NOISE.length}`));
  assert.ok(pieces[2]?.endsWith(`\r\n\r\n${part(90_000, 90_009)}`));
  assert.equal(two.headers['content-length'], String(two.body.length));

  const none = await range('bytes=100000-');
  assert.deepEqual([none.status, none.headers['content-range']], [416, 'bytes */100000']);
  assert.equal((await range('bytes=0-99999,0-99999')).status, 200);
  assert.equal((await range('bytes=0-4', `If-Range: ${headers.etag}`)).status, 206);
  assert.equal((await range('bytes=0-4', `If-Range: ${headers['last-modified']}`)).status, 206);
  assert.equal((await range('bytes=0-4', 'If-Range: "another"')).status, 200);
  const head = await ask(site, '/noise.bin', { method: 'HEAD', fields: ['Range: bytes=0-4'] });
  assert.deepEqual([head.status, head.headers['content-length']], [200, '100000']);
});

test('what a visitor has is not sent again until it changes', async (t) => {
  const site = await startSite(t);
  const { headers } = await ask(site, '/a.txt');
  const same = await ask(site, '/a.txt', { fields: [`If-None-Match: ${headers.etag}`] });
  assert.deepEqual([same.status, same.body], [304, '']);
  assert.equal(same.headers.etag, headers.etag);
  const since = `If-Modified-Since: ${headers['last-modified']}`;
  assert.equal((await ask(site, '/a.txt', { fields: [since] })).status, 304);
  assert.equal((await ask(site, '/a.txt', { fields: ['If-Match: "other"'] })).status, 412);
  writeFileSync(path.join(site.root, 'a.txt'), 'text of b');
  const later = 2_000_000_000;
  utimesSync(path.join(site.root, 'a.txt'), later, later);
  const changed = await ask(site, '/a.txt', { fields: [`If-None-Match: ${headers.etag}`, since] });
  assert.deepEqual([changed.status, changed.body], [200, 'text of b']);
});

test('the folder may be a link that is led elsewhere, as when a site is released', async (t) => {
  const site = await startSite(t);
  const [first, second] = [path.join(site.outside, 'v1'), path.join(site.outside, 'v2')];
  for (const [folder, text] of [
    [first, 'one'],
    [second, 'two'],
  ] as const) {
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'index.html'), text);
  }
  const current = path.join(site.outside, 'current');
  symlinkSync(first, current);
  const options = { listing: true, hidden: false, accessLog: false, log: SILENT_LOG };
  const server = createFileServer({ folder: current, ...options });
  undoAfter(t, () => stop(server));
  const port = await listen(server, { host: '127.0.0.1', port: 0, name: 'test' });
  assert.equal((await ask({ port }, '/')).body, 'one');
  symlinkSync(second, `${current}.new`);
  renameSync(`${current}.new`, current);
  assert.equal((await ask({ port }, '/')).body, 'two');
});

test('a link that is put in the place of a file while it is asked for gives nothing away', async (t) => {
  const site = await startSite(t);
  const place = path.join(site.root, 'swapped');
  const [file, link] = [`${place}.file`, `${place}.link`];
  let isDone = false;
  const swapping = (async () => {
    while (!isDone) {
      writeFileSync(file, 'harmless');
      renameSync(file, place);
      symlinkSync('../secret.txt', link);
      renameSync(link, place);
      await new Promise(setImmediate);
    }
  })();
  const seen = new Set<string>();
  for (let round = 0; round < 25; round += 1) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(site, '/swapped')));
    for (const { status, body } of answers) {
      seen.add(`${status} ${body.trim()}`);
      assert.ok(!body.includes(SECRET), 'what lies outside was served');
    }
  }
  isDone = true;
  await swapping;
  assert.ok(seen.has('404 404 Not Found'), [...seen].join());
});

test('a file that becomes shorter while it is sent ends in a cut', async (t) => {
  const site = await startSite(t);
  const large = path.join(site.root, 'large');
  writeFileSync(large, '');
  truncateSync(large, 64 * 1024 * 1024);
  const socket = await connectTo(t, site.port);
  let got = 0;
  const closed = new Promise<void>((resolve) => socket.once('end', () => resolve()));
  socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
  await new Promise<void>((resolve) => {
    socket.once('data', () => {
      socket.pause();
      resolve();
    });
  });
  truncateSync(large, 1024 * 1024);
  socket.on('data', (piece: Buffer) => {
    got += piece.length;
  });
  socket.resume();
  await within(20_000, 'the connection is cut', closed);
  assert.ok(got < 64 * 1024 * 1024, 'all that was promised came');
});

test('a visitor who leaves, and one who is slow, hold no file open', async (t) => {
  const site = await startSite(t);
  const large = path.join(site.root, 'large');
  writeFileSync(large, '');
  truncateSync(large, 64 * 1024 * 1024);
  const sockets = await Promise.all(Array.from({ length: 20 }, () => connectTo(t, site.port)));
  for (const socket of sockets) socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(10_000, 'all are being sent', async () => {
    assert.equal(openFiles(large), 20);
  });
  for (const socket of sockets) socket.destroy();
  await eventually(10_000, 'none is', async () => {
    assert.equal(openFiles(large), 0);
  });
});

/** How often this process has the file open. */
function openFiles(file: string): number {
  const links = execFileSync('find', [`/proc/${process.pid}/fd`, '-lname', file], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return links.toString().split('\n').filter(Boolean).length;
}
