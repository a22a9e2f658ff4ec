// The suite of reconnecting: 500 clients that lose their links in one moment, once because the way
// to the exit node breaks, once because the exit node is killed and started again.
//
// Invariant: the crowd runs the client's own rules of dialling and its own links (crowd.ts). One
// more client, on a way of its own, has visitors all the time; and whoever is back gets a visitor
// at once. Each that is refused counts. Time runs from the moment that somebody listens again.

import { type Child, Children, freePort } from '../harness/children.ts';
import { type CrowdEvent, crowdHost } from '../harness/crowd-event.ts';
import { pause } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { cpuSeconds } from '../harness/process-cost.ts';
import { HOST } from '../harness/side.ts';
import { type Sampled, type SuiteOptions, type SuiteResult, versionsOf } from '../harness/suite.ts';
import { median, round, table } from '../harness/table.ts';
import { startExitNode, startTunnel, TOKEN, type TunnelOptions } from '../harness/tunnel.ts';
import { Visits } from '../harness/visits.ts';

const CLIENTS = 500;
const CLIENTS_SMOKE = 20;
/** How long nobody listens; back-offs have grown to some seconds by then. */
const OUTAGE_MS = 3_000;
const OUTAGE_SMOKE_MS = 300;
/** Of all that is wanted, twice. */
const BACK_WITHIN_MS = 30_000;
const VISIT_EVERY_MS = 20;

export interface ReconnectSample {
  readonly scenario: 'the way breaks' | 'the exit node restarts';
  readonly clients: number;
  /** Of each client, from listening to registered, sorted; by round. */
  readonly backMs: number[][];
  /** Visitors of the client that never lost its link; none where all lose theirs. */
  readonly others: number[];
  readonly othersRefused: number[];
  readonly othersP99Ms: number[];
  /** First visitors of those who are back. */
  readonly firstRefused: number[];
  /** CPU seconds of the exit node until all are back. */
  readonly cpu: number[];
}

export async function measureReconnect(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleReconnect(options);
  return { text: report(samples), samples, versions: versionsOf(sides), left };
}

export async function sampleReconnect(options: SuiteOptions): Promise<Sampled<ReconnectSample>> {
  const clients = options.isSmoke ? CLIENTS_SMOKE : CLIENTS;
  const empty = () => ({
    ...{ clients, backMs: [], others: [], othersRefused: [] },
    ...{ othersP99Ms: [], firstRefused: [], cpu: [] },
  });
  const breaks: ReconnectSample = { scenario: 'the way breaks', ...empty() };
  const restarts: ReconnectSample = { scenario: 'the exit node restarts', ...empty() };
  for (let index = 0; index < options.rounds; index += 1) {
    for (const sample of [breaks, restarts]) {
      options.tell(`round ${index + 1} of ${options.rounds}: ${sample.scenario}`);
      const children = new Children();
      try {
        // Anew for each, as a client that was away a moment ago waits longer.
        const scene = await setUp({ ...options, children }, clients);
        await (sample === breaks ? breakWay(scene, breaks) : restartNode(scene, restarts));
        sample.firstRefused.push(await scene.crowd.firstRefused());
      } finally {
        children.stop();
      }
    }
  }
  return { samples: [breaks, restarts], sides: [], left: [] };
}

interface Scene {
  readonly children: Children;
  readonly site: TunnelOptions & Required<Pick<TunnelOptions, 'ports'>>;
  readonly exitNode: Child;
  readonly crowd: Crowd;
  readonly outageMs: number;
  /** Ends the way that the crowd takes; gives what starts it again. */
  readonly breakWay: () => () => Promise<unknown>;
}

async function setUp(options: SuiteOptions, clients: number): Promise<Scene> {
  const { children, shards, entry, isSmoke } = options;
  const origins = await startOrigins(children);
  const ports = { control: await freePort(), http: await freePort() };
  const site = { origins, shards, entry, ports };
  const { exitNode } = await startTunnel(children, site);
  const entrance = await freePort();
  const startWay = () =>
    children.fork<{ pid: number }>('relay.ts', [`${ports.control}=${entrance}`]);
  const way = await startWay();
  const crowdPorts = { entrance, http: ports.http, origin: origins.http };
  const crowd = new Crowd(children, crowdPorts, clients);
  await crowd.untilAllUp();
  const breakWay = () => {
    process.kill(way.pid);
    return startWay;
  };
  const outageMs = isSmoke ? OUTAGE_SMOKE_MS : OUTAGE_MS;
  return { children, site, exitNode, crowd, outageMs, breakWay };
}

