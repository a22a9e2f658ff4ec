// A machine of a cloud: the very server that its user data tells systemd to start, as a process.
//
// Invariant: files, options and state are those of the user data, in a folder of the test. Must not
// know: which cloud gave it.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { parse } from 'yaml';
import { commandWords, oneValue } from '../deploy/unit-words.ts';
import { startProcess, type TestProcess } from './process.ts';
import { ENTRY } from './tunnel.ts';

export interface MachineOptions {
  readonly userData: string;
  /** Empty. */
  readonly folder: string;
  /** The machine's own address, in place of all that a process would listen on. */
  readonly address?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export function startMachine(t: TestContext, options: MachineOptions): TestProcess {
  const { userData, folder, address } = options;
  const { write_files: files } = parse(userData) as {
    write_files: { path: string; content: string }[];
  };
  const etc = path.join(folder, 'etc');
  const state = path.join(folder, 'state');
  mkdirSync(etc);
  mkdirSync(state);
  for (const { path: at, content } of files)
    writeFileSync(path.join(etc, path.basename(at)), content);
  const unit = files.find(({ path: at }) => at.endsWith('/sluiceway.service'))?.content ?? '';
  const [, , ...words] = commandWords(oneValue(unit, 'ExecStart'));
  const args = words.map((word) =>
    word
      .replace('/etc/sluiceway/', `${etc}/`)
      .replace('/var/lib/sluiceway', state)
      .replace(/^0\.0\.0\.0:/u, address === undefined ? '$&' : `${address}:`),
  );
  const env = { PATH: process.env.PATH ?? '', STATE_DIRECTORY: state, ...options.env };
  const command = process.execPath;
  return startProcess(t, { name: 'machine', command, args: [ENTRY, ...args], env, endCode: 0 });
}
