// The links of a shard, over real WebSockets: keys, what all were told last, and their end.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { systemClock } from '../../src/base/clock.ts';
import { ERRORS, type ErrorCode, SluicewayError } from '../../src/base/errors.ts';
import { Bridge, type Serve } from '../../src/bridge/calls.ts';
import type {
  ExitControlMethods,
  ExitShardMethods,
  LinkPort,
} from '../../src/bridge/exit-messages.ts';
import { WsLink } from '../../src/link/ws-link.ts';
import type { Session } from '../../src/mux/session.ts';
import { type Stream, UNSET_SINK } from '../../src/mux/stream.ts';
import { ExitLinks } from '../../src/shard/exit-links.ts';
import { Forwards } from '../../src/shard/forwards.ts';
import { Meters } from '../../src/shard/meters.ts';
import { createSession } from '../../src/shard/session-settings.ts';
import { TokenBudgets } from '../../src/shard/token-budgets.ts';
import { FRAME, STREAM_ID_MAX } from '../../src/wire/frame.ts';
import {
  decodeRegistered,
  decodeWelcome,
  encodeHello,
  encodeRegister,
  encodeUnregister,
} from '../../src/wire/hello.ts';
import { CLIENT_TUNNELS_MAX, REGISTER_TUNNELS_MAX } from '../../src/wire/limits.ts';
import { createUpgradedPair } from '../link/ws-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { shardSettings } from './settings.ts';

const VISIT = { link: '0-1', tunnel: 'a.example', address: '127.0.0.1', port: 1 };
const WAIT_MS = 10_000;
/** What a client refuses has come to it; what its link refuses has not. */
const CAME = 'SLW_STREAM_REFUSED';
/** The client keeps a stream of this tunnel. */
const KEPT = 'kept.example';

/** Of what another socket brings: `check` holds before long. */
function soon(check: () => void): Promise<void> {
  return eventually(WAIT_MS, 'what links do', async () => check());
}

interface Scene {
  readonly links: ExitLinks;
  /** What links were told to do without, and what ended them, in order. */
  readonly log: string[];
  /** Until then control has not answered a HELLO; with an error it fails. */
  readonly answer: (error?: SluicewayError) => void;
  /** A client that has said HELLO, or nothing; what it hears. */
  readonly join: (says?: 'hello' | 'nothing', port?: LinkPort) => Promise<string[]>;
  /** The clients' ends. */
  readonly ends: readonly WsLink[];
  readonly sessions: readonly Session[];
  /** The first answer to a REGISTER: tunnels with the code of each. */
  readonly registered: Promise<(readonly [name: string, code: string])[]>;
}

/** How control answers a REGISTER. */
type Register = Serve<ExitControlMethods>['register'];

const acceptAll: Register = ({ tunnels }) =>
  tunnels.map(({ name }) => ({ name, code: '', reason: '' }));

/** Where the ids of the first link begin: its visitors', and its client's own. */
interface FirstIds {
  readonly visitors?: number;
  readonly client?: number;
}

