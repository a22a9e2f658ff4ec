// Goal: a reader of the log that stops costs an exit node a bounded piece of memory, whatever is
// logged meanwhile; each line that it then missed is counted, and when it reads again, it reads
// whole lines. Method: a server that logs each request to a pipe; tens of mebibytes of lines while
// nobody reads; resident memory as the kernel says.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { usageOf } from '../support/process-usage.ts';
import { scratchFolder } from '../support/programs.ts';
import { droppedLines, type SinkServer, startSinkServer } from '../support/sink-server.ts';
import { startClient } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const MIB = 1024 * 1024;
/** Long enough to be cut in the log, so that a line has more than 600 bytes. */
const LONG = 'x'.repeat(300);
const LINE_BYTES_LEAST = 600;
const REQUEST = `GET /${LONG} HTTP/1.1\r\nHost: site.example.com\r\nUser-Agent: ${LONG}\r\n\r\n`;
const ANSWER = 'HTTP/1.1 200 ';
const CONNECTIONS = 8;
/** At once on a connection. */
const BATCH = 50;
const FIRST_REQUESTS = 10 * CONNECTIONS * BATCH;
/** Fills what may wait, in every thread and in the pipe, and the heap with it. */
const WARM_REQUESTS = 24_000;
const REQUESTS = 56_000;
/** Design: reliability, F11. */
const GROWTH_BYTES_MAX = 16 * MIB;

/** Sends `share` requests on a connection of its own, and waits for as many answers. */
async function askOne(port: number, share: number): Promise<void> {
  const socket = net.connect({ port, host: LOOPBACK }).setEncoding('latin1');
  let [sent, answers, tail] = [0, 0, ''];
  const sendBatch = (): void => {
    sent += BATCH;
    socket.write(REQUEST.repeat(BATCH));
  };
  sendBatch();
  for await (const piece of socket as AsyncIterable<string>) {
    const text = tail + piece;
    answers += text.split(ANSWER).length - 1;
    tail = text.slice(1 - ANSWER.length);
    if (answers === share) return;
    if (answers === sent) sendBatch();
  }
  assert.fail(`closed after ${answers} of ${share} answers`);
}

async function ask(port: number, count: number): Promise<void> {
  const shares = Array.from({ length: CONNECTIONS }, () => askOne(port, count / CONNECTIONS));
  await within(60_000, `${count} answers`, Promise.all(shares));
}

function residentBytesOf({ child }: SinkServer): number {
  return usageOf(child.pid ?? -1).residentBytes;
}

/** Reads a log as a process, in small pieces as some do, and can be stopped. */
class Reader {
  readonly #run: TestProcess;
  readonly #format: Format;

  constructor(t: TestContext, fifo: string, format: Format) {
    this.#format = format;
    const args = [`if=${fifo}`, 'bs=4096', 'status=none'];
    this.#run = startProcess(t, { name: 'reader', command: 'dd', args, endSignal: 'SIGKILL' });
  }

  /** Lines of visitors that were read. */
  get requests(): number {
    return this.#run.stdout.filter((line) => line.includes(LONG.slice(0, 100))).length;
  }

  get broken(): string[] {
    return this.#run.stdout.filter((line) => !WHOLE[this.#format](line));
  }

  stop(): void {
    process.kill(this.#run.pid, 'SIGSTOP');
  }

  goOn(): void {
    process.kill(this.#run.pid, 'SIGCONT');
  }
}

type Format = 'json' | 'pretty';

const WHOLE: Readonly<Record<Format, (line: string) => boolean>> = {
  json: (line) => {
    try {
      return typeof JSON.parse(line) === 'object';
    } catch {
      return false;
    }
  },
  pretty: (line) => /^\S+ (?:INFO|WARN) +\w+: .*(?:[^x]|x{256}…?)$/u.test(line),
};

async function missesNothingUncounted(t: TestContext, format: Format): Promise<void> {
  const fifo = path.join(scratchFolder(t), 'log');
  execFileSync('mkfifo', [fifo]);
  const log = openSync(fifo, 'r+');
  undoAfter(t, () => closeSync(log));
  const read = new Reader(t, fifo, format);
  const server = await startSinkServer(t, { stderr: log, args: ['--log-format', format] });
  const upstream = await startHttp(t, (_request, response) => response.end('page'));
  await startClient(t, server, {
    args: ['--upstream', `site.example.com=http://${LOOPBACK}:${upstream}`],
  });
  await ask(server.httpPort, FIRST_REQUESTS);
  await eventually(10_000, 'every line is read', async () =>
    assert.equal(read.requests, FIRST_REQUESTS),
  );
  assert.equal(await droppedLines(server), 0);
  read.stop();
  await ask(server.httpPort, WARM_REQUESTS);
  const before = residentBytesOf(server);
  await ask(server.httpPort, REQUESTS);
  const grown = residentBytesOf(server) - before;
  const dropped = await droppedLines(server);
  t.diagnostic(`${dropped} lines dropped, ${(grown / MIB).toFixed(1)} MiB more resident`);
  const unreadBytes = dropped * LINE_BYTES_LEAST;
  assert.ok(unreadBytes > 2 * GROWTH_BYTES_MAX, 'far more than that was not read');
  assert.ok(grown < GROWTH_BYTES_MAX, `${grown} bytes`);
  // What waited and what comes now are written at once, by all threads.
  read.goOn();
  await ask(server.httpPort, FIRST_REQUESTS);
  const sent = FIRST_REQUESTS + WARM_REQUESTS + REQUESTS + FIRST_REQUESTS;
  await eventually(10_000, 'each line is read or counted', async () =>
    assert.equal(read.requests + (await droppedLines(server)), sent),
  );
  assert.deepEqual(read.broken, [], 'each line is whole');
}

for (const format of ['json', 'pretty'] as const) {
  test(`a reader of ${format} that stops costs little, and what it misses is counted`, (t) =>
    missesNothingUncounted(t, format));
}
