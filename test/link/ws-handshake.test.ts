// Goal: a dial ends once, as a link or as an error that says what to check. Method: servers that
// answer a handshake in every wrong way, byte by byte where it matters.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import type { SluicewayError } from '../../src/base/errors.ts';
import { dialWebSocket, offersSubprotocol, type Upgraded } from '../../src/link/ws-handshake.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startPassingProxy } from '../support/passing-proxy.ts';
import { DAY_MS, leafOf, makeChain, newAuthority } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { startUpgrades } from './ws-pair.ts';

const EVENT_MS = 15_000;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Dials and gives the socket or the error, whichever comes; fails when both do. */
async function dial(
  t: TestContext,
  url: string,
  ca?: string,
  proxy?: string,
): Promise<Upgraded | SluicewayError> {
  const ended = Promise.withResolvers<Upgraded | SluicewayError>();
  let ends = 0;
  const end = (how: Upgraded | SluicewayError): void => {
    ends += 1;
    if ('socket' in how) undoAfter(t, () => void how.socket.destroy());
    ended.resolve(how);
  };
  dialWebSocket(
    { url, token: 'the-token', agent: 'sluiceway/test', ca, proxy },
    { onUpgraded: end, onFailure: end },
  );
  const how = await within(EVENT_MS, `the dial to ${url} ends`, ended.promise);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ends, 1, 'a dial ends once');
  return how;
}

async function failure(t: TestContext, url: string, ca?: string): Promise<SluicewayError> {
  const how = await dial(t, url, ca);
  assert.ok(!('socket' in how), 'the dial succeeded');
  return how;
}

/** A server that answers every request with these bytes, made from its key. */
async function startAnswering(
  t: TestContext,
  answer: (accept: string, request: string) => string,
): Promise<string> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {
      // The dial was given up.
    });
    socket.once('data', (bytes) => {
      const request = bytes.toString('latin1');
      const key = /sec-websocket-key: (.*)\r\n/i.exec(request)?.[1] ?? '';
      const accept = createHash('sha1')
        .update(key + GUID)
        .digest('base64');
      socket.write(answer(accept, request), 'latin1');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}/connect`;
}

function switching(accept: string, ...fields: string[]): string {
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    ...fields,
    '',
    '',
  ].join('\r\n');
}

const PROTOCOL = 'Sec-WebSocket-Protocol: sluiceway.1';

test('the request carries token, agent and subprotocol, and no extension', async (t) => {
  let request = '';
  const url = await startAnswering(t, (accept, text) => {
    request = text;
    return switching(accept, PROTOCOL);
  });
  assert.ok('socket' in (await dial(t, url)));
  assert.match(request, /^GET \/connect HTTP\/1\.1\r\n/);
  assert.match(request, /\r\nauthorization: Bearer the-token\r\n/i);
  assert.match(request, /\r\nuser-agent: sluiceway\/test\r\n/i);
  assert.match(request, /\r\nsec-websocket-protocol: sluiceway\.1\r\n/i);
  assert.doesNotMatch(request, /sec-websocket-extensions/i);
});

test('bytes that came with the 101 are handed on', async (t) => {
  const url = await startAnswering(t, (accept) => `${switching(accept, PROTOCOL)}\x82\x01x`);
  const how = await dial(t, url);
  assert.ok('socket' in how);
  const rest = how.head.length > 0 ? how.head : ((await once(how.socket, 'data')) as [Buffer])[0];
  assert.deepEqual(rest, Buffer.from('\x82\x01x', 'latin1'));
});

for (const status of [401, 403]) {
  test(`${status} is a refused token`, async (t) => {
    const text = `HTTP/1.1 ${status} No\r\nContent-Length: 2\r\n\r\nno`;
    const error = await failure(t, await startAnswering(t, () => text));
    assert.equal(error.code, 'SLW_AUTH_REFUSED');
    assert.doesNotMatch(error.message, /the-token/);
  });
}

test('other answers fail the dial and say which', async (t) => {
  const answers: readonly (readonly [string, RegExp])[] = [
    ['HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', /404.*control port/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', /200/],
    ['HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n', /503/],
    ['SSH-2.0-OpenSSH_9.9\r\n', /speaks no HTTP/],
    ['\0\0\0\0', /speaks no HTTP/],
  ];
  for (const [answer, message] of answers) {
    const error = await failure(t, await startAnswering(t, () => answer));
    assert.equal(error.code, 'SLW_DIAL_FAILED', answer);
    assert.match(error.message, message);
  }
});

test('a redirect is not followed: the token goes nowhere else', async (t) => {
  let asked = 0;
  const elsewhere = http.createServer(() => {
    asked += 1;
  });
  elsewhere.on('upgrade', () => {
    asked += 1;
  });
  elsewhere.listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  undoAfter(t, () => {
    elsewhere.close();
  });
  const { port } = elsewhere.address() as net.AddressInfo;
  const location = `ws://127.0.0.1:${port}/connect`;
  const text = `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`;
  const error = await failure(t, await startAnswering(t, () => text));
  assert.match(error.message, /302/);
  assert.equal(asked, 0);
});

