// An HTTP ingress on a loopback port, with visitors and upstreams that speak bytes.
//
// Owns the listener, the clock and the sweeps. Invariant: after each test no visitor connection,
// stream or farewell is left, which `startEdge` checks. Must not know: what is tested.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import {
  type AcceptOptions,
  createHttpIngress,
  type HttpIngress,
  type HttpIngressOptions,
} from '../../src/shard/ingress-http.ts';
import { undoAfter } from './cleanup.ts';
import { within } from './deadline.ts';
import { FakeClock } from './fake-clock.ts';
import { LoopbackRouter } from './http-stream.ts';

const WAIT_MS = 5000;

export const LIMITS = {
  headerTimeoutMs: 10_000,
  bodyIdleTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  upstreamResponseTimeoutMs: 60_000,
  upstreamConnectTimeoutMs: 10_000,
  tcpIdleTimeoutMs: 0,
  halfCloseTimeoutMs: 3_600_000,
  visitorConnectionsMax: 100,
};

/** Lets what is on loopback arrive: a number of turns of the event loop. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** One end of a connection, as text. Latin-1, so that every byte is one letter. */
export class Peer {
  readonly socket: Socket;
  text = '';
  /** 'open', then how it ended. */
  ending: 'open' | 'fin' | 'cut' = 'open';
  readonly #changes = new EventEmitter();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.text += piece.toString('latin1');
      this.#changes.emit('change');
    });
    socket.on('end', () => this.#end('fin'));
    socket.on('error', () => this.#end('cut'));
    socket.on('close', () => this.#end('cut'));
  }

  send(text: string | Buffer): this {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
    return this;
  }

  #end(ending: 'fin' | 'cut'): void {
    if (this.ending === 'open') this.ending = ending;
    this.#changes.emit('change');
  }

  /** Waits until `isDone`, which is looked at after every change. */
  async until(what: string, isDone: () => boolean): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!isDone()) await once(this.#changes, 'change');
    };
    await within(WAIT_MS, `${what}; so far: ${JSON.stringify(this.text.slice(-500))}`, wait());
  }

  /** Waits for text that ends with, or matches, `wanted`, and takes it away. */
  async read(wanted: string | RegExp): Promise<string> {
    const isThere = (): boolean =>
      typeof wanted === 'string' ? this.text.endsWith(wanted) : wanted.test(this.text);
    await this.until(`read ${wanted}`, isThere);
    const { text } = this;
    this.text = '';
    return text;
  }

  async readEnd(): Promise<string> {
    await this.until('the end', () => this.ending !== 'open');
    return this.text;
  }
}

/** An upstream that a test answers for by hand. */
export class Upstream {
  readonly port: number;
  readonly peers: Peer[] = [];
  readonly #arrivals = new EventEmitter();
  #taken = 0;

  constructor(server: Server, port: number) {
    this.port = port;
    server.on('connection', (socket) => {
      this.peers.push(new Peer(socket));
      this.#arrivals.emit('peer');
    });
  }

  /** The next connection that was made to it. */
  async next(): Promise<Peer> {
    const wait = async (): Promise<void> => {
      while (this.peers.length <= this.#taken) await once(this.#arrivals, 'peer');
    };
    await within(WAIT_MS, 'a connection to the upstream', wait());
    this.#taken += 1;
    return this.peers[this.#taken - 1] as Peer;
  }
}

export interface Metered {
  readonly tunnel: string | undefined;
  readonly method: string;
  readonly status: number;
}

export interface Edge {
  readonly ingress: HttpIngress;
  readonly router: LoopbackRouter;
  readonly clock: FakeClock;
  readonly metered: Metered[];
  readonly limited: string[];
  readonly inFlight: { readonly requests: number };
  readonly port: number;
  visit(): Promise<Peer>;
  upstream(tunnel: string): Promise<Upstream>;
  /** Moves the clock and looks at the deadlines. */
  pass(ms: number): void;
}

export interface EdgeOptions {
  readonly limits?: Partial<typeof LIMITS>;
  readonly accept?: AcceptOptions;
  /** What an exit node may set beside the limits. */
  readonly ingress?: Partial<HttpIngressOptions>;
  /** Takes connections in place of the ingress. */
  readonly door?: (ingress: HttpIngress, clock: FakeClock) => (socket: Socket) => void;
}

async function listenOn(t: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {
      // Cut on purpose.
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

export async function startEdge(t: TestContext, options: EdgeOptions = {}): Promise<Edge> {
  const clock = new FakeClock();
  const router = new LoopbackRouter();
  const metered: Metered[] = [];
  const limited: string[] = [];
  const inFlight = { requests: 0 };
  const ingress = createHttpIngress({
    router,
    clock,
    limits: { ...LIMITS, ...options.limits },
    log: createLogger({ level: 'silent', format: 'json', component: 'test' }),
    meter: {
      onRequest: (tunnel, method, status) => metered.push({ tunnel, method, status }),
      inFlight: () => inFlight,
      onLimited: (limit) => limited.push(limit),
    },
    ...options.ingress,
  });
  const accept = (socket: Socket): void => ingress.accept(socket, options.accept);
  const door = options.door?.(ingress, clock) ?? accept;
  const server = createServer({ allowHalfOpen: true }, door);
  const port = await listenOn(t, server);
  undoAfter(t, async () => {
    await checkNothingLeft(ingress, router);
    assert.equal(inFlight.requests, 0, 'a request is still counted as being served');
  });
  const visit = async (): Promise<Peer> => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    undoAfter(t, () => {
      socket.destroy();
    });
    await once(socket, 'connect');
    return new Peer(socket);
  };
  const upstream = async (tunnel: string): Promise<Upstream> => {
    const upstreamServer = createServer({ allowHalfOpen: true });
    const upstreamPort = await listenOn(t, upstreamServer);
    router.tunnels.set(tunnel, upstreamPort);
    return new Upstream(upstreamServer, upstreamPort);
  };
  const pass = (ms: number): void => {
    clock.advance(ms);
    ingress.sweep();
  };
  return { ingress, router, clock, metered, limited, inFlight, port, visit, upstream, pass };
}

/** Visitors are gone by now: so must be everything that was made for them. */
async function checkNothingLeft(ingress: HttpIngress, router: LoopbackRouter): Promise<void> {
  const settled = async (): Promise<void> => {
    while (ingress.connectionsCount > 0) await new Promise((resolve) => setImmediate(resolve));
  };
  await within(WAIT_MS, 'no visitor connection is left', settled());
  for (const [index, stream] of router.streams.entries()) {
    const isGivenUp = stream.isOver || stream.log.includes('end');
    assert.ok(isGivenUp, `stream ${index} is left behind: ${stream.log.join(', ')}`);
  }
}
