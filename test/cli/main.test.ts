// The entry is run in a bare context with another Node's version: it must come to its message
// without an import, and in syntax that needs no module.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { ENTRY, runFile } from './run.ts';

function runEntry(version: string): { text: string; exitCode: number | undefined } {
  const source = readFileSync(ENTRY, 'utf8').replace(/^#!.*\n/, '');
  const said: string[] = [];
  const fake = {
    version: `v${version}`,
    versions: { node: version },
    stderr: { write: (text: string) => said.push(text) },
    exitCode: undefined as number | undefined,
  };
  runInNewContext(stripTypeScriptTypes(source), { process: fake });
  return { text: said.join(''), exitCode: fake.exitCode };
}

test('an old Node is refused in one line with exit code 2', () => {
  for (const version of ['12.22.0', '18.19.1', '20.20.2', '22.22.0', '23.11.0', '24.11.1']) {
    assert.deepEqual(runEntry(version), {
      text: `sluiceway needs Node 24.12 or later, this is v${version}\n`,
      exitCode: 2,
    });
  }
});

test('the first line makes the file a program', () => {
  assert.match(readFileSync(ENTRY, 'utf8'), /^#!\/usr\/bin\/env node\n/);
});

/** Prints each flag that the program gives to V8. */
const FLAGS_SHOWN = `
  const v8 = process.getBuiltinModule('node:v8');
  const set = v8.setFlagsFromString;
  v8.setFlagsFromString = (flag) => {
    process.stderr.write(flag + '\\n');
    set(flag);
  };
`;

async function flagsSet(ownOption: string, nodeOptions: string): Promise<string[]> {
  const shown = `--import data:text/javascript,${encodeURIComponent(FLAGS_SHOWN)}`;
  const env = { NODE_OPTIONS: `${shown} ${nodeOptions}` };
  const { code, stderr } = await runFile(ownOption, [ENTRY, 'version'], env);
  assert.equal(code, 0, stderr);
  return stderr.split('\n').filter((line) => line.startsWith('--'));
}

test('the young generation is kept small, unless the operator has said how large it is', async () => {
  const flags = await flagsSet('--no-warnings', '');
  assert.ok(flags.includes('--max-semi-space-size=8'), flags.join());
  const said = [
    ['--no-warnings', '--max-semi-space-size=16'],
    ['--min-semi-space-size=1', ''],
  ] as const;
  for (const [ownOption, nodeOptions] of said) {
    const left = await flagsSet(ownOption, nodeOptions);
    assert.ok(left.includes('--no-allocation-site-pretenuring'), left.join());
    const ofSize = left.filter((flag) => /semi.space/.test(flag));
    assert.deepEqual(ofSize, [], `${ownOption} ${nodeOptions}`);
  }
});

/** Prints how long a dial stays with one address, where it is not said. */
const ATTEMPT_SHOWN = `
  const net = process.getBuiltinModule('node:net');
  process.once('exit', () => {
    process.stderr.write('attempt ' + net.getDefaultAutoSelectFamilyAttemptTimeout());
  });
`;

test('what takes no options dials as patiently as the rest', async () => {
  const NODE_OPTIONS = `--import data:text/javascript,${encodeURIComponent(ATTEMPT_SHOWN)}`;
  const { code, stderr } = await runFile('--no-warnings', [ENTRY, 'version'], { NODE_OPTIONS });
  assert.deepEqual([code, stderr], [0, 'attempt 2500']);
});
