// Goal: no visitor ever sees another's bytes. Method: 40 visitors ask 10,000 times over connections
// that are used again, pipelined and given up amid everything, for six hosts of two clients, one of
// which loses its links twice. Every body is made of its visitor's and request's mark, both ways.

import assert from 'node:assert/strict';
import type http from 'node:http';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { startRelay } from '../support/cut-relay.ts';
import { within } from '../support/deadline.ts';
import { randomSize, seededRandom } from '../support/digest.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { RawVisitor } from '../support/raw-visitor.ts';
import { startHttp } from '../support/upstream.ts';

const SEED = Number(process.env.SLUICEWAY_SEED ?? Math.floor(Math.random() * 2 ** 31));
const REQUESTS = Number(process.env.SLUICEWAY_MARK_REQUESTS ?? 10_000);
const VISITORS = 40;
const PIPELINED_MAX = 4;
const BODY_BYTES_MAX = 60_000;
const RUN_MS = 120_000;
/** Faults are many; of what was asked while a client was there, so many must come through. */
const WHOLE_LEAST = 0.5;
const HOSTS = [1, 2, 3, 4, 5, 6].map((at) => `host${at}.example`);
/** What an upstream does, by what a request asks for; the last three are faults. */
const MODES = [
  'length',
  'chunked',
  'close',
  'early',
  'slow',
  'reset',
  'partial',
  'silent',
] as const;
type Mode = (typeof MODES)[number];
/** How often each is asked for, in per cent. */
const SHARES: Readonly<Record<Mode, number>> = {
  ...{ length: 46, chunked: 27, close: 10, early: 4, slow: 9 },
  ...{ reset: 1, partial: 2, silent: 1 },
};

type Random = () => number;

interface Ask {
  readonly mark: string;
  readonly method: 'GET' | 'POST' | 'HEAD';
  readonly mode: Mode;
  readonly host: string;
  readonly sentBytes: number;
  readonly wantedBytes: number;
  readonly isChunked: boolean;
}

/** So many bytes of nothing but the mark. */
function marked(mark: string, bytes: number): string {
  return mark.repeat(Math.ceil(bytes / mark.length)).slice(0, bytes);
}

/** An upstream answers with the mark of the request, and tells what it got of anybody else's. */
function serve(strays: string[]) {
  return (request: http.IncomingMessage, response: http.ServerResponse): void => {
    const url = new URL(request.url ?? '/', 'http://x');
    const mark = url.searchParams.get('mark') ?? '';
    const mode = url.searchParams.get('mode') as Mode;
    const body = marked(mark, Number(url.searchParams.get('bytes')));
    let got = '';
    const check = (): void => {
      if (got !== marked(mark, got.length)) strays.push(`${mark} sent ${got.slice(0, 200)}`);
    };
    request.setEncoding('latin1').on('data', (piece: string) => {
      got += piece;
    });
    request.on('error', check);
    request.on('end', () => {
      check();
      if (mode !== 'early') answer(response, mode, body);
    });
    if (mode === 'early') answer(response, mode, body);
  };
}

function answer(response: http.ServerResponse, mode: Mode, body: string): void {
  const middle = Math.floor(body.length / 2);
  if (mode === 'reset') {
    response.socket?.resetAndDestroy();
  } else if (mode === 'silent') {
    response.socket?.destroy();
  } else if (mode === 'partial') {
    response.writeHead(200, { 'Content-Length': body.length + 1 });
    response.write(body.slice(0, middle), () => response.socket?.resetAndDestroy());
  } else if (mode === 'slow') {
    response.writeEarlyHints({ link: '</x>; rel=preload' });
    response.write(body.slice(0, middle), () =>
      setImmediate(() => response.end(body.slice(middle))),
    );
  } else if (mode === 'chunked') {
    response.write(body.slice(0, middle));
    response.end(body.slice(middle));
  } else {
    if (mode === 'close') response.setHeader('Connection', 'close');
    response.setHeader('Content-Length', body.length);
    response.end(body);
  }
}