test('a 101 that is not what was asked for fails the dial', async (t) => {
  const bad: readonly ((accept: string) => string)[] = [
    () => switching('AAAAAAAAAAAAAAAAAAAAAAAAAAA=', PROTOCOL),
    (accept) => switching(accept),
    (accept) => switching(accept, 'Sec-WebSocket-Protocol: other.1'),
    (accept) => switching(accept, PROTOCOL, 'Sec-WebSocket-Extensions: permessage-deflate'),
    (accept) => switching(accept, PROTOCOL).replace('websocket', 'h2c'),
  ];
  for (const [index, answer] of bad.entries()) {
    const error = await failure(t, await startAnswering(t, answer));
    assert.equal(error.code, 'SLW_DIAL_FAILED', `answer ${index}`);
  }
});

test('a 101 with 2,500 headers ends the dial, one way or the other', async (t) => {
  const many = Array.from({ length: 2500 }, (_, index) => `X-${index}: 1`);
  const before = await startAnswering(t, (accept) => switching(accept, ...many, PROTOCOL));
  assert.equal((await failure(t, before)).code, 'SLW_DIAL_FAILED');
  const behind = await startAnswering(t, (accept) => switching(accept, PROTOCOL, ...many));
  assert.equal((await failure(t, behind)).code, 'SLW_DIAL_FAILED');
});

