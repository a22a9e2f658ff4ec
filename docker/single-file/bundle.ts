// Two scripts of everything that the program needs: one for the main thread, one for shards.
//
// Piscina loads its worker's script from beside itself, and that script loads ours by path; in a
// single executable there are no paths. So its pool is given a Worker that runs the second script
// from memory, and in there the path of our entry means the module that is bundled with it.
// Invariant: a release of piscina that does otherwise fails the build and not the program. Must not
// know: which machine it is for, but for the form of its paths.

import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild';

export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url));
/** The name under which the executable holds the script of shards. */
export const SHARD_SCRIPT = 'shard.cjs';

/** Add-ons that their packages do without; they would not be found in one file. */
const OPTIONAL = ['msgpackr-extract', 'bufferutil', 'utf-8-validate', '@napi-rs/nice'];
const PISCINA = path.dirname(createRequire(import.meta.url).resolve('piscina'));
const POOL = path.join(PISCINA, 'worker_pool/index.js');
const WORKER = path.join(PISCINA, 'worker.js');
const SHARD_ENTRY = path.join(ROOT, 'src/shard/entry.ts');
const SHARD_SYMBOL = `Symbol.for('sluiceway.shard')`;
const EMBEDDED_WORKER = `
const threads = require('node:worker_threads');
const script = require('node:sea').getAsset('${SHARD_SCRIPT}', 'utf8');
class EmbeddedWorker extends threads.Worker {
  constructor(_file, options) {
    super(script, { ...options, eval: true });
  }
}
module.exports = { ...threads, Worker: EmbeddedWorker };
`;

export interface Bundle {
  readonly main: string;
  readonly shard: string;
  /** Folders of the packages that are in it. */
  readonly packages: readonly string[];
}

/** `isWindows`: a path there has the letter of a drive, also one that leads nowhere. */
export async function bundleProgram(isWindows: boolean): Promise<Bundle> {
  const url = JSON.stringify(`file:///${isWindows ? 'C:/' : ''}sluiceway/program.js`);
  const options: BuildOptions = {
    ...{ bundle: true, write: false, platform: 'node', format: 'cjs', target: 'node24' },
    ...{ minifySyntax: true, minifyWhitespace: true, keepNames: true, metafile: true },
    ...{ external: OPTIONAL, define: { 'import.meta.url': url }, logLevel: 'error' },
    // What asks where a package lies is never reached in one file.
    logOverride: { 'empty-import-meta': 'silent' },
  };
  const pool = embeddedWorkers();
  const main = await build({
    ...options,
    entryPoints: [path.join(ROOT, 'src/cli/main.ts')],
    plugins: [pool.plugin],
  });
  if (pool.count() !== 1) throw new Error(`${POOL} starts no worker: see docker/single-file`);
  const shard = await build({
    ...options,
    stdin: {
      contents: `globalThis[${SHARD_SYMBOL}] = require(${JSON.stringify(SHARD_ENTRY)});
        require(${JSON.stringify(WORKER)});`,
      resolveDir: ROOT,
    },
    banner: { js: '((require) => {' },
    footer: {
      js: `})((id) => id === require('node:url').fileURLToPath(${url})
        ? globalThis[${SHARD_SYMBOL}] : require(id));`,
    },
  });
  return {
    main: main.outputFiles?.[0]?.text ?? '',
    shard: shard.outputFiles?.[0]?.text ?? '',
    packages: packagesOf(main.metafile, shard.metafile),
  };
}

/** Gives piscina's pool a Worker of the script in memory, and counts how often it asked. */
function embeddedWorkers(): { readonly plugin: Plugin; readonly count: () => number } {
  let count = 0;
  const namespace = 'embedded-worker';
  const plugin: Plugin = {
    name: namespace,
    setup(building) {
      building.onResolve({ filter: /^node:worker_threads$/ }, ({ importer }) => {
        if (importer !== POOL) return undefined;
        count += 1;
        return { path: namespace, namespace };
      });
      building.onLoad({ filter: /./, namespace }, () => ({ contents: EMBEDDED_WORKER }));
    },
  };
  return { plugin, count: () => count };
}

function packagesOf(...metafiles: readonly (Metafile | undefined)[]): string[] {
  const inputs = metafiles.flatMap((metafile) => Object.keys(metafile?.inputs ?? {}));
  const found = inputs.flatMap((input) => {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//u.exec(input)?.[1];
    return match === undefined ? [] : [path.resolve(match)];
  });
  return [...new Set(found)].sort();
}
