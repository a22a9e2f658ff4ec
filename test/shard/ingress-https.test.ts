// HTTPS visitors over loopback: which certificate they see, what bad ones get, and what is left.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { AcmeChallenges } from '../../src/shard/acme-challenges.ts';
import { frontOptions } from '../../src/shard/http-front.ts';
import { HttpsIngress } from '../../src/shard/ingress-https.ts';
import { TlsFront } from '../../src/shard/tls-front.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { type Edge, LIMITS, Peer, startEdge, turns } from '../support/http-edge.ts';
import { LogLines } from '../support/log-lines.ts';
import { PAIR_A, PAIR_B, PAIR_WILD, type TestPair } from '../support/test-pairs.ts';
import { createSocketPair } from './socket-pair.ts';

const WAIT_MS = 5000;
const TICKET_KEY = Buffer.alloc(48, 7);

interface SecureEdge extends Edge {
  readonly https: HttpsIngress;
  readonly front: TlsFront;
  readonly ledger: VisitorLedger;
  readonly log: LogLines;
  /** Moves the clock, and looks at deadlines of hellos too. */
  passAll(ms: number): void;
}

async function startSecureEdge(
  t: TestContext,
  options: {
    readonly hstsMaxAgeSeconds?: number;
    readonly connectionsMax?: number;
    readonly addressConnectionsPerSecondMax?: number;
  } = {},
): Promise<SecureEdge> {
  const log = new LogLines('shard');
  let https: HttpsIngress | undefined;
  let front: TlsFront | undefined;
  const { hstsMaxAgeSeconds = 0, connectionsMax = LIMITS.visitorConnectionsMax } = options;
  const { addressConnectionsPerSecondMax = 0 } = options;
  const ledger = new VisitorLedger({
    visitorConnectionsMax: connectionsMax,
    connectionsPerAddressMax: 0,
    addressConnectionsPerSecondMax,
  });
  const settings = { hstsMaxAgeSeconds, redirectPort: 0 };
  const edge = await startEdge(t, {
    ingress: { ...frontOptions(settings, {} as AcmeChallenges), ledger },
    door: (http, clock) => {
      const challenges = new AcmeChallenges(clock);
      const ingress = new HttpsIngress({ http, challenges, ledger, log: log.log });
      const before = new TlsFront({
        ...{ ledger, clock, log: log.log, terminator: ingress, onRefused: () => {} },
        ...{ matchServerName: () => undefined, pass: () => assert.fail('nothing is passed') },
        countedAs: (address) => http.countedAs(address),
      });
      https = ingress;
      front = before;
      return (socket) => before.accept(socket);
    },
  });
  assert.ok(https !== undefined && front !== undefined);
  const ingress = https;
  const before = front;
  ingress.store.setTicketKey(TICKET_KEY);
  set(ingress, 'a.test', PAIR_A);
  set(ingress, 'b.test', PAIR_B);
  set(ingress, '*.wild.test', PAIR_WILD);
  undoAfter(t, async () => {
    const settled = async (): Promise<void> => {
      while (ingress.connectionsCount + before.connectionsCount > 0)
        await new Promise((resolve) => setImmediate(resolve));
    };
    await within(WAIT_MS, 'no half-finished handshake is left', settled());
    assert.equal(ledger.count, edge.ingress.connectionsCount, 'everybody has left the ledger');
    const loud = log.lines.filter((line) => line.level !== 'debug');
    assert.deepEqual(loud, [], 'nothing is logged above debug for a visitor');
  });
  const passAll = (ms: number): void => {
    edge.pass(ms);
    ingress.sweep(edge.clock.nowMs());
    before.sweep(edge.clock.nowMs());
  };
  return { ...edge, https: ingress, front: before, ledger, log, passAll };
}

function set(https: HttpsIngress, name: string, pair: TestPair): void {
  https.setCertificates({ set: [{ name, ...pair }], drop: [] });
}

