// Goal: a SOCKS connection whose OPEN crossed a GOAWAY is opened once more, on another link, with
// nothing said to it in between; who is refused in words can read them. Method: real sockets,
// sessions in memory whose peers the test plays.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { encodeSocksMethod, encodeSocksReply, SOCKS_REPLY } from '../../src/edge/socks5.ts';
import { type ForwardLink, LocalIngress } from '../../src/shard/local-ingress.ts';
import { Meters } from '../../src/shard/meters.ts';
import { SocksFront } from '../../src/shard/socks-front.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer, REQUEST, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Peer } from '../support/http-edge.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { createSocketPair, eventOf } from './socket-pair.ts';

const WAIT_MS = 5000;
const LIMITS = {
  tcpIdleTimeoutMs: 1_000,
  halfCloseTimeoutMs: 1_000,
  upstreamConnectTimeoutMs: 1_000,
};
/** A greeting, and CONNECT to 192.0.2.1:80 with what the target is told. */
const ASKS = Buffer.concat([
  Buffer.from([5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80]),
  Buffer.from('hello'),
]);
const GREETED = encodeSocksMethod(true).toString('latin1');
const OPENED = encodeSocksReply(SOCKS_REPLY.OK).toString('latin1');
const FAILED = encodeSocksReply(SOCKS_REPLY.FAILED).toString('latin1');

/** A link whose server the test plays. */
class Server {
  readonly peer = new RawPeer();
  /** Ends the n-th stream unanswered. */
  refuse(code: ErrorCode, nth = 0): void {
    this.peer.deliver(valueFrame(FRAME.RST, this.#id(nth), ERRORS[code].wire));
  }

  answer(nth = 0): void {
    this.peer.deliver(valueFrame(FRAME.OPENED, this.#id(nth), 0));
  }

  get link(): ForwardLink {
    return {
      ...{ server: 0, forwarding: 'open', streamsCount: 0 },
      openForward: (_target, _from, sink) => this.peer.session.open(REQUEST, sink),
    };
  }

  get said(): string {
    return this.peer
      .written(FRAME.DATA)
      .map(({ content }) => String(content))
      .join('');
  }

  /** Waits until it was asked for so many streams. */
  async asked(count: number): Promise<void> {
    await eventually(WAIT_MS, `${count} streams asked for`, async () =>
      assert.equal(this.peer.written(FRAME.OPEN).length, count),
    );
  }

  #id(nth: number): number {
    return this.peer.written(FRAME.OPEN)[nth]?.stream ?? assert.fail('not opened');
  }
}

async function connect(t: TestContext, links: ForwardLink[], asks = ASKS) {
  const meters = new Meters();
  undoAfter(t, () => meters.close());
  const clock = new FakeClock();
  const ingress = new LocalIngress({
    ...{ limits: LIMITS, links: () => links, log: SILENT_LOG, clock, meters },
  });
  const { ours, theirs } = await createSocketPair(t);
  new SocksFront({ ingress, clock }).accept(ours);
  const asking = new Peer(theirs).send(asks);
  return { ingress, clock, ours, asking };
}

test('a connection that crosses a GOAWAY is opened on another link', async (t) => {
  const [leaving, other] = [new Server(), new Server()];
  const links = [leaving.link];
  const { ours, asking } = await connect(t, links);
  await leaving.asked(1);
  links.splice(0, 1, other.link);
  leaving.refuse('SLW_LINK_DRAINING');
  await other.asked(1);
  assert.equal(leaving.said, '');
  other.answer();
  await asking.read(`${GREETED}${OPENED}`);
  assert.equal(other.said, 'hello');
  // Of the dials none listens any more: only the relay is told of the end.
  assert.equal(ours.listenerCount('error'), 1);
});

test('or waits for one, and hears that there is none when it has waited', async (t) => {
  for (const ending of ['comes', 'does not'] as const) {
    const [leaving, other] = [new Server(), new Server()];
    const links = [leaving.link];
    const { ingress, clock, asking } = await connect(t, links);
    await leaving.asked(1);
    links.length = 0;
    leaving.refuse('SLW_LINK_DRAINING');
    assert.equal(ingress.connectionsCount, 1);
    if (ending === 'comes') {
      links.push(other.link);
      ingress.admit();
      await other.asked(1);
      other.answer();
      await asking.read(`${GREETED}${OPENED}`);
      assert.equal(other.said, 'hello');
    } else {
      clock.advance(5000);
      ingress.sweep(clock.nowMs());
      assert.equal(await asking.readEnd(), `${GREETED}${FAILED}`);
    }
  }
});

test('but once, and for no other reason', async (t) => {
  for (const codes of [['SLW_LINK_DRAINING', 'SLW_LINK_DRAINING'], ['SLW_STREAM_LIMIT']] as const) {
    const server = new Server();
    const { asking } = await connect(t, [server.link]);
    for (const [nth, code] of codes.entries()) {
      await server.asked(nth + 1);
      server.refuse(code, nth);
    }
    assert.equal(await asking.readEnd(), `${GREETED}${FAILED}`);
    await server.asked(codes.length);
  }
});

test('who goes while it waits for another link is forgotten', async (t) => {
  const server = new Server();
  const links = [server.link];
  const { ingress, ours } = await connect(t, links);
  await server.asked(1);
  links.length = 0;
  server.refuse('SLW_LINK_DRAINING');
  assert.equal(ingress.connectionsCount, 1);
  ours.destroy();
  await eventually(WAIT_MS, 'it is gone', async () => assert.equal(ingress.connectionsCount, 0));
});

for (const [what, asks, answer] of [
  ['a greeting without a method of ours', [5, 1, 2], '05ff'],
  ['a greeting without any method', [5, 0], '05ff'],
  ['a greeting with a request behind it', [5, 1, 2, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80], '05ff'],
  ['another command', [5, 1, 0, 5, 2, 0, 1, 192, 0, 2, 1, 0, 80], '050005070001000000000000'],
  ['another kind of address', [5, 1, 0, 5, 1, 0, 9, 192], '050005080001000000000000'],
  ['port 0', [5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 0], '050005010001000000000000'],
  ['a request of another version', [5, 1, 0, 4, 1, 0, 80, 1], '050005010001000000000000'],
] as const) {
  test(`${what} is answered, and the connection ends`, async (t) => {
    const { ours, asking } = await connect(t, [], Buffer.from(asks));
    const closed = eventOf(ours, 'close');
    assert.equal(Buffer.from(await asking.readEnd(), 'latin1').toString('hex'), answer);
    assert.equal(asking.ending, 'fin');
    await closed;
  });
}

test('what is not SOCKS 5 is cut without an answer', async (t) => {
  const { asking } = await connect(t, [], Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  assert.equal(await asking.readEnd(), '');
  assert.equal(asking.ending, 'cut');
});