function chooseMode(random: Random): Mode {
  let left = random() * 100;
  for (const mode of MODES) {
    left -= SHARES[mode];
    if (left < 0) return mode;
  }
  return 'length';
}

function createAsk(random: Random, mark: string): Ask {
  const draw = random();
  const method = draw < 0.55 ? 'GET' : draw < 0.92 ? 'POST' : 'HEAD';
  return {
    ...{ mark, method, mode: chooseMode(random) },
    host: HOSTS[Math.floor(random() * HOSTS.length)] ?? '',
    sentBytes: method === 'POST' ? randomSize(random, BODY_BYTES_MAX) : 0,
    wantedBytes: randomSize(random, BODY_BYTES_MAX),
    isChunked: random() < 0.5,
  };
}

function bytesOf({ mark, method, mode, host, sentBytes, wantedBytes, isChunked }: Ask): Buffer {
  const target = `/?mark=${encodeURIComponent(mark)}&mode=${mode}&bytes=${wantedBytes}`;
  const body = marked(mark, sentBytes);
  const first = `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n`;
  if (method !== 'POST') return Buffer.from(`${first}\r\n`);
  if (!isChunked) return Buffer.from(`${first}Content-Length: ${sentBytes}\r\n\r\n${body}`);
  const middle = Math.floor(sentBytes / 2);
  const chunks = [body.slice(0, middle), body.slice(middle), '']
    .filter((chunk, at) => chunk !== '' || at === 2)
    .map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`);
  return Buffer.from(`${first}Transfer-Encoding: chunked\r\n\r\n${chunks.join('')}`);
}

/** Turns of the event loop between two deeds of a visitor: from none to some milliseconds. */
const TURNS_MAX = 40;

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** How a visitor treats one lot of requests. */
const MANNERS = [
  ...(['whole', 'whole', 'whole', 'whole', 'whole', 'slow', 'slow', 'slow'] as const),
  ...(['leaves', 'resets', 'half'] as const),
];

interface Tally {
  /** Of lots that met a client: how many are asked while one is away is a matter of speed. */
  asked: number;
  away: number;
  whole: number;
  refused: number;
  lost: number;
}

/** One connection: some lots of pipelined requests, until it ends. */
async function visit(
  port: number,
  random: Random,
  marks: () => string,
  tally: Tally,
): Promise<void> {
  const visitor = await RawVisitor.connect(port);
  try {
    for (let lots = 1 + Math.floor(random() * 5); lots > 0 && visitor.state === 'open'; lots -= 1) {
      visitor.forget();
      const count = 1 + Math.floor(random() * PIPELINED_MAX);
      const asks = Array.from({ length: count }, () => createAsk(random, marks()));
      const manner = MANNERS[Math.floor(random() * MANNERS.length)] ?? 'whole';
      await act(visitor, asks, { manner, random });
      settle(visitor, asks, tally);
      if (manner === 'leaves' || manner === 'resets') return;
    }
  } finally {
    visitor.destroy();
  }
}

interface Acting {
  readonly manner: (typeof MANNERS)[number];
  readonly random: Random;
}

async function act(visitor: RawVisitor, asks: readonly Ask[], acting: Acting): Promise<void> {
  const { manner, random } = acting;
  const methods = asks.map(({ method }) => method);
  const bytes = Buffer.concat(asks.map(bytesOf));
  const cut = Math.floor(random() * bytes.length);
  if (manner === 'whole') {
    visitor.send(bytes);
  } else if (manner === 'slow') {
    visitor.send(bytes.subarray(0, cut));
    await turns(1 + Math.floor(random() * TURNS_MAX));
    visitor.send(bytes.subarray(cut));
  } else {
    // Amid a head or a body, or while answers are under way.
    visitor.send(manner === 'half' ? bytes : bytes.subarray(0, cut));
    if (manner === 'half') visitor.end();
    else await turns(Math.floor(random() * TURNS_MAX));
    if (manner === 'resets') visitor.reset();
    if (manner !== 'half') return;
  }
  await visitor.answersCount(asks.length, methods);
}

/** Whatever came must be made of the marks of what was asked, in order. */
function settle(visitor: RawVisitor, asks: readonly Ask[], tally: Tally): void {
  const methods = asks.map(({ method }) => method);
  const answers = visitor.answers(methods);
  if (answers.some(({ status }) => status === 503)) tally.away += asks.length;
  else tally.asked += asks.length;
  for (const [index, ask] of asks.entries()) {
    const got = answers[index];
    if (got === undefined) {
      tally.lost += 1;
    } else if (got.status === 200) {
      const wanted = ask.method === 'HEAD' ? '' : marked(ask.mark, ask.wantedBytes);
      assert.ok(got.body === wanted, `seed ${SEED}: ${ask.mark} got ${got.body.slice(0, 200)}`);
      tally.whole += 1;
    } else {
      assert.ok([400, 502, 503, 504].includes(got.status), `seed ${SEED}: ${got.head}`);
      assert.match(got.body, ask.method === 'HEAD' ? /^$/u : /^<!doctype html>/u);
      tally.refused += 1;
    }
  }
  // Of answers that are not whole, too.
  const own = new Set(asks.map(({ mark }) => mark));
  for (const [mark] of visitor.text.matchAll(/<visitor\d+ request\d+>/gu)) {
    assert.ok(own.has(mark), `seed ${SEED}: ${mark} reached whoever asked for ${[...own].join()}`);
  }
}

async function startAll(
  t: TestContext,
  strays: string[],
): Promise<{ node: LocalNode; cut(): void }> {
  const ports: number[] = [];
  for (let at = 0; at < 3; at += 1) ports.push(await startHttp(t, serve(strays)));
  const node = await startNode(t, { complains: true });
  const relay = await startRelay(t, node.controlPort);
  const upstream = HOSTS.map((host, at) => `${host}=http://127.0.0.1:${ports[at % 3]}`);
  const flags = { links: '2', 'drain-timeout': '1s' };
  await startLocalClient(t, node, {
    flags: { ...flags, upstream: upstream.slice(0, 4) },
    ...{ port: relay.port, complains: true },
  });
  await startLocalClient(t, node, {
    flags: { ...flags, upstream: upstream.slice(3) },
    complains: true,
  });
  return { node, cut: () => relay.cut() };
}

