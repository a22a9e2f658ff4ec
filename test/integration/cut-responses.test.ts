// Goal: a response whose link dies is never complete, whatever frames it and wherever it dies.
// Method: upstreams that send a part of a response, up to all but its last byte, and then wait; the
// links of the client are reset amid them. Visitors are bytes, Node's http client and curl.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type net from 'node:net';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { startRelay } from '../support/cut-relay.ts';
import { within } from '../support/deadline.ts';
import { randomSize, seededRandom } from '../support/digest.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { findProgram, isCi } from '../support/programs.ts';
import { RequestReader } from '../support/raw-requests.ts';
import { RawVisitor } from '../support/raw-visitor.ts';
import { bodyOf, openGet, startTcp } from '../support/upstream.ts';

const HOST = 'cut.example';
const SEED = Number(process.env.SLUICEWAY_SEED ?? Math.floor(Math.random() * 2 ** 31));
const FRAMINGS = ['length', 'chunked', 'until-close'] as const;
type Framing = (typeof FRAMINGS)[number];
const BATCHES = 10;
/** Of each framing, at the same time. Times BATCHES: 100. */
const VISITORS = 10;
const BODY_BYTES_MAX = 512 * 1024;
const CHUNK_BYTES_MAX = 9000;
const END_MS = 10_000;
/** A transfer that was partial, a failure to receive. */
const CURL_CODES = new Set([18, 56]);

interface Wanted {
  readonly framing: Framing;
  readonly totalBytes: number;
  /** Of the body as it is framed. */
  readonly sentBytes: number;
}

function headOf({ framing, totalBytes }: Wanted): string {
  const ends = { length: `Content-Length: ${totalBytes}\r\n`, chunked: '', 'until-close': '' };
  const coding = framing === 'chunked' ? 'Transfer-Encoding: chunked\r\n' : '';
  return `HTTP/1.1 200 OK\r\n${ends[framing]}${coding}\r\n`;
}

function bodyBytes({ framing, totalBytes }: Wanted): Buffer {
  if (framing !== 'chunked') return Buffer.alloc(totalBytes, 'x');
  let text = '';
  for (let left = totalBytes; left > 0; left -= CHUNK_BYTES_MAX) {
    const bytes = Math.min(left, CHUNK_BYTES_MAX);
    text += `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`;
  }
  return Buffer.from(`${text}0\r\n\r\n`, 'latin1');
}

/** Every third stops just before the end: a byte, or somewhere in the last chunk's line. */
function plan(random: () => number, framing: Framing): Wanted {
  const totalBytes = randomSize(random, BODY_BYTES_MAX);
  const wanted = { framing, totalBytes, sentBytes: 0 };
  const framedBytes = bodyBytes(wanted).length;
  const isLate = random() < 1 / 3;
  const missing = 1 + Math.floor(random() * (isLate ? Math.min(5, framedBytes) : framedBytes));
  return { ...wanted, sentBytes: framing === 'until-close' ? framedBytes : framedBytes - missing };
}

function serve(socket: net.Socket): void {
  const reader = new RequestReader({
    onHead: () => {},
    onEnd: ({ target }) => {
      const [, framing, totalBytes, sentBytes] = target.split('/');
      const wanted = {
        framing: framing as Framing,
        totalBytes: Number(totalBytes),
        sentBytes: Number(sentBytes),
      };
      socket.write(headOf(wanted));
      socket.write(bodyBytes(wanted).subarray(0, wanted.sentBytes));
    },
    onFault: (fault) => assert.fail(fault),
  });
  socket.on('data', (piece: Buffer) => reader.push(piece));
}

interface Watch {
  /** Resolves when the head has come. */
  readonly hasHead: Promise<unknown>;
  /** Resolves to how it ended, 'complete' when it seems whole. */
  readonly ended: Promise<string>;
}

type Visit = (t: TestContext, port: number, target: string) => Promise<Watch>;

