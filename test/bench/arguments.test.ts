// Options of the bench: what cannot be is told with what to do, and never taken for something else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readArguments } from '../../native-free-bench/arguments.ts';

for (const [args, message] of [
  [['--rounds', '0'], /--rounds: '0' is no whole number above 0/],
  [['--ms', '1.5'], /--ms: '1\.5' is no whole number above 0/],
  [['--connections', '10,x'], /--connections: 'x' is no whole number above 0/],
  [['--factor', '1.1'], /--factor: '1\.1' is no number above 0 and at most 1/],
  [['--store', '--only', 'echo'], /--store: .* leave --only out/],
  [['--peer'], /Unknown option '--peer'/],
] as const) {
  test(`${args.join(' ')} is refused`, () => {
    assert.throws(() => readArguments(args), { message });
  });
}

for (const [args, fields] of [
  [[], { suite: 'rates', rounds: 3, ms: 3000, isAwake: false, isSmoke: false }],
  [['--check', '--only', 'echo'], { suite: 'check', only: 'echo', doesStore: false }],
  [['--store'], { suite: 'check', doesStore: true, factor: 0.85 }],
  [['--smoke', '--rounds', '9'], { isSmoke: true, rounds: 1, connections: [20] }],
  [['--awake', '--suite', 'mesh'], { suite: 'mesh', isAwake: true }],
  [['--congestion', 'cubic'], { congestion: 'cubic' }],
] as const) {
  test(`'${args.join(' ')}' is ${JSON.stringify(fields)}`, () => {
    assert.partialDeepStrictEqual(readArguments(args), fields);
  });
}