function dial(t: TestContext, edge: Edge, options: ConnectionOptions): TLSSocket {
  const ca = [PAIR_A.cert, PAIR_B.cert, PAIR_WILD.cert];
  const socket = connect({ port: edge.port, host: '127.0.0.1', ca, ...options });
  undoAfter(t, () => {
    socket.destroy();
  });
  return socket;
}

async function secure(t: TestContext, edge: Edge, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = dial(t, edge, options);
  await within(WAIT_MS, 'a handshake', once(socket, 'secureConnect'));
  return socket;
}

/** How a handshake fails. */
async function refusal(t: TestContext, edge: Edge, options: ConnectionOptions): Promise<string> {
  const [error] = await within(WAIT_MS, 'a refusal', once(dial(t, edge, options), 'error'));
  return (error as NodeJS.ErrnoException).code ?? '';
}

function tcp(t: TestContext, edge: Edge): Socket {
  const socket = connectTcp({ port: edge.port, host: '127.0.0.1' });
  undoAfter(t, () => {
    socket.destroy();
  });
  return socket;
}

test('serves a page over TLS 1.2 and 1.3, with the scheme told to the upstream', async (t) => {
  const edge = await startSecureEdge(t);
  const upstream = await edge.upstream('a.test');
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const socket = await secure(t, edge, {
      servername: 'a.test',
      minVersion: version,
      maxVersion: version,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    assert.equal(socket.alpnProtocol, 'http/1.1');
    assert.equal(socket.getProtocol(), version);
    const visitor = new Peer(socket);
    visitor.send('GET /page HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
    const peer = await upstream.next();
    assert.match(await peer.read('\r\n\r\n'), /X-Forwarded-Proto: https\r\n/);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    assert.match(await visitor.readEnd(), /200 OK[\s\S]*\r\n\r\nok$/);
  }
});

test('chooses the certificate: the exact name, else the wildcard of one label', async (t) => {
  const edge = await startSecureEdge(t);
  set(edge.https, 'exact.wild.test', PAIR_B);
  const subjectOf = async (servername: string): Promise<string> => {
    const socket = await secure(t, edge, { servername, checkServerIdentity: () => undefined });
    return socket.getPeerX509Certificate()?.subject ?? '';
  };
  assert.equal(await subjectOf('a.test'), 'CN=a.test');
  assert.equal(await subjectOf('B.TEST'), 'CN=b.test');
  assert.equal(await subjectOf('one.wild.test'), 'CN=*.wild.test');
  assert.equal(await subjectOf('exact.wild.test'), 'CN=b.test');
  assert.equal(await refusal(t, edge, { servername: 'a.b.wild.test' }), NO_NAME);
  assert.equal(await refusal(t, edge, { servername: 'wild.test' }), NO_NAME);
});

const NO_NAME = 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME';

test('answers strange names with an alert, and goes on', async (t) => {
  const edge = await startSecureEdge(t);
  for (const servername of ['x', 'nobody.test', `${'a'.repeat(63)}.test`, 'xn--nxasmq6b.test']) {
    assert.equal(await refusal(t, edge, { servername }), NO_NAME, servername);
  }
  assert.match(await refusal(t, edge, {}), /^ERR_SSL_/, 'no name');
  await secure(t, edge, { servername: 'a.test' });
});

test('takes who offers http/1.0 alone, and http/1.1 wherever it is offered', async (t) => {
  const edge = await startSecureEdge(t);
  const chosen = async (...offered: string[]): Promise<string | false | null> => {
    const socket = await secure(t, edge, { servername: 'a.test', ALPNProtocols: offered });
    return socket.alpnProtocol;
  };
  assert.equal(await chosen('http/1.0'), 'http/1.0');
  assert.equal(await chosen('http/1.0', 'http/1.1'), 'http/1.1');
});

test('refuses TLS 1.1 and protocols other than http/1.1 and http/1.0', async (t) => {
  const edge = await startSecureEdge(t);
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const;
  assert.match(await refusal(t, edge, { servername: 'a.test', ...old }), /ERR_SSL_/);
  const h2 = { servername: 'a.test', ALPNProtocols: ['h2'] };
  assert.match(await refusal(t, edge, h2), /NO_APPLICATION_PROTOCOL/);
});

test('gives 421 when Host is not the name of the handshake', async (t) => {
  const edge = await startSecureEdge(t);
  await edge.upstream('b.test');
  const visitor = new Peer(await secure(t, edge, { servername: 'a.test' }));
  visitor.send('GET / HTTP/1.1\r\nHost: b.test\r\n\r\n');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 421 /);
});

test('reads on after a body whose end was decrypted behind a pause', async (t) => {
  const edge = await startSecureEdge(t);
  const upstream = await edge.upstream('a.test');
  const socket = await secure(t, edge, { servername: 'a.test' });
  // Records that are not whole are handed on one by one, also those behind a pause.
  socket.setMaxSendFragment(1024);
  const visitor = new Peer(socket);
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  peer.send(answer);
  await visitor.read('ok');
  const stream = edge.router.streams[0];
  assert.ok(stream !== undefined);
  for (const path of ['/first', '/second']) {
    stream.isHeldBack = true;
    const head = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8192\r\n\r\n';
    visitor.send(head + 'b'.repeat(8192));
    await peer.read('b'.repeat(8192));
    stream.isHeldBack = false;
    stream.sink.onWritable();
    peer.send(answer);
    await visitor.read('ok');
    visitor.send(`GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    assert.match(await peer.read('\r\n\r\n'), new RegExp(`^GET ${path} `));
    peer.send(answer);
    await visitor.read('ok');
  }
});

test('adds HSTS where asked, and to responses over HTTPS alone', async (t) => {
  const edge = await startSecureEdge(t, { hstsMaxAgeSeconds: 600 });
  const upstream = await edge.upstream('a.test');
  const visitor = new Peer(await secure(t, edge, { servername: 'a.test' }));
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  const peer = await upstream.next();
  peer.send('HTTP/1.1 204 No Content\r\n\r\n');
  assert.match(await visitor.readEnd(), /\r\nStrict-Transport-Security: max-age=600\r\n/);
});

test('answers a visitor that has ended its side', async (t) => {
  const edge = await startSecureEdge(t);
  const upstream = await edge.upstream('a.test');
  const under = connectTcp({ port: edge.port, host: '127.0.0.1', allowHalfOpen: true });
  const socket = await secure(t, edge, { servername: 'a.test', socket: under });
  const visitor = new Peer(socket);
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  socket.end();
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  await turns();
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  assert.match(await visitor.readEnd(), /\r\n\r\nok$/);
  assert.equal(visitor.ending, 'fin');
});

test('cuts who does not speak TLS, and who says half a hello and no more', async (t) => {
  const edge = await startSecureEdge(t);
  const plain = new Peer(tcp(t, edge));
  plain.send('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  assert.equal(await plain.readEnd(), '');
  const half = new Peer(tcp(t, edge));
  half.send(Buffer.from([22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3]));
  const silent = new Peer(tcp(t, edge));
  await turns();
  assert.equal(edge.front.connectionsCount, 2);
  edge.passAll(9000);
  assert.equal(half.ending, 'open');
  edge.passAll(1000);
  await half.readEnd();
  await silent.readEnd();
});

test('cuts beyond the limit of connections', async (t) => {
  const edge = await startSecureEdge(t, { connectionsMax: 1 });
  await secure(t, edge, { servername: 'a.test' });
  assert.match(await refusal(t, edge, { servername: 'a.test' }), /ECONNRESET/);
});

test('counts one that comes with the addresses of another that is not closed yet', async (t) => {
  const edge = await startSecureEdge(t);
  const hello = { kind: 'hello', serverName: 'a.test', protocols: [] } as const;
  const accept = async (): Promise<Socket> => {
    const { ours } = await createSocketPair(t);
    // The kernel gives the same ones only when the first is gone for it, and not yet for us.
    Object.defineProperties(ours, { remotePort: { value: 1 }, localPort: { value: 2 } });
    assert.equal(edge.https.accept(ours, hello, {}), true);
    return ours;
  };
  const counts = () => [edge.ledger.count, edge.https.connectionsCount];
  const sockets = [await accept(), await accept()];
  assert.deepEqual(counts(), [1, 1], 'the first is gone');
  for (const [index, socket] of sockets.entries()) {
    const closed = once(socket, 'close');
    socket.destroy();
    await within(WAIT_MS, 'it is closed', closed);
    assert.deepEqual(counts(), index === 0 ? [1, 1] : [0, 0]);
  }
});

/** A session of `servername`, ready to be resumed. */
async function sessionOf(t: TestContext, edge: Edge, options: ConnectionOptions): Promise<Buffer> {
  const socket = dial(t, edge, options);
  const [session] = await within(WAIT_MS, 'a ticket', once(socket, 'session'));
  socket.destroy();
  return session as Buffer;
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`resumes with a ticket of the same host alone, ${version}`, async (t) => {
    const edge = await startSecureEdge(t);
    const common = { minVersion: version, maxVersion: version } as const;
    const session = await sessionOf(t, edge, { servername: 'a.test', ...common });
    const again = await secure(t, edge, { servername: 'a.test', session, ...common });
    assert.equal(again.isSessionReused(), true);
    set(edge.https, 'a.test', PAIR_A);
    const reloaded = await secure(t, edge, { servername: 'a.test', session, ...common });
    assert.equal(reloaded.isSessionReused(), true, 'the same certificate, compiled again');
    const other = await secure(t, edge, { servername: 'b.test', session, ...common });
    assert.equal(other.isSessionReused(), false, 'another host');
    edge.https.store.setTicketKey(Buffer.alloc(48, 8));
    const rotated = await secure(t, edge, { servername: 'a.test', session, ...common });
    assert.equal(rotated.isSessionReused(), false, 'another key');
  });
}

test('answers a challenge over TLS beside visitors of the same name', async (t) => {
  const edge = await startSecureEdge(t);
  const asks = { servername: 'a.test', ALPNProtocols: ['acme-tls/1'] };
  assert.equal(await refusal(t, edge, asks), NO_NAME, 'no challenge is known');
  edge.https.challenges.set([{ kind: 'tls-alpn-01', name: 'a.test', ...PAIR_B }]);
  const authority = await secure(t, edge, { ...asks, checkServerIdentity: () => undefined });
  assert.equal(authority.getPeerX509Certificate()?.subject, 'CN=b.test');
  assert.equal(authority.alpnProtocol, 'acme-tls/1');
  const visitor = await secure(t, edge, { servername: 'a.test' });
  assert.equal(visitor.getPeerX509Certificate()?.subject, 'CN=a.test');
  edge.passAll(16 * 60_000);
  assert.equal(await refusal(t, edge, asks), NO_NAME, 'it has expired');
});

test('a certificate that cannot be used leaves the old one', async (t) => {
  const edge = await startSecureEdge(t);
  const failures = edge.https.store.apply({
    set: [{ name: 'a.test', cert: PAIR_A.cert, key: PAIR_B.key }],
    drop: ['b.test'],
  });
  assert.equal(failures[0]?.[0], 'a.test');
  await secure(t, edge, { servername: 'a.test' });
  assert.equal(await refusal(t, edge, { servername: 'b.test' }), NO_NAME);
});

test('a visitor takes of the rate of its address once, before and behind its handshake', async (t) => {
  const edge = await startSecureEdge(t, { addressConnectionsPerSecondMax: 2 });
  const upstream = await edge.upstream('a.test');
  const ask = async (): Promise<string> => {
    const visitor = new Peer(await secure(t, edge, { servername: 'a.test' }));
    visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
    const peer = await upstream.next();
    await peer.read('\r\n\r\n');
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    return await visitor.readEnd();
  };
  for (const _one of [1, 2])
    assert.match(await within(WAIT_MS, 'an answer', ask()), /^HTTP.* 200 /);
  assert.equal(await refusal(t, edge, { servername: 'a.test' }), 'ECONNRESET', 'the third is cut');
});