async function visitRaw(t: TestContext, port: number, target: string): Promise<Watch> {
  const visitor = await RawVisitor.connect(port);
  undoAfter(t, () => visitor.destroy());
  visitor.send(Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`));
  const watch = async (): Promise<string> => {
    await visitor.ended();
    return visitor.answers().length === 0 ? visitor.ending : 'complete';
  };
  return { hasHead: visitor.headed(), ended: watch() };
}

function visitNode(t: TestContext, port: number, target: string): Promise<Watch> {
  const response = openGet(t, { port, host: HOST, path: target });
  const read = async (): Promise<string> => {
    const message = await response;
    let fault = 'complete';
    // Node calls a body without a length complete also after a reset; its socket knows better.
    message.socket.on('error', (error: NodeJS.ErrnoException) => {
      fault = error.code ?? 'an error';
    });
    const closed = once(message.socket, 'close').catch(() => {});
    try {
      await bodyOf(message);
    } catch (error) {
      return message.complete ? 'complete' : String((error as NodeJS.ErrnoException).code);
    }
    await closed;
    return fault;
  };
  return Promise.resolve({ hasHead: response, ended: read() });
}

async function untilText(stream: Readable, wanted: string): Promise<void> {
  let text = '';
  for await (const piece of stream.iterator({ destroyOnReturn: false })) {
    text += String(piece);
    if (text.includes(wanted)) break;
  }
  stream.resume();
}

function visitCurl(command: string): Visit {
  return (t, port, target) => {
    const url = `http://${HOST}:${port}${target}`;
    const reach = ['--resolve', `${HOST}:${port}:127.0.0.1`, '--noproxy', '*'];
    const curl = spawn(command, ['-q', '-s', '-v', '-N', ...reach, url]);
    undoAfter(t, () => {
      curl.kill('SIGKILL');
    });
    curl.stdout.resume();
    // What it tells on standard error is not buffered.
    const hasHead = untilText(curl.stderr, '< HTTP/1.1 200');
    const ended = once(curl, 'close').then(([code]) =>
      CURL_CODES.has(Number(code)) ? `curl ${code}` : `complete, or curl failed: ${code}`,
    );
    return Promise.resolve({ hasHead, ended });
  };
}

function visitsOf(): Visit[] {
  const command = findProgram('curl');
  if (command === undefined && isCi()) throw new Error('not installed: curl');
  const last = command === undefined ? visitRaw : visitCurl(command);
  return Array.from({ length: VISITORS }, (_, at) =>
    at === VISITORS - 1 ? last : at % 2 === 0 ? visitRaw : visitNode,
  );
}

test('a response whose link dies is never complete', async (t) => {
  t.diagnostic(`SLUICEWAY_SEED=${SEED}`);
  const random = seededRandom(SEED);
  const upstream = await startTcp(t, serve);
  const node = await startNode(t, { complains: true });
  const endings = new Map<string, number>();
  for (let batch = 0; batch < BATCHES; batch += 1) {
    await t.test(`batch ${batch}`, async (t) => {
      const relay = await startRelay(t, node.controlPort);
      const flags = { upstream: `${HOST}=http://127.0.0.1:${upstream}` };
      await startLocalClient(t, node, { flags, port: relay.port, complains: true });
      const watches = await Promise.all(
        FRAMINGS.flatMap((framing) =>
          visitsOf().map(async (visit) => {
            const wanted = plan(random, framing);
            const target = `/${framing}/${wanted.totalBytes}/${wanted.sentBytes}`;
            return { target, watch: await visit(t, node.httpPort, target) };
          }),
        ),
      );
      await within(END_MS, 'heads', Promise.all(watches.map(({ watch }) => watch.hasHead)));
      relay.goDown();
      for (const { target, watch } of watches) {
        const how = await within(END_MS, `${target} ends`, watch.ended);
        assert.doesNotMatch(how, /complete/u, `seed ${SEED}, ${target}`);
        const framing = target.split('/')[1];
        endings.set(`${framing}: ${how}`, (endings.get(`${framing}: ${how}`) ?? 0) + 1);
      }
    });
  }
  const counts = [...endings].map(([how, count]) => `${how} ${count}`).sort();
  t.diagnostic(counts.join(', '));
  const total = [...endings.values()].reduce((sum, count) => sum + count, 0);
  assert.equal(total, BATCHES * VISITORS * FRAMINGS.length);
});
