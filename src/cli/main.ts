#!/usr/bin/env node
// The entry of the program: refuses a Node that is too old, then loads the rest.
//
// Invariant: nothing is imported before the version is known to do, and the syntax here is old
// enough for any Node that can read a module; the rest would fail on it with an error that
// explains nothing. Must not know: commands.

const parts = process.versions.node.split('.').map(Number);
const major = Number(parts[0]);

if (major < 24 || (major === 24 && Number(parts[1]) < 12)) {
  process.stderr.write(`sluiceway needs Node 24.12 or later, this is ${process.version}\n`);
  process.exitCode = 2;
} else {
  // base/late-compilers.ts says why, and releases it: to load that first would be heat enough.
  const v8 = process.getBuiltinModule('node:v8');
  v8.setFlagsFromString('--minimum-invocations-before-optimization=2147483647');
  // What a thread allocates for a connection must die young; docs/decisions/0038 has the figures.
  v8.setFlagsFromString('--no-allocation-site-pretenuring');
  // In MiB. A thread that has carried many connections keeps 40 MB less (0043), and is as fast.
  const said = process.execArgv.concat(process.env.NODE_OPTIONS || '').join(' ');
  if (!/semi.space/.test(said)) v8.setFlagsFromString('--max-semi-space-size=8');
  // Who asks for Node's reports has the environment in them, and SLUICEWAY_TOKEN with it.
  if (/--report/.test(said)) process.report.excludeEnv = true;
  import('./program.ts').then(
    (program) => program.main(process.argv),
    (error) => {
      process.stderr.write(`sluiceway: cannot load the program: ${String(error)}\n`);
      process.exitCode = 1;
    },
  );
}
