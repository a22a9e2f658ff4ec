// Visitors before their TLS begins, on real sockets and a clock that the test moves.
//
// Goal: each goes to the right place with every byte it sent, or is refused in the right way, and
// nothing of it is left. Method: a front whose passthrough and termination are the test's own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, createServer as createTcpServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
import type { ClientHello } from '../../src/edge/client-hello.ts';
import { encodeTlsAlert, TLS_ALERT } from '../../src/edge/tls-alert.ts';
import type { Arrival } from '../../src/shard/arrivals.ts';
import { HELLO_TIMEOUT_MS, type Terminator, TlsFront } from '../../src/shard/tls-front.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { CAPTURED_HELLOS } from '../edge/captured-hellos.ts';
import { hello, serverName } from '../edge/hello-bytes.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { UPSTREAM_A } from '../support/upstream-pairs.ts';
import { createSocketPair, endOf } from './socket-pair.ts';

const PASSED = 'passed.example.com';
/** Under a wildcard that passes, and with a certificate of its own. */
const ENDED = 'ended.wild.example';
const TUNNELS = [`tls:${PASSED}`, 'tls:*.wild.example'];
const WAIT_MS = 5000;
const NAMED = hello({ extensions: [serverName(PASSED)] });

interface Passed {
  readonly tunnel: string;
  readonly socket: Socket;
  readonly arrival: Arrival;
}

class Bench {
  readonly clock = new FakeClock();
  readonly ledger: VisitorLedger;
  readonly log = new LogLines('shard');
  readonly passed: Passed[] = [];
  readonly refused: string[] = [];
  readonly front: TlsFront;

  constructor(accept: Terminator['accept'] = () => false, visitorConnectionsMax = 10) {
    this.ledger = new VisitorLedger({ visitorConnectionsMax, connectionsPerAddressMax: 5 });
    this.front = new TlsFront({
      ...{ ledger: this.ledger, clock: this.clock, log: this.log.log },
      matchServerName: (name) => TUNNELS.find((tunnel) => coversServerName(tunnel, name)),
      countedAs: (address) => address,
      pass: (tunnel, socket, arrival) => {
        // The test reads on later than an ingress would.
        socket.pause();
        this.passed.push({ tunnel, socket, arrival });
      },
      onRefused: (reason) => this.refused.push(reason),
      terminator: { accept, hasExactly: ({ serverName: name }) => name === ENDED },
    });
  }

  /** Nobody waits, nobody is counted, and nobody was talked about. */
  checkEmpty(): void {
    assert.equal(this.front.connectionsCount, 0);
    assert.deepEqual([this.ledger.count, this.ledger.addressesCount], [0, 0]);
    assert.deepEqual(
      this.log.lines.filter(({ level }) => level !== 'debug'),
      [],
    );
  }

  sweepAfter(ms: number): void {
    this.clock.advance(ms);
    this.front.sweep(this.clock.nowMs());
  }
}

function coversServerName(tunnel: string, name: string): boolean {
  return tunnel === `tls:${name}` || (tunnel.includes('*') && name.endsWith('.wild.example'));
}

async function visit(t: TestContext, bench: Bench, arrival?: Arrival): Promise<Socket> {
  const { ours, theirs } = await createSocketPair(t);
  bench.front.accept(ours, arrival);
  return theirs;
}

async function until(what: string, isDone: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!isDone()) {
    assert.ok(performance.now() < deadlineMs, what);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Each byte in a write of its own. */
async function dribble(socket: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    socket.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a name of a passthrough tunnel goes there, with all that was read', async (t) => {
  const behind = Buffer.from('140303000101', 'hex');
  for (const isSlow of [false, true]) {
    const bench = new Bench();
    const theirs = await visit(t, bench, { refusesProxy: true });
    const sent = Buffer.concat([NAMED, behind]);
    if (isSlow) await dribble(theirs, sent);
    else theirs.write(sent);
    await until('it is passed', () => bench.passed.length === 1);
    const [{ tunnel, socket, arrival } = assert.fail()] = bench.passed;
    assert.deepEqual([tunnel, arrival.refusesProxy], [`tls:${PASSED}`, false]);
    let got = arrival.first ?? Buffer.alloc(0);
    socket.on('data', (piece: Buffer) => {
      got = Buffer.concat([got, piece]);
    });
    socket.resume();
    await until('all bytes are there', () => got.length === sent.length);
    assert.deepEqual(got, sent);
    bench.checkEmpty();
  }
});

