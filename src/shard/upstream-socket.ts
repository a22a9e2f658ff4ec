// The socket of one flow at the client, connected to its upstream; and addresses of upstreams.
//
//   finding the address --> connecting --> open --> closed
//
// Invariant: datagrams that come before it is open wait, bounded, and the oldest go first; those
// that the kernel has no room for, and those that still wait at the end, are dropped and counted;
// an error of the way, such as nobody listening, is counted and the socket stays. Must not know:
// streams, flows, tunnels.

import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { QUEUE_BYTES_MAX, QUEUES_BYTES_MAX, type QueueAccount } from '../mux/datagram-queue.ts';
import type { DatagramMeter, DropReason } from './datagram-meter.ts';
import { asItIs } from './udp-socket.ts';

/** Until the socket is open, which takes no time but that of a look-up; QUEUE_BYTES_MAX of them at
 * most. Guess. */
const WAITING_MAX = 64;
/** Waiting in this process because the kernel's own buffer is full; each flow has a socket. */
const SEND_QUEUE_BYTES_MAX = QUEUE_BYTES_MAX;
/** So long the address of a name is used again: each DNS query may be a flow of its own. Guess. */
const ADDRESS_MS = 5000;

export interface UpstreamSocketOptions {
  readonly address: Promise<string>;
  readonly port: number;
  readonly meter: DatagramMeter;
  /** Of what waits in all flows of the shard. */
  readonly account: QueueAccount;
  /** Stands before each datagram that is sent, within the same one. */
  readonly header: Buffer | undefined;
  readonly onDatagram: (datagram: Buffer) => void;
  /** It could not be opened; not called once it was closed. */
  readonly onFailure: (error: Error) => void;
}

export class UpstreamSocket {
  readonly #options: UpstreamSocketOptions;
  readonly #onSent = (error: Error | null): void => {
    if (error !== null) this.#count(error);
  };
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** The header, and in `send` the datagram, too. */
  readonly #parts: Buffer[];
  #socket: Socket | undefined;
  #state: 'opening' | 'open' | 'closed' = 'opening';
  /** Where it is connected to, once that is known. */
  address: string | undefined;

  constructor(options: UpstreamSocketOptions) {
    this.#options = options;
    this.#parts = options.header === undefined ? [] : [options.header];
    options.address.then(
      (address) => this.#connect(address),
      (error: Error) => this.#fail(error, 'upstream'),
    );
  }

  send(datagram: Buffer): void {
    if (this.#state === 'open' && this.#socket !== undefined) this.#hand(this.#socket, datagram);
    else if (this.#state === 'opening') this.#wait(datagram);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#dropWaiting('ended');
    this.#socket?.close();
  }

  #hand(socket: Socket, datagram: Buffer): void {
    if (socket.getSendQueueSize() > SEND_QUEUE_BYTES_MAX) {
      this.#options.meter.drop('send');
      return;
    }
    if (this.#parts.length === 0) {
      socket.send(datagram, this.#onSent);
      return;
    }
    this.#parts[1] = datagram;
    socket.send(this.#parts, this.#onSent);
    // The socket has made a list of its own, and nothing is kept for a flow that is silent now.
    this.#parts.length = 1;
  }

  #wait(datagram: Buffer): void {
    this.#waiting.push(datagram);
    this.#countWaiting(datagram.length);
    while (this.#isOverfull) {
      this.#countWaiting(-(this.#waiting.shift()?.length ?? 0));
      this.#options.meter.drop('queue');
    }
  }

  get #isOverfull(): boolean {
    if (this.#waiting.length === 0) return false;
    const isShardFull = this.#options.account.bytes > QUEUES_BYTES_MAX;
    const isFull = this.#waiting.length > WAITING_MAX || this.#waitingBytes > QUEUE_BYTES_MAX;
    return isFull || isShardFull;
  }

  #countWaiting(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#options.account.bytes += bytes;
  }

  #dropWaiting(reason: DropReason): void {
    if (this.#waiting.length > 0) this.#options.meter.drop(reason, this.#waiting.length);
    this.#endWait();
  }

  #endWait(): void {
    this.#waiting.length = 0;
    this.#countWaiting(-this.#waitingBytes);
  }

  #connect(address: string): void {
    if (this.#state !== 'opening') return;
    this.address = address;
    const { port, onDatagram } = this.#options;
    const type = isIP(address) === 6 ? 'udp6' : 'udp4';
    const socket = createSocket({ type, lookup: asItIs });
    this.#socket = socket;
    socket.on('message', onDatagram);
    // Before it is open: no descriptor, no way. After: what ICMP has to say, told at the next use.
    socket.on('error', (error) => {
      if (this.#state === 'opening') this.#fail(error, 'send');
      else this.#count(error);
    });
    socket.connect(port, address, (error?: Error) => {
      if (error === undefined) this.#onConnect();
      else this.#fail(error, 'send');
    });
  }

  #onConnect(): void {
    if (this.#state !== 'opening') return;
    this.#state = 'open';
    for (const datagram of this.#waiting) this.send(datagram);
    this.#endWait();
  }

  #fail(error: Error, reason: DropReason): void {
    if (this.#state === 'closed') return;
    this.#dropWaiting(reason);
    this.#options.onFailure(error);
    this.close();
  }

  #count(error: NodeJS.ErrnoException): void {
    this.#options.meter.drop(error.code === 'ECONNREFUSED' ? 'upstream' : 'send');
  }
}

/** All addresses of a name, the one to use first; rejects where there is none. */
export type LookUp = (host: string) => Promise<readonly string[]>;

/** IPv4 first where a name has both: no handshake would tell that nobody listens on the other. */
const lookUp: LookUp = async (host) => {
  const found = await lookup(host, { order: 'ipv4first', all: true });
  return found.map(({ address }) => address);
};

/** Addresses of names, for a while. */
export class AddressBook {
  readonly #clock: Clock;
  readonly #lookUp: LookUp;
  /** By host: those of the client's table, so that it has no other bound. */
  readonly #found = new Map<
    string,
    { readonly addresses: Promise<readonly string[]>; readonly untilMs: number }
  >();

  constructor(clock: Clock, look: LookUp = lookUp) {
    this.#clock = clock;
    this.#lookUp = look;
  }

  async addressOf(host: string): Promise<string> {
    if (isIP(host) !== 0) return host;
    const [first] = await this.#addressesOf(host);
    return first as string;
  }

  /** Did `host` have this address when it was last looked up? That may be now. */
  async has(host: string, address: string): Promise<boolean> {
    return isIP(host) !== 0 || (await this.#addressesOf(host)).includes(address);
  }

  #addressesOf(host: string): Promise<readonly string[]> {
    const nowMs = this.#clock.nowMs();
    const known = this.#found.get(host);
    if (known !== undefined && nowMs < known.untilMs) return known.addresses;
    const addresses = this.#lookUp(host);
    this.#found.set(host, { addresses, untilMs: nowMs + ADDRESS_MS });
    return addresses;
  }
}
