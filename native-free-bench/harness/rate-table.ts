// The table of rates: the tunnel beside no tunnel and two plain relays.
//
// Pure. Must not know: scenarios, peers.

import type { Sample } from './rounds.ts';
import { costText, median, percent, ratio, round, spread, table } from './table.ts';

export function rateTable(samples: readonly Sample[]): string {
  const titles = ['scenario', 'tunnel', 'none', 'two relays'];
  return table([[...titles, 'of none', 'of relays', 'spread', 'CPU'], ...samples.map(cellsOf)]);
}

function cellsOf({ scenario, unit, sides }: Sample): string[] {
  const [tunnel, direct, relays] = ['tunnel', 'direct', 'relays'].map(
    (name) => sides[name]?.rates ?? [],
  ) as [number[], number[], number[]];
  return [
    scenario,
    ...[tunnel, direct, relays].map((rates) => `${round(median(rates))} ${unit}`),
    ratio(tunnel, direct),
    ratio(tunnel, relays),
    percent(spread(tunnel)),
    costText(unit, sides.tunnel?.costs ?? []),
  ];
}
