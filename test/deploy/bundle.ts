// The package with its dependencies in it, and a registry that has Node's and npm's archives.
//
// Invariant: the archives are those that npm fetched, so their digests are the registry's own; each
// is fetched once and kept in .cache. Must not know: who installs.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { NODE_ARCHIVES, NPM_ARCHIVE } from '../../src/deploy/installation.ts';
import { undoAfter } from '../support/cleanup.ts';
import { environment } from '../support/tunnel.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CACHE = path.join(ROOT, '.cache/archives');
const run = promisify(execFile);

/** npm runs on the Node it came with. */
function npmEnvironment(): NodeJS.ProcessEnv {
  const env = environment();
  const folders = (env.PATH ?? '').split(':');
  env.PATH = folders.filter((folder) => !folder.endsWith('node_modules/.bin')).join(':');
  return env;
}

async function npm(cwd: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run('npm', args, { cwd, env: npmEnvironment(), timeout: 240_000 });
  return stdout;
}

/** An archive of the registry, as npm gives it. */
async function fetched(name: string, version: string): Promise<string> {
  const file = path.join(CACHE, `${name}-${version}.tgz`);
  if (!existsSync(file)) {
    mkdirSync(CACHE, { recursive: true });
    const scratch = path.join(CACHE, `part-${process.pid}`);
    mkdirSync(scratch, { recursive: true });
    await npm(scratch, ['pack', `${name}@${version}`, '--silent']);
    renameSync(path.join(scratch, `${name}-${version}.tgz`), file);
  }
  return file;
}

export interface Bundle {
  readonly file: string;
  readonly integrity: string;
}

/**
 * `npm pack` of the package, built, with all that it needs at run time inside. It is built apart
 * from dist/, which another test may be building at the same time.
 */
export async function packBundle(folder: string): Promise<Bundle> {
  const home = path.join(folder, 'package');
  const compiler = path.join(ROOT, 'node_modules/.bin/tsc');
  const out = path.join(home, 'dist');
  await run(compiler, ['-p', 'tsconfig.build.json', '--outDir', out], { cwd: ROOT });
  cpSync(path.join(ROOT, 'src/dashboard/page'), path.join(out, 'dashboard/page'), {
    recursive: true,
  });
  const own = readJson(path.join(ROOT, 'package.json'));
  const lock = readJson(path.join(ROOT, 'package-lock.json'));
  for (const [at, entry] of Object.entries(lock.packages as Record<string, LockEntry>)) {
    if (at === '' || entry.dev || entry.optional || entry.devOptional) continue;
    cpSync(path.join(ROOT, at), path.join(home, at), { recursive: true });
  }
  const scripts = {};
  const bundled = { ...own, scripts, bundleDependencies: true };
  writeFileSync(path.join(home, 'package.json'), JSON.stringify(bundled));
  const packed = path.join(folder, 'bundle');
  mkdirSync(packed);
  await npm(home, ['pack', '--pack-destination', packed, '--silent', '--ignore-scripts']);
  const [name = ''] = readdirSync(packed);
  const file = path.join(packed, name);
  const digest = createHash('sha512').update(readFileSync(file)).digest('base64');
  return { file, integrity: `sha512-${digest}` };
}

interface LockEntry {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
}

function readJson(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
}

export interface Registry {
  readonly url: string;
  /** Paths that were asked for. */
  readonly asked: readonly string[];
  /** Serves `file` at a path below it. */
  readonly add: (at: string, file: string) => void;
}

/** Node for this machine, and npm, at their places. */
export async function startRegistry(t: TestContext): Promise<Registry> {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const node = NODE_ARCHIVES[machine];
  if (node === undefined) throw new Error(`no archive for ${machine}`);
  const files = new Map<string, string>();
  for (const { package: name, version } of [node, NPM_ARCHIVE]) {
    files.set(`/${name}/-/${name}-${version}.tgz`, await fetched(name, version));
  }
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const at = request.url ?? '';
    asked.push(at);
    const file = files.get(at);
    if (file === undefined) response.writeHead(404).end('{}');
    else response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return { url, asked, add: (at, file) => files.set(at, file) };
}
