// The files of a report: report.json and report.html, in a folder of the user's choice.
//
// Invariant: a file of that name that is not a report of ours is never written over; a file is
// replaced whole. Must not know: what the report says.

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { PAGE_START, pageOf } from './page.ts';
import type { BenchReport } from './report.ts';

const JSON_FILE = 'report.json';
const HTML_FILE = 'report.html';
/** Our JSON names itself first. */
const JSON_START = '{\n  "sluicewayBench":';

/** What is in the way, and what to do. */
export function canWrite(folder: string): string | undefined {
  try {
    makeFolder(folder);
    if (!statSync(folder).isDirectory()) return `--output: ${folder} is no folder`;
    for (const [name, start] of [
      [JSON_FILE, JSON_START],
      [HTML_FILE, PAGE_START],
    ] as const) {
      const file = path.join(folder, name);
      if (!existsSync(file) || readFileSync(file, 'utf8').startsWith(start)) continue;
      return `--output: ${file} is there, and no report of sluiceway bench; choose another folder`;
    }
    accessSync(folder, constants.W_OK);
    return undefined;
  } catch (error) {
    return `--output: ${folder} cannot be written: ${(error as Error).message}`;
  }
}

/** Not by the option for it: below /proc, where nothing can be made, Node tries again for ever. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(path.dirname(folder));
  mkdirSync(folder);
}

/** The paths that were written. */
export function writeReport(folder: string, report: BenchReport): string[] {
  const files = [
    [JSON_FILE, `${JSON.stringify(report, undefined, 2)}\n`],
    [HTML_FILE, pageOf(report)],
  ] as const;
  return files.map(([name, text]) => {
    const file = path.join(folder, name);
    writeFileSync(`${file}.tmp`, text);
    renameSync(`${file}.tmp`, file);
    return file;
  });
}