test('a certificate of just the name goes before a wildcard that passes', async (t) => {
  const ended: string[] = [];
  const bench = new Bench((socket, { serverName: name }) => {
    ended.push(name ?? '');
    socket.destroy();
    return true;
  });
  for (const name of [ENDED, 'other.wild.example']) {
    const theirs = await visit(t, bench);
    theirs.write(hello({ extensions: [serverName(name)] }));
    await until(name, () => ended.length + bench.passed.length > 0);
  }
  await until('both', () => bench.passed.length === 1);
  assert.deepEqual(ended, [ENDED]);
  bench.checkEmpty();
});

test('bytes behind a PROXY header are the first of the hello, and the visitor is kept', async (t) => {
  const bench = new Bench();
  const visitor = { address: '192.0.2.7', port: 7 };
  const theirs = await visit(t, bench, { visitor, first: NAMED.subarray(0, 20) });
  assert.deepEqual([bench.ledger.count, bench.ledger.addressesCount], [1, 1]);
  theirs.write(NAMED.subarray(20));
  await until('it is passed', () => bench.passed.length === 1);
  const seen = { visitor, first: NAMED, isRated: true, refusesProxy: false };
  assert.deepEqual(bench.passed[0]?.arrival, seen);
  bench.checkEmpty();
  // The same, with all of it behind the header.
  await visit(t, bench, { visitor, first: NAMED });
  assert.equal(bench.passed.length, 2);
});

test('what nobody serves gets an alert, what is not TLS a cut, and each is counted', async (t) => {
  const { UNRECOGNIZED_NAME, MISSING_EXTENSION, ILLEGAL_PARAMETER, DECODE_ERROR } = TLS_ALERT;
  const bare = hello({ extensions: [] });
  const twice = hello({ extensions: [serverName(PASSED), serverName(PASSED)] });
  const long = hello({ extensions: [serverName(PASSED)], sessionBytes: 40 });
  const table = [
    [hello({ extensions: [serverName('other.example')] }), 'unknown-name', UNRECOGNIZED_NAME],
    [hello({ extensions: [serverName('192.0.2.1')] }), 'unknown-name', UNRECOGNIZED_NAME],
    [bare, 'no-name', MISSING_EXTENSION],
    [twice, 'malformed', ILLEGAL_PARAMETER],
    [long, 'malformed', DECODE_ERROR],
    [Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), 'not-tls', undefined],
  ] as const;
  for (const [bytes, reason, alert] of table) {
    const bench = new Bench(() => false);
    const theirs = await visit(t, bench);
    const ended = endOf(theirs);
    theirs.write(bytes);
    const answer = alert === undefined ? Buffer.alloc(0) : encodeTlsAlert(alert);
    const how = alert === undefined ? 'ECONNRESET' : 'FIN';
    assert.deepEqual(await ended, { how, bytes: answer }, reason);
    assert.deepEqual([bench.refused, bench.passed], [[reason], []]);
    bench.checkEmpty();
  }
});

test('a FIN or a reset before the hello is whole leaves nothing behind', async (t) => {
  for (const bytes of [Buffer.alloc(0), NAMED.subarray(0, -1)]) {
    const bench = new Bench();
    const theirs = await visit(t, bench);
    const ended = endOf(theirs);
    theirs.end(bytes);
    assert.equal((await ended).how, 'ECONNRESET');
    assert.deepEqual(bench.refused, ['no-hello']);
    bench.checkEmpty();
  }
  const bench = new Bench();
  const theirs = await visit(t, bench);
  theirs.write(NAMED.subarray(0, -1), () => theirs.resetAndDestroy());
  await until('it is forgotten', () => bench.front.connectionsCount === 0);
  assert.deepEqual(bench.refused, []);
  bench.checkEmpty();
});

