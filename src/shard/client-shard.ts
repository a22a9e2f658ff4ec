// A shard of the client: dials links for control, and serves their streams with upstreams.
//
//   upstreams: streams that exit nodes open          local ports: streams that this side opens
//
// Invariant: only tunnels of its own configuration are dialled, whatever an exit node asks for;
// everything that happens to a link is told to control. Must not know: when to dial again, how
// many links there should be, or what is printed.

import type { ErrorCode } from '../base/errors.ts';
import { Bridge } from '../bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LinkDial,
  LocalListen,
} from '../bridge/client-messages.ts';
import type { LoopWatch, ShardSample } from '../bridge/shard-sample.ts';
import type { ShardTask } from '../bridge/shard-task.ts';
import { ClientLink } from './client-link.ts';
import { sampleLinks } from './link-sample.ts';
import { Listeners } from './listeners.ts';
import { LocalIngress } from './local-ingress.ts';
import { OrphanedBytes } from './orphaned-bytes.ts';
import { crash, ShardLife, type ShardOwner } from './shard-life.ts';
import { SocksFront } from './socks-front.ts';
import { Upstreams } from './upstreams.ts';

export async function runClientShard(task: ShardTask): Promise<void> {
  const shard = new ClientShard(task);
  await shard.life.stopped;
}

type Method<Name extends keyof ClientShardMethods> = ClientShardMethods[Name]['takes'];

class ClientShard implements ShardOwner {
  readonly life: ShardLife;
  readonly #task: ShardTask;
  readonly #bridge: Bridge<ClientShardMethods, ClientControlMethods>;
  readonly #upstreams: Upstreams;
  readonly #links = new Map<string, ClientLink>();
  readonly #listeners: Listeners;
  readonly #locals: LocalIngress;
  readonly #socks: SocksFront;
  readonly #orphans = new OrphanedBytes();

  constructor(task: ShardTask) {
    this.#task = task;
    this.life = new ShardLife(task, this);
    const { clock, meters, log } = this.life;
    this.#upstreams = new Upstreams({ limits: task.settings, clock, meters, log });
    this.#listeners = new Listeners(meters);
    this.#locals = new LocalIngress({
      links: () => this.#links.values(),
      ...{ limits: task.settings, clock, meters, log },
    });
    this.#socks = new SocksFront({ ingress: this.#locals, clock });
    for (const { holdings } of [this.#upstreams, this.#locals]) this.#orphans.watch(holdings);
    this.#bridge = new Bridge(task.port, this.#methods(), crash);
  }

  onTick(nowMs: number): void {
    for (const link of this.#links.values()) link.tick(nowMs);
    this.#upstreams.sweep(nowMs);
    this.#locals.sweep(nowMs);
    this.#socks.sweep(nowMs);
    this.#orphans.sweep();
  }

  isDrained(): boolean {
    if (this.#connectionsCount > 0) return false;
    for (const link of this.#links.values()) if (link.streamsCount > 0) return false;
    return true;
  }

  onCrash(): void {
    this.#upstreams.cutAll();
    this.#listeners.cutAll();
    try {
      this.#bridge.tell('lastSample', this.#sample('none'));
    } catch {
      // As in an exit node's shard: the last sample that control has counts then.
    }
  }

  onStopped(): void {
    this.#upstreams.cutUnsent();
    this.#locals.cutUnsent();
  }

  get #connectionsCount(): number {
    const locals = this.#locals.connectionsCount + this.#socks.connectionsCount;
    return this.#upstreams.connectionsCount + locals;
  }

  #methods(): ConstructorParameters<typeof Bridge<ClientShardMethods, ClientControlMethods>>[1] {
    return {
      upstreams: (entries: Method<'upstreams'>) => this.#upstreams.replace(entries),
      withhold: (names: Method<'withhold'>) => this.#withhold(names),
      dial: (dial: Method<'dial'>) => this.#dial(dial),
      listenLocal: (listen: Method<'listenLocal'>) => this.#listen(listen),
      keep: ({ link }: Method<'keep'>) => {
        this.#links.get(link)?.offer(this.#upstreams.offers());
        this.#locals.admit();
      },
      close: ({ link, code }: Method<'close'>) => this.#links.get(link)?.close(code),
      sample: ({ loop }: { readonly loop: LoopWatch }) => this.#sample(loop),
      drain: () => this.#drain(),
      stop: () => this.#stop(),
    };
  }

  #withhold(names: readonly string[]): void {
    const { gone, back } = this.#upstreams.withhold(names);
    for (const link of this.#links.values()) link.change(gone, back);
  }

  async #listen({ target, ...listen }: LocalListen): Promise<number> {
    const { port } = await this.#listeners.open({ ...listen, reusePort: false }, (socket) => {
      if (target === undefined) this.#socks.accept(socket);
      else this.#locals.accept(target, socket);
    });
    return port;
  }

  #dial(dial: LinkDial): void {
    const link = new ClientLink({
      dial,
      settings: this.#task.settings,
      bridge: this.#bridge,
      upstreams: this.#upstreams,
      clock: this.life.clock,
      log: this.life.log,
      onEnd: (code) => this.#forgetLink(dial.link, code),
      onIdle: () => this.life.checkDrained(),
    });
    this.#links.set(dial.link, link);
  }

  #forgetLink(key: string, code: ErrorCode): void {
    this.#links.delete(key);
    if (code.startsWith('SLW_WIRE_')) this.life.meters.onProtocolError(code);
    this.life.checkDrained();
  }

  #drain(): Promise<undefined> {
    this.#listeners.closeAll();
    this.#locals.drain();
    this.#upstreams.drain();
    this.#socks.drain();
    for (const link of this.#links.values()) link.leave();
    return this.life.drain();
  }

  #stop(): void {
    this.#listeners.closeAll();
    for (const link of [...this.#links.values()]) link.close('SLW_LINK_ENDED');
    this.life.stop(() => this.#bridge.close());
  }

  #sample(loop: LoopWatch): ShardSample {
    const gauges = [...this.#links.values()].flatMap((link) => link.gauge() ?? []);
    const none = { meshBytes: 0, visitorConnections: 0 };
    const upstreamFailures = this.#upstreams.failures();
    const counted = this.life.meters.sample(loop);
    return { ...counted, ...sampleLinks(gauges), ...none, upstreamFailures };
  }
}