function startScene(
  t: TestContext,
  firstIds: FirstIds = {},
  onRegister: Register = acceptAll,
): Scene {
  const registered = Promise.withResolvers<(readonly [name: string, code: string])[]>();
  const log: string[] = [];
  const ends: WsLink[] = [];
  const sessions: Session[] = [];
  const asked = Promise.withResolvers<SluicewayError | undefined>();
  const { port1, port2 } = new MessageChannel();
  const hello = { node: 'test', shards: 1, grant: {}, spreadMs: 0 };
  const control = {
    hello: () => asked.promise.then((error) => (error ? Promise.reject(error) : hello)),
    register: onRegister,
    unregister: () => undefined,
    linkGone: () => undefined,
    linkLeaving: ({ link }: { link: string }) => log.push(`control: ${link} leaves`),
    giveUpRegister: ({ link, call }: { link: string; call: number }) =>
      log.push(`control: ${call} of ${link} is given up`),
  } as unknown as Serve<ExitControlMethods>;
  const onBug = (error: unknown): void => assert.fail(String(error));
  const there = new Bridge<ExitControlMethods, ExitShardMethods>(port2, control, onBug);
  const none = {} as unknown as Serve<ExitShardMethods>;
  const bridge = new Bridge<ExitShardMethods, ExitControlMethods>(port1, none, onBug);
  const meters = new Meters();
  undoAfter(t, () => {
    bridge.close();
    there.close();
    meters.close();
  });
  // The clock is moved on by a minute, in which nobody speaks.
  const settings = shardSettings({ linkDeadAfterMs: 600_000 });
  const shared = { clock: systemClock, log: SILENT_LOG };
  const links = new ExitLinks({
    ...shared,
    ...{ shard: 0, settings, bridge },
    forwards: new Forwards({ ...shared, limits: settings, rules: [], meters, onDenied: () => {} }),
    budgets: new TokenBudgets({ clock: systemClock, askSlots: () => {} }),
    onLeaving: (key) => log.push(`${key} leaves`),
    onIdle: () => log.push('idle'),
    onEnd: (code) => log.push(code),
    ...(firstIds.visitors === undefined ? {} : { firstId: firstIds.visitors }),
  });
  const join = async (says = 'hello', port?: LinkPort): Promise<string[]> => {
    const heard: string[] = [];
    const { client, server } = await createUpgradedPair(t);
    links.add(server, { remoteAddress: '127.0.0.1', ...(port === undefined ? {} : { port }) });
    const link = new WsLink({ ...client, mask: 'zero' });
    ends.push(link);
    const session = createSession({
      ...{ settings, opens: 'odd', link },
      firstId: sessions.length === 0 ? firstIds.client : undefined,
      events: {
        onControl(type, body) {
          if (type === FRAME.REGISTERED) {
            const { results } = decodeRegistered(body);
            return registered.resolve(results.map(({ name, code }) => [name, code]));
          }
          assert.equal(type, FRAME.WELCOME);
          heard.push('welcome');
          session.activate(decodeWelcome(body).limits);
        },
        onOpen: (stream, { tunnel }) => {
          stream.sink = { ...UNSET_SINK, onReset() {} };
          if (tunnel === KEPT) stream.accept();
          else stream.reset(CAME);
        },
        onGoAway: (code) => heard.push(code),
        onIdle() {},
        onEnd: (code: ErrorCode) => heard.push(`ended: ${code}`),
      },
    });
    sessions.push(session);
    session.start();
    if (says === 'hello') sayHello(session);
    return heard;
  };
  return {
    ...{ links, log, join, ends, sessions, registered: registered.promise },
    answer: (error) => asked.resolve(error),
  };
}

function sayHello(session: Session): void {
  const limits = session.announce();
  const names = { client: 'c', instance: 'i', agent: 'test' };
  session.sendControl(FRAME.HELLO, encodeHello({ versions: [1], features: [], ...names, limits }));
}

test('what all links were told is told to those that were being greeted, until they may stay', async (t) => {
  const { links, join, answer } = startScene(t);
  const early = await join();
  links.leave('SLW_LINK_DRAINING');
  answer();
  await soon(() => assert.deepEqual(early, ['welcome', 'SLW_LINK_DRAINING']));
  links.stay();
  const late = await join();
  await soon(() => assert.deepEqual(late, ['welcome']));
  await soon(() => assert.equal(links.canOpen('0-2'), true));
  assert.equal(links.canOpen('0-1'), false);
});

test('what links of one port are told is not for those of the other, in greeting or not', async (t) => {
  const { links, join, answer } = startScene(t);
  answer();
  const heard = [await join('hello', 'visitors'), await join('hello', 'control')];
  await soon(() => assert.equal(links.canOpen('0-1') && links.canOpen('0-2'), true));
  links.leave('SLW_LINK_MOVED', ['control']);
  heard.push(await join('hello', 'visitors'), await join('hello', 'control'));
  const moved = ['welcome', 'SLW_LINK_MOVED'];
  await soon(() => assert.deepEqual(heard, [['welcome'], moved, ['welcome'], moved]));
  links.leave('SLW_LINK_MOVED', ['visitors']);
  heard.push(await join('hello', 'visitors'));
  await soon(() => assert.deepEqual(heard, Array(5).fill(moved)));
});

test('a client that says nothing has ten seconds, whatever the others do', async (t) => {
  const { links, join, answer } = startScene(t);
  answer();
  const silent = await join('nothing');
  const greeted = await join();
  await soon(() => assert.equal(links.canOpen('0-2'), true));
  const nowMs = systemClock.nowMs();
  links.tick(nowMs + 9000);
  links.tick(nowMs + 10_000);
  const end = ['SLW_LINK_HELLO_TIMEOUT', 'ended: SLW_LINK_HELLO_TIMEOUT'];
  await soon(() => assert.deepEqual(silent, end));
  assert.deepEqual(greeted, ['welcome']);
  assert.deepEqual(
    links.list().map(({ key }) => key),
    ['0-2'],
  );
});

