// What stands before SOCKS connections at the client: until they have said whom they want, and the
// exit node has reached it.
//
//   accepted --greeting--> 05 00 --request--> stream opened --OPENED--> 05 00 ... relay
//            --not SOCKS 5, late--> reset         |--RST as it crossed a GOAWAY--> another, once
//            --no method--> 05 ff, closed         \--RST, no link--> 05 CODE ..., closed
//
// Invariant: no byte of a target comes before the reply, and none of a client is lost; what is
// refused in words ends with FIN, so that they are read; at most HANDSHAKES_MAX are in hand, each
// for one deadline. Must not know: links, or the rules.

import type { Socket } from 'node:net';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Target } from '../base/target.ts';
import {
  encodeSocksMethod,
  encodeSocksReply,
  readSocksGreeting,
  readSocksRequest,
  SOCKS_REPLY,
  socksReplyOf,
} from '../edge/socks5.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { ForwardLink, LocalIngress } from './local-ingress.ts';
import { turnAway } from './socket-relay.ts';
import { type FirstReader, WaitingRoom } from './waiting-room.ts';

/** For the greeting and the request. Guess. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Guess. */
const HANDSHAKES_MAX = 1024;

export interface SocksFrontOptions {
  readonly ingress: LocalIngress;
  readonly clock: Clock;
}

export class SocksFront {
  readonly #ingress: LocalIngress;
  readonly #handshakes: WaitingRoom<Outcome>;

  constructor({ ingress, clock }: SocksFrontOptions) {
    this.#ingress = ingress;
    this.#handshakes = new WaitingRoom(clock, () => HANDSHAKE_TIMEOUT_MS);
  }

  get connectionsCount(): number {
    return this.#handshakes.size;
  }

  accept(socket: Socket): void {
    if (this.#handshakes.size >= HANDSHAKES_MAX) {
      turnAway(socket);
      return;
    }
    const ingress = this.#ingress;
    this.#handshakes.enter(socket, new Handshake(socket), (outcome) => {
      socket.pause();
      if (outcome === 'closed') return;
      if (outcome === 'silent' || outcome === 'refused') turnAway(socket);
      else if ('refusal' in outcome) refuse(socket, outcome.refusal);
      else begin(ingress, { socket, ...outcome });
    });
  }

  sweep(nowMs: number): void {
    this.#handshakes.sweep(nowMs);
  }

  drain(): void {
    this.sweep(Number.POSITIVE_INFINITY);
  }
}

interface Request {
  readonly target: Target;
  /** What came behind the request. */
  readonly rest: Buffer;
}

/** `refused`: not SOCKS 5, to which there is nothing to say; `refusal`: what is. */
type Outcome = 'refused' | { readonly refusal: Buffer } | Request;

class Handshake implements FirstReader<Outcome> {
  readonly #socket: Socket;
  #state: 'greeting' | 'request' = 'greeting';
  /** At most one read beyond the longest message. */
  #bytes: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  read(piece: Buffer): Outcome | 'more' {
    this.#bytes = this.#bytes.length === 0 ? piece : Buffer.concat([this.#bytes, piece]);
    const greeted = this.#state === 'greeting' ? this.#greet() : 'done';
    if (greeted !== 'done') return greeted;
    const verdict = readSocksRequest(this.#bytes);
    if (verdict === 'more') return verdict;
    if ('refusal' in verdict) return { refusal: encodeSocksReply(verdict.refusal) };
    return { target: verdict.target, rest: this.#bytes.subarray(verdict.bytes) };
  }

  #greet(): Outcome | 'more' | 'done' {
    const verdict = readSocksGreeting(this.#bytes);
    if (typeof verdict === 'string') return verdict;
    const answer = encodeSocksMethod(verdict.isOpen);
    if (!verdict.isOpen) return { refusal: answer };
    this.#socket.write(answer);
    this.#bytes = this.#bytes.subarray(verdict.bytes);
    this.#state = 'request';
    return 'done';
  }
}

type Asked = Request & { readonly socket: Socket };

/** Once a link has room; and once more where the OPEN has crossed a GOAWAY. */
function begin(ingress: LocalIngress, asked: Asked): void {
  const { socket } = asked;
  const again = (): void => ingress.whenLinked(socket, (found) => dial(ingress, found, asked));
  ingress.whenLinked(socket, (found) => dial(ingress, found, asked, again));
}

function dial(
  ingress: LocalIngress,
  found: ForwardLink | ErrorCode,
  asked: Asked,
  again?: () => void,
): void {
  const { socket, target } = asked;
  const sink = new SocksDial(ingress, asked, again);
  const opened =
    typeof found === 'string' ? found : ingress.openStream(found, target, { socket, sink });
  if (typeof opened === 'string') sink.onReset(opened);
  else sink.stream = opened;
}

/** From OPEN to OPENED; then the relay takes over. */
class SocksDial implements StreamSink {
  stream: Stream | undefined;
  readonly #ingress: LocalIngress;
  readonly #request: Asked;
  readonly #again: (() => void) | undefined;
  readonly #onClose = (): void => this.stream?.reset('SLW_STREAM_CANCELLED');

  constructor(ingress: LocalIngress, request: Asked, again: (() => void) | undefined) {
    this.#ingress = ingress;
    this.#request = request;
    this.#again = again;
    request.socket.on('error', ignoreError);
    request.socket.once('close', this.#onClose);
  }

  onOpened(): void {
    const { stream } = this;
    assert(stream !== undefined, 'what is opened was asked for');
    const { socket, target, rest } = this.#request;
    socket.off('close', this.#onClose);
    socket.off('error', ignoreError);
    socket.write(encodeSocksReply(SOCKS_REPLY.OK));
    const relay = this.#ingress.relay(target, socket);
    stream.sink = relay;
    relay.join(stream);
    if (rest.length > 0 && !stream.write(rest)) socket.pause();
    // Told while nobody listened.
    if (socket.readableEnded) stream.end();
  }

  onData(): void {
    assert(false, 'a stream that is not open carries nothing');
  }

  onFin(): void {
    assert(false, 'a stream that is not open does not end');
  }

  onReset(code: ErrorCode): void {
    this.stream = undefined;
    const { socket, target } = this.#request;
    socket.off('close', this.#onClose);
    socket.off('error', ignoreError);
    if (code === 'SLW_LINK_DRAINING' && this.#again !== undefined) {
      this.#again();
      return;
    }
    this.#ingress.tell(target, code);
    refuse(socket, encodeSocksReply(socksReplyOf(code)));
  }

  onWritable(): void {
    // Nothing was written yet.
  }
}

function refuse(socket: Socket, reply: Buffer): void {
  socket.on('error', ignoreError);
  // Read and dropped, as a socket that closes with bytes unread resets what was just sent.
  socket.resume();
  socket.end(reply, () => socket.destroySoon());
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