test('half a hello is cut when its time is over, however many bytes still come', async (t) => {
  const bench = new Bench();
  const silent = await visit(t, bench);
  const slow = await visit(t, bench);
  const ends = [endOf(silent), endOf(slow)];
  silent.write(NAMED.subarray(0, 10));
  bench.sweepAfter(HELLO_TIMEOUT_MS / 2);
  slow.write(NAMED.subarray(0, 10));
  bench.sweepAfter(HELLO_TIMEOUT_MS / 2 - 1);
  assert.equal(bench.front.connectionsCount, 2);
  bench.sweepAfter(1);
  for (const { how, bytes } of await Promise.all(ends)) {
    assert.deepEqual([how, bytes.length], ['ECONNRESET', 0]);
  }
  assert.deepEqual(bench.refused, ['no-hello', 'no-hello']);
  bench.checkEmpty();
});

test('those that wait count as visitors, in all and by address', async (t) => {
  const bench = new Bench(undefined, 2);
  await visit(t, bench);
  await visit(t, bench);
  assert.equal(bench.ledger.count, 2);
  assert.equal((await endOf(await visit(t, bench))).how, 'ECONNRESET');
  assert.deepEqual([bench.front.connectionsCount, bench.refused], [2, []]);
  bench.sweepAfter(HELLO_TIMEOUT_MS);
  bench.checkEmpty();
  const crowd = new Bench();
  for (let visitor = 0; visitor < 6; visitor += 1) await visit(t, crowd);
  assert.deepEqual([crowd.ledger.count, crowd.front.connectionsCount], [5, 5], '5 of an address');
});

test('10,000 names that nobody serves leave nothing behind', async (t) => {
  const bench = new Bench();
  // Without 10,000 ports: each name as bytes that came already, on a socket that takes no events.
  const { ours } = await createSocketPair(t);
  const fake = Object.assign(Object.create(ours), {
    ...{ on: () => fake, off: () => fake, resume: () => fake, pause: () => fake },
    end: () => fake,
  }) as Socket;
  for (let index = 0; index < 10_000; index += 1) {
    const first = hello({ extensions: [serverName(`x${index}.example.com`)] });
    bench.front.accept(fake, { first });
  }
  assert.equal(bench.refused.length, 10_000);
  assert.deepEqual([...new Set(bench.refused)], ['unknown-name']);
  assert.ok(bench.log.lines.every((line) => !JSON.stringify(line).includes('example')));
  bench.checkEmpty();
});

// --- termination: what a front hands on is as good as a new connection --------------------------

interface Secure {
  readonly bench: Bench;
  readonly hellos: ClientHello[];
  readonly port: number;
}

/** A front before Node's own TLS server, which answers with the name and the protocol. */
async function startSecure(t: TestContext): Promise<Secure> {
  const hellos: ClientHello[] = [];
  const tls = createServer({
    ...{ cert: UPSTREAM_A.cert, key: UPSTREAM_A.key, ALPNProtocols: ['http/1.1'] },
  });
  tls.on('secureConnection', (socket: TLSSocket & { servername?: string }) => {
    socket.on('error', () => {
      // The test looks at its own end.
    });
    socket.write(`${socket.servername} ${socket.alpnProtocol} `);
    socket.pipe(socket);
  });
  const bench = new Bench((socket, said, { first }) => {
    hellos.push(said);
    if (first !== undefined) socket.unshift(first);
    socket.allowHalfOpen = false;
    tls.emit('connection', socket);
    return true;
  }, 100);
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    bench.front.accept(socket),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const { port } = server.address() as { port: number };
  return { bench, hellos, port };
}

