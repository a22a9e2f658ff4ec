// A UDP socket on a public port, that sends and receives for all visitors of one tunnel.
//
// Invariant: what is sent goes out of the socket at which the visitor's datagrams arrive; what the
// kernel has no room for is dropped and counted, never kept without bound; no error of one visitor
// or datagram closes the socket. Must not know: flows, tunnels, links.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { ListenRequest } from '../bridge/exit-messages.ts';
import type { DatagramMeter } from './datagram-meter.ts';
import { listenFailure } from './listeners.ts';

/** Waiting in this process because the kernel's own buffer is full. Guess. */
const SEND_QUEUE_BYTES_MAX = 1024 * 1024;

export type OnDatagram = (datagram: Buffer, from: RemoteInfo) => void;

export class UdpSocket {
  readonly #socket: Socket;
  readonly #meter: DatagramMeter;
  readonly #onSent = (error: Error | null): void => {
    if (error !== null) this.#meter.drop('send');
  };
  #state: 'open' | 'closed' = 'open';

  constructor(socket: Socket, meter: DatagramMeter, onDatagram: OnDatagram) {
    this.#socket = socket;
    this.#meter = meter;
    socket.removeAllListeners('error');
    // An ICMP error of somebody who is gone, told of the next time that the socket is used.
    socket.on('error', () => meter.drop('send'));
    socket.on('message', onDatagram);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(datagram: Buffer, { address, port }: RemoteInfo): void {
    if (this.#state === 'closed') return;
    if (this.#socket.getSendQueueSize() > SEND_QUEUE_BYTES_MAX) this.#meter.drop('send');
    else this.#socket.send(datagram, port, address, this.#onSent);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#socket.close();
  }
}

/**
 * Shares its port with the other shards, and with a process that takes over, where the platform can
 * do that. Rejects with a SluicewayError.
 */
export async function bindUdp(request: ListenRequest): Promise<Socket> {
  const { host, port } = request;
  try {
    const address = isIP(host) === 0 ? (await lookup(host)).address : host;
    const bound = bind(address, port, true);
    return await (request.reusePort ? bound : bound.catch(() => bind(address, port, false)));
  } catch (cause) {
    throw listenFailure(request, cause as NodeJS.ErrnoException);
  }
}

function bind(address: string, port: number, reusePort: boolean): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const type = isIP(address) === 6 ? 'udp6' : 'udp4';
    const socket = createSocket({ type, reusePort, lookup: asItIs });
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind(port, address, () => resolve(socket));
  });
}

type OnAddress = (error: null, address: string, family: number) => void;

/** Who sends knows the address; Node would look it up for each datagram, in a turn of the loop. */
export function asItIs(address: string, _options: unknown, onAddress: OnAddress): void {
  onAddress(null, address, isIP(address));
}
