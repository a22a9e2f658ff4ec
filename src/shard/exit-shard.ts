// A shard of the exit node: puts listeners, links, mesh and ingresses together, and obeys control.
//
// Invariant: one owner for each part; whoever ends it (stop, a throw) ends all. An unexpected
// error is not caught here: the thread dies, control starts a new one. Must not know: tokens,
// certificates' renewal, or which other shards there are beyond their mesh ports.

import type { Socket } from 'node:net';
import { type Clock, systemClock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { Bridge } from '../bridge/calls.ts';
import type {
  ExitControlMethods,
  ExitShardMethods,
  ListenRequest,
  ShardSample,
  ShardTask,
} from '../bridge/messages.ts';
import type { Upgraded } from '../link/ws-handshake.ts';
import { WsLink } from '../link/ws-link.ts';
import type { OpenRequest } from '../mux/session.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { createControlPort } from './control-port.ts';
import { ExitLink } from './exit-link.ts';
import { armFault } from './fault.ts';
import { createHttpIngress, type HttpIngress } from './ingress-http.ts';
import { TcpIngress } from './ingress-tcp.ts';
import { Listeners } from './listeners.ts';
import { Mesh } from './mesh.ts';
import { Meters } from './meters.ts';
import { ShardRouter } from './router.ts';
import { startTicks } from './ticks.ts';

export async function runExitShard(task: ShardTask): Promise<void> {
  const shard = new ExitShard(task);
  await shard.stopped;
}

class ExitShard {
  readonly stopped: Promise<void>;
  readonly #task: ShardTask;
  readonly #clock: Clock = systemClock;
  readonly #log: Logger;
  readonly #bridge: Bridge<ExitShardMethods, ExitControlMethods>;
  readonly #meters = new Meters();
  readonly #listeners: Listeners;
  readonly #links = new Map<string, ExitLink>();
  readonly #mesh: Mesh;
  readonly #router: ShardRouter;
  readonly #http: HttpIngress;
  readonly #tcp: TcpIngress;
  readonly #ticks: { stop(): void };
  #linkCount = 0;
  #onDrained: (() => void) | undefined;
  #onStopped: () => void = () => {};

  constructor(task: ShardTask) {
    this.#task = task;
    const { settings, shard } = task;
    this.stopped = new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    this.#log = openLog(task);
    this.#bridge = new Bridge(task.port, this.#methods(), crash);
    this.#listeners = new Listeners(this.#meters);
    this.#mesh = new Mesh({
      shard,
      settings,
      log: this.#log,
      openLocal: (request, sink) => this.#openLocal(request, sink),
    });
    this.#router = new ShardRouter(shard, this, this.#meters);
    const shared = { router: this.#router, limits: settings, clock: this.#clock };
    this.#http = createHttpIngress({ ...shared, meter: this.#meters, log: this.#log });
    this.#tcp = new TcpIngress(shared);
    this.#ticks = startTicks(this.#clock, (nowMs) => this.#tick(nowMs));
    process.once('uncaughtExceptionMonitor', () => this.#listeners.cutAll());
    armFault(task.fault, shard);
  }

  // --- StreamOpener: what the router asks ---------------------------------------------------

  canOpen(link: string, shard: number): boolean {
    if (shard !== this.#task.shard) return this.#mesh.canOpen(shard);
    return this.#links.get(link)?.session.canOpen === true;
  }

  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    if (shard !== this.#task.shard) return this.#mesh.open(shard, request, sink);
    return this.#openLocal(request, sink);
  }

  #openLocal(request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    const exitLink = this.#links.get(request.link);
    if (exitLink === undefined) return 'SLW_STREAM_NO_LINK';
    // The key names the link within this process and means nothing to the client.
    const stream = exitLink.session.open({ ...request, link: '' }, sink);
    if (typeof stream !== 'string') stream.addMeter(exitLink.meter);
    return stream;
  }

  // --- what control asks and tells ----------------------------------------------------------

  #methods(): ConstructorParameters<typeof Bridge<ExitShardMethods, ExitControlMethods>>[1] {
    return {
      listen: async (request: ListenRequest) => ({ port: await this.#listen(request) }),
      unlisten: ({ name }: { name: string }) => this.#listeners.close(name),
      route: (changes: ExitShardMethods['route']['takes']) => this.#router.apply(changes),
      mesh: ({ shard, port }: ExitShardMethods['mesh']['takes']) => this.#mesh.attach(shard, port),
      closeLinks: ({ links, code }: ExitShardMethods['closeLinks']['takes']) => {
        for (const link of links) this.#links.get(link)?.session.close(code);
      },
      sample: () => this.#sample(),
      drain: () => this.#drain(),
      stop: () => this.#stop(),
    };
  }

  #listen(request: ListenRequest): Promise<number> {
    const { name } = request;
    if (name === 'control') {
      const server = createControlPort({
        tls: this.#task.tls,
        bridge: this.#bridge,
        log: this.#log,
        onLink: (upgraded, remoteAddress) => this.#addLink(upgraded, remoteAddress),
      });
      return this.#listeners.add(request, server);
    }
    if (name === 'http') {
      return this.#listeners.open(request, (socket) => this.#http.accept(socket));
    }
    return this.#listeners.open(request, (socket: Socket) => this.#tcp.accept(name, socket));
  }

  #addLink({ socket, head }: Upgraded, remoteAddress: string): void {
    this.#linkCount += 1;
    const key = `${this.#task.shard}-${this.#linkCount}`;
    const exitLink = new ExitLink({
      key,
      link: new WsLink({ socket, head, mask: 'none' }),
      shard: this.#task.shard,
      remoteAddress,
      settings: this.#task.settings,
      bridge: this.#bridge,
      clock: this.#clock,
      log: this.#log,
      onEnd: (_link, code) => this.#forgetLink(key, code),
      onIdle: () => this.#checkDrained(),
    });
    this.#links.set(key, exitLink);
  }

  #forgetLink(key: string, code: ErrorCode): void {
    this.#links.delete(key);
    this.#router.removeLink(key);
    if (code.startsWith('SLW_WIRE_')) this.#meters.onProtocolError(code);
    this.#checkDrained();
  }

  #tick(nowMs: number): void {
    for (const exitLink of this.#links.values()) exitLink.tick(nowMs);
    this.#mesh.tick(nowMs);
    this.#http.sweep();
    this.#tcp.sweep(nowMs);
    this.#checkDrained();
  }

  #drain(): Promise<undefined> {
    this.#listeners.closeAll();
    this.#http.drain();
    for (const { session } of this.#links.values()) session.leave('SLW_LINK_DRAINING');
    return new Promise((resolve) => {
      this.#onDrained = () => resolve(undefined);
      this.#checkDrained();
    });
  }

  #checkDrained(): void {
    if (this.#onDrained === undefined) return;
    if (this.#http.connectionsCount > 0 || this.#tcp.connectionsCount > 0) return;
    for (const { session } of this.#links.values()) if (session.streamsCount > 0) return;
    if (this.#mesh.streamsCount > 0) return;
    this.#onDrained();
    this.#onDrained = undefined;
  }

  #stop(): undefined {
    this.#listeners.closeAll();
    for (const { session } of [...this.#links.values()]) session.close('SLW_LINK_DRAINING');
    this.#mesh.close();
    this.#ticks.stop();
    this.#meters.close();
    // The answer to control leaves first, and links have a moment to say goodbye.
    this.#clock.after(STOP_FLUSH_MS, () => {
      this.#bridge.close();
      this.#onStopped();
    });
    return undefined;
  }

  #sample(): ShardSample {
    const stalled = { held: 0, waiting: 0 };
    const links = [...this.#links.values()].map((exitLink) => {
      const { session, meter, key } = exitLink;
      const counts = session.countStalled();
      stalled.held += counts.held;
      stalled.waiting += counts.waiting;
      return {
        link: key,
        streams: session.streamsCount,
        bytesIn: meter.bytesIn,
        bytesOut: meter.bytesOut,
        roundTripMs: session.roundTripMs,
        queuedBytes: session.queuedBytes,
      };
    });
    return {
      ...this.#meters.sample(),
      links,
      stalled,
      meshBytes: this.#mesh.receivedBytes,
      visitorConnections: this.#http.connectionsCount + this.#tcp.connectionsCount,
    };
  }
}

function openLog({ settings, shard }: ShardTask): Logger {
  const { logLevel: level, logFormat: format } = settings;
  return createLogger({ level, format, component: 'shard' }).child({ shard });
}

/** Time for goodbyes to leave. Guess. */
const STOP_FLUSH_MS = 50;

/** Our own bug in a method: the thread ends, as for any uncaught error. */
function crash(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