async function talk(t: TestContext, options: ConnectionOptions): Promise<string> {
  const socket = connect({ ca: UPSTREAM_A.cert, servername: UPSTREAM_A.name, ...options });
  undoAfter(t, () => {
    socket.destroy();
  });
  let got = '';
  socket.on('data', (piece: Buffer) => {
    got += piece.toString();
  });
  socket.end('bye');
  await within(WAIT_MS, 'the end', once(socket, 'close'));
  return got;
}

test("Node's TLS takes a socket of which the hello was read, in every version", async (t) => {
  const { bench, hellos, port } = await startSecure(t);
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only = { minVersion: version, maxVersion: version };
    const answer = await talk(t, { port, ...only, ALPNProtocols: ['h2', 'http/1.1'] });
    assert.equal(answer, `${UPSTREAM_A.name} http/1.1 bye`);
  }
  assert.deepEqual(hellos[1], {
    ...{ kind: 'hello', serverName: UPSTREAM_A.name, protocols: ['h2', 'http/1.1'] },
  });
  bench.checkEmpty();
});

test("Node's TLS takes it also when every byte came by itself, and a session again", async (t) => {
  const { port } = await startSecure(t);
  const slow = createTcpServer({ allowHalfOpen: true }, (socket) => {
    const inner = connectPlain(port);
    socket.on('error', () => inner.destroy());
    inner.on('error', () => socket.destroy());
    inner.pipe(socket);
    let queue = Promise.resolve();
    socket.on('data', (piece: Buffer) => {
      queue = queue.then(() => dribble(inner, piece));
    });
    socket.on('end', () => {
      queue = queue.then(() => void inner.end());
    });
  });
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  undoAfter(t, () => {
    slow.close();
  });
  const { port: slowPort } = slow.address() as { port: number };
  assert.equal(await talk(t, { port: slowPort }), `${UPSTREAM_A.name} false bye`);
  const first = connect({ port, ca: UPSTREAM_A.cert, servername: UPSTREAM_A.name });
  const [session] = (await within(WAIT_MS, 'a session', once(first, 'session'))) as [Buffer];
  first.destroy();
  assert.equal(await talk(t, { port, session }), `${UPSTREAM_A.name} false bye`);
});

test('what real clients send is passed or terminated by the same reading', async (t) => {
  for (const { name, bytes, serverName: to, protocols } of CAPTURED_HELLOS) {
    const hellos: ClientHello[] = [];
    const bench = new Bench((socket, said) => {
      hellos.push(said);
      socket.destroy();
      return true;
    });
    const theirs = await visit(t, bench);
    theirs.write(bytes);
    await until(name, () => hellos.length === 1);
    assert.deepEqual(hellos, [{ kind: 'hello', serverName: to, protocols }], name);
    bench.checkEmpty();
  }
});

function connectPlain(port: number): Socket {
  return createConnection({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
}

test('an address takes of its rate here, and whoever takes the visitor over is told', async (t) => {
  const rated: (boolean | undefined)[] = [];
  for (const [counted, isRated] of [
    ['192.0.2.1', true],
    ['', false],
  ] as const) {
    const limits = { visitorConnectionsMax: 10, connectionsPerAddressMax: 0 };
    const ledger = new VisitorLedger({ ...limits, addressConnectionsPerSecondMax: 1 });
    const front = new TlsFront({
      ...{ ledger, clock: new FakeClock(), log: new LogLines('shard').log },
      ...{ matchServerName: () => `tls:${PASSED}`, countedAs: () => counted },
      pass: (_tunnel, socket, arrival) => {
        rated.push(arrival.isRated);
        socket.destroy();
      },
      onRefused: () => assert.fail('nobody is refused'),
      terminator: { accept: () => false, hasExactly: () => false },
    });
    const first = await createSocketPair(t);
    front.accept(first.ours, { first: NAMED });
    assert.deepEqual(rated.splice(0), [isRated]);
    const second = await createSocketPair(t);
    front.accept(second.ours, { first: NAMED });
    assert.deepEqual(
      rated.splice(0),
      isRated ? [] : [false],
      'a second is cut, or is nobody alone',
    );
  }
});
