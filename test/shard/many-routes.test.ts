// Goal: what changes costs itself, among however many routes, so that thousands that come or go
// together keep no visitor waiting. Method: the work of a few is counted, and that of many.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { countWork } from '../support/work.ts';
import { Bench } from './router-bench.ts';

const FEW = 100;
const TIMES = 4;

/** `steps` gives what to count, one after the other, with so many links. */
async function assertLinear(
  t: TestContext,
  steps: (bench: Bench, links: readonly string[]) => readonly (() => void)[],
): Promise<void> {
  const counts: number[][] = [];
  for (const size of [FEW, FEW * TIMES]) {
    const links = Array.from({ length: size }, (_, client) => `c${client}/1`);
    const work: number[] = [];
    for (const step of steps(new Bench(t), links)) work.push(await countWork(step));
    counts.push(work);
  }
  const [few = [], many = []] = counts;
  for (const [step, count] of few.entries()) {
    assert.ok(count >= FEW, `step ${step}: ${count} is no count of what is done for ${FEW}`);
    const ratio = (many[step] ?? 0) / count;
    assert.ok(ratio < TIMES * 1.2, `step ${step}: ${ratio} times the work for ${TIMES} times more`);
  }
}

test('a route costs itself to add, to declare anew and to withdraw', (t) =>
  assertLinear(t, (bench, links) => {
    const options = { 'allow-ips': ['0.0.0.0/0'], affinity: ['ip'] };
    const addAll = (weight: string) => () => {
      for (const link of links) {
        bench.apply('add', 'site', link, { options: { ...options, weight: [weight] } });
      }
    };
    const removeAll = () => {
      // Those in the middle first, then either end in turn.
      const sorted = links.map((link, at) => ({ link, far: Math.abs(at - links.length / 2) }));
      sorted.sort((left, right) => left.far - right.far);
      for (const { link } of sorted) bench.apply('remove', 'site', link);
    };
    return [addAll('1'), addAll('2'), removeAll];
  }));

test('links that end together cost the shard each its own tunnels, and no more', (t) =>
  assertLinear(t, (bench, links) => {
    const name = (link: string): string => `site-${link}`;
    const removeAll = () => {
      for (const link of links) bench.router.removeLink(link);
    };
    return [
      () => {
        for (const link of links) bench.apply('add', name(link), link);
      },
      removeAll,
      () => {
        for (const link of links) assert.equal(bench.router.isServed(name(link)), false);
        // A link that left is told of once more when it ends.
        removeAll();
      },
    ];
  }));

for (const [what, nameOf] of [
  ['hosts', (link: string) => link.replace('/1', '.example.com')],
  ['paths of one host', (link: string) => `example.com/${link}`],
] as const) {
  test(`tunnels that are forgotten together cost each what it has: ${what}`, (t) =>
    assertLinear(t, (bench, links) => {
      const names = links.map(nameOf);
      for (const name of names) {
        bench.apply('add', name);
        for (const status of [200, 404, 503]) bench.meters.onRequest(name, 'GET', status, 5);
      }
      return [
        () => {
          for (const name of names) bench.apply('forget', name);
        },
      ];
    }));
}