test('a server that closes, refuses or is not there fails the dial', async (t) => {
  const server = net.createServer((socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  const cut = await failure(t, `ws://127.0.0.1:${port}/connect`);
  assert.equal(cut.code, 'SLW_DIAL_FAILED');
  const refused = await failure(t, `ws://127.0.0.1:${await freePort()}/connect`);
  assert.match(refused.message, /ECONNREFUSED/);
});

test('a certificate is checked: by the system, or by the CA that was given', async (t) => {
  const url = await startUpgrades(t, () => {}, true);
  const unknown = await failure(t, url);
  assert.equal(unknown.code, 'SLW_TLS_REFUSED');
  assert.match(unknown.message, /not signed by a CA that is trusted here/);
  assert.ok('socket' in (await dial(t, url, CERT)));
  const plain = await startUpgrades(t, () => {});
  assert.equal((await failure(t, plain.replace('ws:', 'wss:'), CERT)).code, 'SLW_DIAL_FAILED');
});

test('a CA that is an intermediate is trusted for what it signed, without its root', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const { leaf, issuing, sibling } = makeChain(scratchFolder(t));
  const url = await startUpgrades(t, ({ socket }) => undoAfter(t, () => void socket.destroy()), {
    ...leaf,
    cert: leaf.cert + issuing,
  });
  assert.ok('socket' in (await dial(t, url, issuing)));
  assert.equal((await failure(t, url, sibling)).code, 'SLW_TLS_REFUSED');
  assert.equal((await failure(t, url)).code, 'SLW_TLS_REFUSED');
});

test('through a proxy, the certificate of a server given by address is for that address', async (t) => {
  const authority = await newAuthority();
  // Either name of the proxy is what Node would compare with, were it not told.
  for (const names of [['127.0.0.1'], ['localhost']]) {
    const pair = await leafOf(authority, { names });
    const url = await startUpgrades(t, () => {}, pair);
    const port = await startPassingProxy(t, Number(new URL(url).port));
    for (const scheme of ['http', 'socks5h']) {
      for (const host of ['127.0.0.1', 'localhost']) {
        const how = await dial(t, url, authority.cert, `${scheme}://${host}:${port}`);
        const what = `${names} through ${scheme}://${host}`;
        if (names[0] === '127.0.0.1') assert.ok('socket' in how, `${what}: ${how}`);
        else assert.equal('code' in how && how.code, 'SLW_TLS_REFUSED', what);
      }
    }
  }
});

test('a certificate of the proxy that is refused is no word of the server', async (t) => {
  const authority = await newAuthority();
  const url = await startUpgrades(t, () => {}, await leafOf(authority));
  const expired = await leafOf(authority, { madeMs: Date.now() - 400 * DAY_MS });
  for (const pair of [{ cert: CERT, key: KEY }, await leafOf(authority), expired]) {
    const port = await startPassingProxy(t, Number(new URL(url).port), { pair });
    const how = await dial(t, url, authority.cert, `https://u:secret@localhost:${port}`);
    assert.ok('code' in how);
    assert.equal(how.code, 'SLW_DIAL_FAILED');
    const proxy = `https://localhost:${port}`;
    assert.match(how.message, new RegExp(`certificate of the proxy ${proxy} is refused here`));
    assert.match(how.message, /NODE_EXTRA_CA_CERTS/);
  }
});

for (const scheme of ['http', 'socks5h']) {
  test(`a proxy may be given by an IPv6 address: ${scheme}`, async (t) => {
    const url = await startUpgrades(t, ({ socket }) => undoAfter(t, () => void socket.destroy()));
    const port = await startPassingProxy(t, Number(new URL(url).port), { host: '::1' });
    const how = await dial(t, url, undefined, `${scheme}://[::1]:${port}`);
    assert.ok('socket' in how, String(how));
  });
}

test('a dial that was given up says nothing more', async (t) => {
  const asked = Promise.withResolvers<void>();
  const url = await startAnswering(t, () => {
    asked.resolve();
    return '';
  });
  let ends = 0;
  const count = (): void => {
    ends += 1;
  };
  const giveUp = dialWebSocket(
    { url, token: 't', agent: 'a', ca: undefined },
    { onUpgraded: count, onFailure: count },
  );
  await asked.promise;
  giveUp();
  giveUp();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ends, 0);
});

test('the subprotocol is looked for among those that are offered', () => {
  const offers = (value: string | undefined) =>
    offersSubprotocol({ headers: { 'sec-websocket-protocol': value } } as http.IncomingMessage);
  for (const value of ['sluiceway.1', 'a, sluiceway.1', 'sluiceway.1,sluiceway.2']) {
    assert.equal(offers(value), true, value);
  }
  for (const value of [
    undefined,
    '',
    'sluiceway.2',
    'xsluiceway.1',
    'sluiceway.10',
    'Sluiceway.1',
  ]) {
    assert.equal(offers(value), false, String(value));
  }
});

test('a dial that fails by itself leaves no connection to the proxy behind', async (t) => {
  const proxy = net.createServer();
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  undoAfter(t, () => void proxy.close());
  const closed = Promise.withResolvers<void>();
  proxy.on('connection', (socket) => {
    undoAfter(t, () => void socket.destroy());
    socket.on('error', () => {
      // Reset, which is an end, too.
    });
    socket.on('close', () => closed.resolve());
    socket.resume();
  });
  const { port } = proxy.address() as net.AddressInfo;
  const failed = Promise.withResolvers<SluicewayError>();
  dialWebSocket(
    {
      ...{ url: 'ws://server.example/connect', token: 't', agent: 'a', ca: undefined },
      // What the agent cannot read, and finds when it is connected.
      proxy: `http://u:100%@127.0.0.1:${port}`,
    },
    { onUpgraded: () => assert.fail('upgraded'), onFailure: failed.resolve },
  );
  const { code } = await within(EVENT_MS, 'the dial fails', failed.promise);
  assert.equal(code, 'SLW_DIAL_FAILED');
  await within(EVENT_MS, 'the connection to the proxy ends', closed.promise);
});