test('40 visitors see nobody else in 10,000 requests with faults', async (t) => {
  t.diagnostic(`SLUICEWAY_SEED=${SEED}`);
  const strays: string[] = [];
  const { node, cut } = await startAll(t, strays);
  const tally: Tally = { asked: 0, away: 0, whole: 0, refused: 0, lost: 0 };
  const cuts = [0.35, 0.7].map((share) => share * REQUESTS);
  const isOver = new AbortController();
  undoAfter(t, () => isOver.abort());
  const visitAll = async (_: unknown, visitor: number): Promise<void> => {
    const random = seededRandom(SEED + visitor);
    let requests = 0;
    const marks = (): string => {
      requests += 1;
      return `<visitor${visitor} request${requests}>`;
    };
    while (tally.asked < REQUESTS && !isOver.signal.aborted) {
      if (tally.asked >= (cuts[0] ?? Number.POSITIVE_INFINITY)) {
        cuts.shift();
        cut();
      }
      await visit(node.httpPort, random, marks, tally);
    }
  };
  const all = Promise.all(Array.from({ length: VISITORS }, visitAll));
  await within(RUN_MS, 'all visitors are done', all);
  const { asked, away, whole, refused, lost } = tally;
  t.diagnostic(`${asked} asked, ${away} while a client was away`);
  t.diagnostic(`${whole} whole, ${refused} refused, ${lost} lost to faults`);
  assert.deepEqual(strays, [], 'an upstream got what was not its request');
  assert.equal(cuts.length, 0, 'both cuts were made');
  assert.ok(whole >= asked * WHOLE_LEAST, `only ${whole} of ${asked} came through`);
});
