// `npm run bench`: the tunnel beside no tunnel, plain relays and other tunnels, interleaved.
//
// Prints tables and keeps the raw figures in results/ and, the last run's, in report.json. Absolute
// rates drift between machines and hours; the ratios inside one run hold. `--smoke` runs every
// scenario for a moment, as the tests do.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Children } from './harness/children.ts';
import type { Suite, SuiteResult } from './harness/suite.ts';
import { ENTRY } from './harness/tunnel.ts';
import { PEERS_FOLDER } from './peers/peer.ts';
import { measureDistance } from './suites/distance.ts';
import { measureForward } from './suites/forward.ts';
import { measureHttp } from './suites/http.ts';
import { measureLatency } from './suites/latency.ts';
import { measureMemory } from './suites/memory.ts';
import { measureRates } from './suites/rates.ts';
import { measureSlow } from './suites/slow.ts';
import { measureTls } from './suites/tls.ts';

const SUITES: Readonly<Record<string, Suite>> = {
  rates: measureRates,
  http: measureHttp,
  latency: measureLatency,
  memory: measureMemory,
  distance: measureDistance,
  slow: measureSlow,
  tls: measureTls,
  forward: measureForward,
};
const SMOKE = { rounds: 1, ms: 250, connections: 20 };

const { values } = parseArgs({
  options: {
    suite: { type: 'string', default: 'rates' },
    smoke: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    ms: { type: 'string', default: '3000' },
    shards: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    wide: { type: 'boolean', default: false },
    connections: { type: 'string', default: '1000' },
    peers: { type: 'boolean', default: false },
    entry: { type: 'string', default: ENTRY },
    'peers-dir': { type: 'string', default: PEERS_FOLDER },
    alone: { type: 'boolean', default: false },
  },
});

const suite = SUITES[values.suite];
if (suite === undefined) {
  process.stderr.write(`bench: no suite ${values.suite}: ${Object.keys(SUITES).join(', ')}\n`);
  process.exit(2);
}
const children = new Children();
try {
  const result = await suite({
    rounds: Number(values.rounds),
    ms: Number(values.ms),
    connections: Number(values.connections),
    ...(values.smoke ? SMOKE : {}),
    shards: Number(values.shards),
    entry: values.entry,
    only: values.only,
    isWide: values.wide,
    hasPeers: values.peers,
    isAlone: values.alone,
    isSmoke: values.smoke,
    peersFolder: values['peers-dir'],
    children,
    tell,
  });
  tell('');
  process.stdout.write(result.text);
  for (const line of result.left) process.stdout.write(`left out: ${line}\n`);
  if (!values.smoke) keep(result);
} finally {
  children.stop();
}
process.exit(0);

function tell(progress: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${progress}`);
}

function keep({ samples, versions, left }: SuiteResult): void {
  const folder = path.join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  const date = new Date().toISOString();
  const environment = {
    node: process.version,
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memory: totalmem(),
    kernel: release(),
    date,
    args: process.argv.slice(2),
    versions,
  };
  const name = `${values.suite}-${date.replace(/[:.]/g, '-')}.json`;
  const text = `${JSON.stringify({ environment, left, samples }, undefined, 2)}\n`;
  writeFileSync(path.join(folder, name), text);
  writeFileSync(path.join(import.meta.dirname, 'report.json'), text);
  process.stdout.write(`raw figures: native-free-bench/results/${name}\n`);
}
