// The entry is run in a bare context with another Node's version: it must come to its message
// without an import, and in syntax that needs no module.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { ENTRY } from './run.ts';

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
