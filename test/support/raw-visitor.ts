// A visitor that writes bytes and reads answers, pipelined or not.
//
// Reads the framing of answers only as far as our own and test upstreams' go. Invariant: `answers`
// never holds a part of an answer. Must not know: what the bytes are, or whom they reach.

import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { cutSocket } from '../../src/shard/socket-relay.ts';
import { within } from './deadline.ts';

const WAIT_MS = 10_000;

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** What the body says that the request asked for; undefined for our own pages. */
  readonly target: string | undefined;
}

export class RawVisitor {
  readonly #socket: net.Socket;
  readonly #changes = new EventEmitter();
  text = '';
  state: 'open' | 'fin' | 'cut' = 'open';

  static async connect(port: number): Promise<RawVisitor> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    await within(WAIT_MS, 'connected', once(socket, 'connect'));
    return new RawVisitor(socket);
  }

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.text += piece.toString('latin1');
      this.#changes.emit('change');
    });
    socket.on('end', () => this.#end('fin'));
    socket.on('error', () => this.#end('cut'));
    socket.on('close', () => this.#end('cut'));
  }

  get ending(): 'fin' | 'cut' {
    return this.state === 'fin' ? 'fin' : 'cut';
  }

  send(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  reset(): void {
    cutSocket(this.#socket);
  }

  /** Lets go of the answers that were read. */
  forget(): void {
    this.text = '';
  }

  #end(state: 'fin' | 'cut'): void {
    if (this.state === 'open') this.state = state;
    this.#changes.emit('change');
  }

  async #until(what: string, isDone: () => boolean): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!isDone()) await once(this.#changes, 'change');
    };
    await within(WAIT_MS, what, wait());
  }

  /** Waits for the end of the connection. */
  async ended(): Promise<void> {
    await this.#until('the end', () => this.state !== 'open');
  }

  /** Waits for the head of the first answer. */
  async headed(): Promise<void> {
    await this.#until('a head', () => this.state !== 'open' || this.text.includes('\r\n\r\n'));
  }

  /** Waits for so many answers, or the end; `methods` are those of the requests. */
  async answersCount(count: number, methods: readonly string[] = []): Promise<void> {
    const isDone = (): boolean => this.state !== 'open' || this.answers(methods).length >= count;
    await this.#until(`${count} answers`, isDone);
  }

  /** The whole answers in order, without interim ones; `methods` are those of the requests. */
  answers(methods: readonly string[] = []): RawAnswer[] {
    const answers: RawAnswer[] = [];
    let at = 0;
    for (;;) {
      const headEnd = this.text.indexOf('\r\n\r\n', at);
      if (headEnd === -1) return answers;
      const head = this.text.slice(at, headEnd);
      const status = Number(head.slice(9, 12));
      const isBodiless = status < 200 || status === 204 || status === 304;
      const isHead = methods[answers.length] === 'HEAD';
      const start = headEnd + 4;
      const read = isBodiless || isHead ? { body: '', end: start } : this.#body(head, start);
      if (read === undefined) return answers;
      at = read.end;
      if (status < 200) continue;
      const target = /target (\S+)\n/u.exec(read.body)?.[1];
      answers.push({ status, head, body: read.body, target });
    }
  }

  /** The body at `start` and where it ends; undefined while it is not whole. */
  #body(head: string, start: number): { body: string; end: number } | undefined {
    const length = /^content-length: (\d+)$/imu.exec(head)?.[1];
    if (length !== undefined) {
      const end = start + Number(length);
      return end <= this.text.length ? { body: this.text.slice(start, end), end } : undefined;
    }
    if (/^transfer-encoding: chunked$/imu.test(head)) return this.#chunks(start);
    const end = this.text.length;
    return this.state === 'fin' ? { body: this.text.slice(start), end } : undefined;
  }

  #chunks(start: number): { body: string; end: number } | undefined {
    const { text } = this;
    let body = '';
    for (let at = start; ; ) {
      const lineEnd = text.indexOf('\r\n', at);
      const size = text.slice(at, lineEnd);
      if (lineEnd === -1 || !/^[0-9A-Fa-f]+$/u.test(size)) return undefined;
      const bytes = Number.parseInt(size, 16);
      if (bytes === 0) {
        // Trailers, if any, and an empty line.
        const end = text.startsWith('\r\n', lineEnd + 2)
          ? lineEnd + 4
          : text.indexOf('\r\n\r\n', lineEnd + 2) + 4;
        return end >= lineEnd + 4 ? { body, end } : undefined;
      }
      body += text.slice(lineEnd + 2, lineEnd + 2 + bytes);
      at = lineEnd + 4 + bytes;
      if (text.slice(at - 2, at) !== '\r\n') return undefined;
    }
  }
}
