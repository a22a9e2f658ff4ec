// The suite of distance: bulk of one stream while client and server are a round trip apart.
//
// Invariant: only the link goes the long way; visitor and origin stay near. `direct` is the origin
// with the same delay before it, which shows what the delaying relay itself can do.

import { Children } from '../harness/children.ts';
import { measureDownload, measureUpload } from '../harness/load.ts';
import { startDelay, startOrigins } from '../harness/plain.ts';
import { failuresIn, measureRounds, type Sample, type Scenario } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { median, round, table } from '../harness/table.ts';

const ROUND_TRIPS_MS = [20, 50, 100];
/** Windows that grow need some round trips before they are what they will be. */
const GROWN_AFTER_TRIPS = 20;

export async function measureDistance(options: SuiteOptions): Promise<SuiteResult> {
  const trips = options.isSmoke ? ROUND_TRIPS_MS.slice(0, 1) : ROUND_TRIPS_MS;
  const { samples, sides, left } = await sampleDistance(options, trips);
  const names = sides.map(({ name }) => name);
  const rows = samples.map(({ scenario, sides: of }) => [
    scenario,
    ...names.map((name) => `${round(median(of[name]?.rates ?? []))} MB/s`),
  ]);
  const text = table([['one stream', ...names], ...rows]);
  return { text, samples, versions: versionsOf(sides), left };
}

/** Every side anew for each round trip, as its links are what goes the long way. */
export async function sampleDistance(
  options: SuiteOptions,
  roundTripsMs: readonly number[],
): Promise<Sampled<Sample>> {
  const samples: Sample[] = [];
  let sides: Side[] = [];
  let left: readonly string[] = [];
  for (const roundTripMs of roundTripsMs) {
    const children = new Children();
    try {
      const origins = await startOrigins(children);
      const through = (port: number): Promise<number> => startDelay(children, port, roundTripMs);
      const started = await startSides({ ...options, children }, { origins, through });
      const direct: Side = {
        name: 'direct',
        version: '',
        ports: { raw: await through(origins.raw) },
        pids: { server: [], client: [] },
      };
      sides = [started.tunnel, direct, ...started.peers];
      left = started.left;
      const { rounds, tell } = options;
      const scenarios = scenariosFor(roundTripMs, options);
      samples.push(...(await measureRounds({ scenarios, sides, rounds, tell })));
    } finally {
      children.stop();
    }
  }
  return { samples, sides, left: [...left, ...failuresIn(samples)] };
}

function scenariosFor(roundTripMs: number, { only, ms, isSmoke }: SuiteOptions): Scenario[] {
  // The load's own warm-up is half a second; at 100 ms that is five round trips.
  const warmUp = isSmoke ? undefined : { warmUpMs: GROWN_AFTER_TRIPS * roundTripMs };
  return [
    { name: `download, ${roundTripMs} ms`, load: measureDownload },
    { name: `upload, ${roundTripMs} ms`, load: measureUpload },
  ]
    .filter(({ name }) => name.includes(only))
    .map(({ name, load }) => ({
      name,
      unit: 'MB/s',
      measure: ({ ports: { raw } }, meter) =>
        raw === undefined
          ? undefined
          : load({ target: { port: raw }, connections: 1, ms, meter, ...warmUp }),
    }));
}