test('a stream is opened on the link that is named, and counted there', async (t) => {
  const { links, join, answer } = startScene(t);
  answer();
  await join();
  await join();
  await soon(() => assert.equal(links.canOpen('0-1') && links.canOpen('0-2'), true));
  assert.equal(links.open({ ...VISIT, link: '0-3' }, UNSET_SINK), 'SLW_STREAM_NO_LINK');
  const stream = links.open(VISIT, { ...UNSET_SINK, onReset() {} });
  assert.notEqual(typeof stream, 'string');
  const streams = links.list().map(({ key, meter }) => [key, meter.streams]);
  assert.deepEqual(streams, [
    ['0-1', 1],
    ['0-2', 0],
  ]);
  assert.equal(links.haveStreams, true);
  await soon(() => assert.equal(links.haveStreams, false));
});

test('a link that has ended is nobody’s route, and its key does not come back', async (t) => {
  const { links, log, join, answer } = startScene(t);
  answer();
  const heard = await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  links.close(['0-1', '0-9'], 'SLW_LINK_DRAINING');
  await soon(() => assert.deepEqual(links.list(), []));
  assert.deepEqual(log, ['0-1 leaves', 'SLW_LINK_DRAINING']);
  assert.equal(links.open(VISIT, UNSET_SINK), 'SLW_STREAM_NO_LINK');
  const end = ['SLW_LINK_DRAINING', 'ended: SLW_LINK_ENDED'];
  await soon(() => assert.deepEqual(heard, ['welcome', ...end]));
  await join();
  assert.deepEqual(
    links.list().map(({ key }) => key),
    ['0-2'],
  );
  links.closeAll('SLW_LINK_DRAINING');
  await soon(() => assert.deepEqual(links.list(), []));
});

test('a client may say that it leaves as often as it likes: routes are taken back once', async (t) => {
  const { links, log, join, ends, answer } = startScene(t);
  answer();
  await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  for (let times = 0; times < 1000; times += 1) {
    ends[0]?.writeValue(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_DRAINING.wire);
  }
  ends[0]?.close('SLW_LINK_DRAINING');
  await soon(() => assert.ok(log.includes('control: 0-1 leaves')));
  await soon(() => assert.deepEqual(links.list(), []));
  const leaves = log.filter((line) => line.endsWith('leaves')).sort();
  // The last is its end, of which control hears as `linkGone`.
  assert.deepEqual(leaves, ['0-1 leaves', '0-1 leaves', 'control: 0-1 leaves']);
});

/** Names of a client with as many tunnels as it may have, in runs of `size`. */
function* runsOf(size: number): Generator<string[], void> {
  for (let at = 0; at < CLIENT_TUNNELS_MAX; at += size) {
    const length = Math.min(size, CLIENT_TUNNELS_MAX - at);
    yield Array.from({ length }, (_, index) => `t${at + index}`);
  }
}

function register(link: WsLink | undefined, names: readonly string[]): void {
  const tunnels = names.map((name) => ({ name, label: name }));
  link?.writeBody(FRAME.REGISTER, 0, encodeRegister({ call: 1, tunnels }));
}

for (const size of [1, REGISTER_TUNNELS_MAX]) {
  test(`a client may withdraw and offer all of its tunnels at once, ${size} a message`, async (t) => {
    const { links, log, join, ends, answer } = startScene(t);
    answer();
    await join();
    await soon(() => assert.equal(links.canOpen('0-1'), true));
    links.tick(systemClock.nowMs());
    for (const names of runsOf(size)) register(ends[0], names);
    for (const names of runsOf(REGISTER_TUNNELS_MAX)) {
      ends[0]?.writeBody(FRAME.UNREGISTER, 0, encodeUnregister({ names }));
    }
    ends[0]?.close('SLW_LINK_DRAINING');
    await soon(() => assert.equal(log.at(-1), 'SLW_LINK_ENDED'));
  });
}

