// Files of an operator in a folder of the test's own, and who reads them, with a clock that is
// moved by hand.
//
// Invariant: everything ends with the test. Must not know: what is changed, or when.

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { readServer, type ServerReading } from '../../src/config/config.ts';
import { AccessControl } from '../../src/control/access.ts';
import { undoAfter } from '../support/cleanup.ts';
import { TOKEN } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

export class FileBench {
  readonly clock = new FakeClock();
  readonly reloads = new Map<string, number>();
  readonly lines = new LogLines('control');
  readonly log = this.lines.log;
  readonly #folder: string;

  constructor(t: TestContext) {
    this.#folder = scratchFolder(t);
  }

  /** Writes a file, and gives its path. */
  put(name: string, text: string): string {
    const file = path.join(this.#folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  }

  /** Tokens alone open, those of the file. */
  access(t: TestContext, tokensFile: string): AccessControl {
    const { clock, log, reloads } = this;
    const access = new AccessControl({
      ...{ token: undefined, tokensUsageFile: undefined, oidc: undefined, accepting: 1 },
      ...{ tokensFile, clock, log, reloads },
      bridges: () => [],
      endLinks: () => 0,
      onGrants: () => {},
      onRefusal: () => {},
    });
    undoAfter(t, () => access.close());
    return access;
  }

  /** Lets the clock run until `look` raises nothing any more. */
  async until(what: string, look: () => void): Promise<void> {
    await eventually(10_000, what, async () => {
      this.clock.advance(1000);
      look();
    });
  }
}

export function tokensOf(...secrets: readonly string[]): string {
  const entries = secrets.map((secret) => {
    const digest = createHash('sha256').update(secret).digest('hex');
    return `  - name: of-${secret}\n    hashes: [sha256:${digest}]\n`;
  });
  return `tokens:\n${entries.join('')}`;
}

export function readNow(config: string): ServerReading {
  return readServer({
    command: 'server',
    flags: { 'control-addr': '127.0.0.1:0' },
    env: { SLUICEWAY_TOKEN: TOKEN },
    file: { path: config, text: readFileSync(config, 'utf8') },
    defaults: { cores: 2, logFormat: 'json' },
    readFile: (file) => readFileSync(file, 'utf8'),
  });
}