async function breakWay(scene: Scene, sample: ReconnectSample): Promise<void> {
  const { site, exitNode, crowd, outageMs } = scene;
  const visits = new Visits({ port: site.ports.http, host: HOST });
  const timer = setInterval(() => visits.visit(), VISIT_EVERY_MS);
  const startWay = scene.breakWay();
  await crowd.untilAllDown();
  await pause(outageMs);
  const cpu = cpuSeconds([exitNode.pid]);
  await startWay();
  sample.backMs.push(await crowd.untilBack(nowMs()));
  sample.cpu.push(cpuSeconds([exitNode.pid]) - cpu);
  clearInterval(timer);
  const found = await visits.finish();
  sample.others.push(found.count);
  sample.othersRefused.push(found.refused);
  sample.othersP99Ms.push(found.p99Ms);
}

async function restartNode(scene: Scene, sample: ReconnectSample): Promise<void> {
  const { children, site, exitNode, crowd, outageMs } = scene;
  exitNode.process.kill('SIGKILL');
  await crowd.untilAllDown();
  await pause(outageMs);
  const { child } = await startExitNode(children, site);
  const cpu = cpuSeconds([child.pid]);
  sample.backMs.push(await crowd.untilBack(nowMs()));
  sample.cpu.push(cpuSeconds([child.pid]) - cpu);
}

/** Since the epoch, as the crowd tells it. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

interface CrowdPorts {
  /** Of the way to the exit node. */
  readonly entrance: number;
  readonly http: number;
  readonly origin: number;
}

/** Who is up, as the crowd's process tells it. */
class Crowd {
  readonly #clients: number;
  readonly #ports: CrowdPorts;
  readonly #up = new Map<number, number>();
  #firsts: Visits;
  #onChange: () => void = () => undefined;

  constructor(children: Children, ports: CrowdPorts, clients: number) {
    this.#clients = clients;
    this.#ports = ports;
    this.#firsts = new Visits({ port: ports.http, host: '' });
    const url = `ws://127.0.0.1:${ports.entrance}`;
    const process = children.forkFile('crowd.ts', [url, TOKEN, ports.origin, clients]);
    process.on('message', (event) => this.#note(event as CrowdEvent));
  }

  untilAllUp(): Promise<void> {
    return this.#until(() => this.#up.size === this.#clients, 'up');
  }

  async untilAllDown(): Promise<void> {
    await this.#until(() => this.#up.size === 0, 'down');
    this.#firsts = new Visits({ port: this.#ports.http, host: '' });
  }

  /** What each took from `fromMs` on, sorted. */
  async untilBack(fromMs: number): Promise<number[]> {
    await this.untilAllUp();
    return [...this.#up.values()].map((atMs) => atMs - fromMs).sort((a, b) => a - b);
  }

  /** Of the visitors that came when a client was just back. */
  async firstRefused(): Promise<number> {
    return (await this.#firsts.finish()).refused;
  }

  #note({ client, isUp, atMs }: CrowdEvent): void {
    if (isUp && !this.#up.has(client)) {
      this.#up.set(client, atMs);
      this.#firsts.visit(crowdHost(client));
    }
    if (!isUp) this.#up.delete(client);
    this.#onChange();
  }

  async #until(isSo: () => boolean, what: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#onChange = () => {
      if (isSo()) resolve();
    };
    this.#onChange();
    const timer = setTimeout(() => {
      reject(new Error(`${this.#up.size} of ${this.#clients} clients are up, not all ${what}`));
    }, BACK_WITHIN_MS);
    await promise.finally(() => clearTimeout(timer));
  }
}

function report(samples: readonly ReconnectSample[]): string {
  const seconds = (values: readonly number[]): string => `${round(median(values) / 1000, 2)} s`;
  const rows = samples.map((sample) => [
    sample.scenario,
    seconds(sample.backMs.map((times) => median(times))),
    seconds(sample.backMs.map((times) => times.at(-1) ?? Number.NaN)),
    othersText(sample),
    `${sum(sample.firstRefused)} of ${sample.clients * sample.firstRefused.length}`,
    `${round(median(sample.cpu), 2)} s`,
  ]);
  const titles = [`${samples[0]?.clients} clients`, 'half are back', 'all are back'];
  const refused = ['refused: others', 'first visitors', "exit node's CPU"];
  return table([[...titles, ...refused], ...rows]);
}

function othersText({ others, othersRefused, othersP99Ms }: ReconnectSample): string {
  if (others.length === 0) return '-';
  const p99 = round(median(othersP99Ms), 1);
  return `${sum(othersRefused)} of ${sum(others)}, p99 ${p99} ms`;
}

function sum(values: readonly number[]): number {
  return values.reduce((all, one) => all + one, 0);
}