/** A link whose REGISTER control has been asked about, and after so long still thinks about. */
async function startAsking(t: TestContext, forMs: number) {
  const [asked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const scene = startScene(t, {}, async (body) => {
    asked.resolve();
    await released.promise;
    return acceptAll(body);
  });
  scene.answer();
  await scene.join();
  await soon(() => assert.equal(scene.links.canOpen('0-1'), true));
  // A call between threads has a timer.
  t.mock.timers.enable({ apis: ['setTimeout'] });
  register(scene.ends[0], ['tcp:2000', 'a.example']);
  await asked.promise;
  t.mock.timers.tick(forMs);
  t.mock.timers.reset();
  const registered = within(WAIT_MS, 'an answer', scene.registered);
  return { ...scene, registered, release: released.resolve };
}

test('control may wait for other shards before it answers a REGISTER', async (t) => {
  const { links, log, registered, release } = await startAsking(t, 50_000);
  release();
  assert.deepEqual(await registered, [
    ['tcp:2000', ''],
    ['a.example', ''],
  ]);
  assert.deepEqual([links.canOpen('0-1'), log], [true, []]);
});

test('a REGISTER that control does not answer is refused for now, and its link stays', async (t) => {
  const { links, log, registered } = await startAsking(t, 60_000);
  assert.deepEqual(await registered, [
    ['tcp:2000', 'SLW_CALL_TIMEOUT'],
    ['a.example', 'SLW_CALL_TIMEOUT'],
  ]);
  assert.equal(links.canOpen('0-1'), true);
  await soon(() => assert.deepEqual(log, ['control: 1 of 0-1 is given up']));
});

test('a client of which control did not hear in time is not told of too many links', async (t) => {
  const { join, answer } = startScene(t);
  const heard = await join();
  answer(new SluicewayError('SLW_CALL_TIMEOUT'));
  await soon(() => assert.deepEqual(heard, ['SLW_LINK_ENDED', 'ended: SLW_LINK_ENDED']));
});

test('a client that offers its tunnels without end loses its link', async (t) => {
  const { links, log, join, ends, answer } = startScene(t);
  answer();
  await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  for (let round = 0; round < 20; round += 1) {
    for (const names of runsOf(REGISTER_TUNNELS_MAX)) register(ends[0], names);
  }
  await soon(() => assert.equal(log.at(-1), 'SLW_WIRE_FLOOD'));
});

test('of a move that failed only those go that were told of it', async (t) => {
  const { links, join, answer } = startScene(t);
  answer();
  for (const port of ['control', 'visitors'] as const) await join('hello', port);
  await soon(() => assert.equal(links.canOpen('0-1') && links.canOpen('0-2'), true));
  links.leave('SLW_LINK_MOVED', ['control']);
  assert.deepEqual(
    links.stay().map(({ key }) => key),
    ['0-1'],
  );
});

test('links that were told of a move that failed go when their clients had time to come', async (t) => {
  const { links, log, join, answer } = startScene(t);
  answer();
  const heard = await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  links.leave('SLW_LINK_MOVED');
  for (const told of links.stay()) told.part('SLW_LINK_DRAINING');
  assert.deepEqual(links.stay(), [], 'told once');
  await join();
  await soon(() => assert.equal(links.canOpen('0-2'), true));
  const nowMs = systemClock.nowMs();
  links.tick(nowMs + 39_000);
  assert.deepEqual([links.canOpen('0-1'), log], [true, []]);
  for (const afterMs of [41_000, 42_000, 43_000]) links.tick(nowMs + afterMs);
  await soon(() => assert.equal(links.list().length, 1));
  assert.equal(links.canOpen('0-2'), true);
  const leaves = log.filter((line) => line.endsWith('leaves'));
  assert.deepEqual(leaves.sort(), ['0-1 leaves', '0-1 leaves', 'control: 0-1 leaves']);
  assert.deepEqual(heard.slice(0, 3), ['welcome', 'SLW_LINK_MOVED', 'SLW_LINK_DRAINING']);
});

/** Ids that the first link has left, more than are used before another link is there. */
const IDS_LEFT = 300;
/** More in all than that link has ids for. */
const VISITORS = 100;

/** Visitors of links by their keys, and how each stream ended. */
class Visitors {
  readonly ends: ErrorCode[] = [];
  readonly #links: ExitLinks;

  constructor(links: ExitLinks) {
    this.#links = links;
  }

  come(link: string, tunnel = VISIT.tunnel): Stream {
    const onReset = (code: ErrorCode) => this.ends.push(code);
    const sink = { ...UNSET_SINK, onOpened() {}, onReset };
    const stream = this.#links.open({ ...VISIT, link, tunnel }, sink);
    if (typeof stream === 'string') assert.fail(`refused: ${stream}`);
    return stream;
  }

  /** In a crowd; each comes to the client. */
  async crowd(link: string): Promise<void> {
    const before = this.ends.length;
    for (let count = 0; count < VISITORS; count += 1) this.come(link);
    await soon(() => assert.equal(this.ends.length, before + VISITORS));
    assert.deepEqual(new Set(this.ends), new Set([CAME]));
  }
}

for (const [whose, firstIds] of [
  ['visitors', { visitors: STREAM_ID_MAX - 1 - 2 * IDS_LEFT }],
  ['forwards', { client: STREAM_ID_MAX - 2 * IDS_LEFT }],
] as const) {
  test(`ids of ${whose} nearly spent: another link, then this one leaves unseen`, async (t) => {
    const { links, log, join, sessions, answer } = startScene(t, firstIds);
    answer();
    const heard = await join();
    await soon(() => assert.equal(links.canOpen('0-1'), true));
    const visitors = new Visitors(links);
    if (whose === 'forwards') {
      const sink = { ...UNSET_SINK, onReset: (code: ErrorCode) => log.push(`forward: ${code}`) };
      sessions[0]?.open({ ...VISIT, link: '' }, sink);
      await soon(() => assert.ok(log.includes('forward: SLW_STREAM_UNKNOWN_TUNNEL')));
    }
    const kept = visitors.come('0-1', KEPT);
    await visitors.crowd('0-1');
    const nowMs = systemClock.nowMs();
    links.tick(nowMs);
    await soon(() => assert.deepEqual(heard, ['welcome', 'SLW_LINK_MOVED']));
    // Its client has not come back yet, and it serves.
    links.tick(nowMs + 39_000);
    await visitors.crowd('0-1');
    await join();
    await soon(() => assert.equal(links.canOpen('0-2'), true));
    links.tick(nowMs + 41_000);
    assert.ok(log.includes('0-1 leaves'));
    // Other shards have not heard of that yet.
    visitors.come('0-1');
    await soon(() => assert.ok(log.includes('control: 0-1 leaves')));
    for (let crowd = 0; crowd < 2; crowd += 1) await visitors.crowd('0-2');
    links.tick(nowMs + 42_000);
    const left = ['welcome', 'SLW_LINK_MOVED', 'SLW_LINK_IDS_SPENT'];
    await soon(() => assert.deepEqual(heard, left));
    links.tick(nowMs + 43_000);
    assert.equal(links.list().length, 2, 'a stream lives on it');
    kept.reset('SLW_STREAM_CANCELLED');
    links.tick(nowMs + 44_000);
    await soon(() => assert.equal(links.list().length, 1));
    assert.deepEqual([links.canOpen('0-1'), links.canOpen('0-2')], [false, true]);
    assert.deepEqual(new Set(visitors.ends), new Set([CAME]));
    assert.ok(log.includes('SLW_LINK_IDS_SPENT'), 'closed by this side');
  });
}

test('ids that are gone before anybody looked: routes are taken back at the next look', async (t) => {
  const { links, log, join, answer } = startScene(t, { visitors: STREAM_ID_MAX - 1 });
  answer();
  const heard = await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  new Visitors(links).come('0-1');
  assert.equal(links.open(VISIT, UNSET_SINK), 'SLW_STREAM_NO_LINK');
  const nowMs = systemClock.nowMs();
  for (let second = 0; second < 2; second += 1) links.tick(nowMs + 1000 * second);
  await soon(() => assert.ok(log.includes('control: 0-1 leaves')));
  await soon(() => assert.equal(links.haveStreams, false));
  links.tick(nowMs + 3000);
  await soon(() => assert.deepEqual(links.list(), []));
  assert.ok(heard.includes('SLW_LINK_IDS_SPENT'));
});

test('a link that is to go goes on when the whole process is being replaced', async (t) => {
  const few = { visitors: STREAM_ID_MAX - 1 - 2 * IDS_LEFT };
  const { links, log, join, answer } = startScene(t, few);
  answer();
  await join();
  await soon(() => assert.equal(links.canOpen('0-1'), true));
  const nowMs = systemClock.nowMs();
  links.tick(nowMs);
  links.leave('SLW_LINK_MOVED');
  links.tick(nowMs + 41_000);
  await new Visitors(links).crowd('0-1');
  assert.deepEqual(log, [], 'nobody was told to do without');
});
