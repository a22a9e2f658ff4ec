// Goal: a file that is published by renaming it over the old one is there at every moment. Method:
// the server on a socket, visitors who ask while files are replaced under their names.

import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createFileServer } from '../../src/files/file-server.ts';
import { listen, stop } from '../../src/files/listening.ts';
import { undoAfter } from '../support/cleanup.ts';
import { scratchFolder } from '../support/programs.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const FILES = { 'a.txt': 'text of a', 'index.html': '<!doctype html><p>the index' } as const;
const TARGETS = ['/a.txt', '/'] as const;
const VISITORS = 4;

interface Site {
  /** New files under the names, which are never without one. */
  readonly publish: () => void;
  /** What each of several visitors gets, of each target. */
  readonly ask: () => Promise<string[]>;
}

async function startSite(t: TestContext): Promise<Site> {
  const outside = scratchFolder(t);
  const folder = scratchFolder(t);
  const publish = (): void => {
    for (const [name, text] of Object.entries(FILES)) {
      const fresh = path.join(outside, name);
      writeFileSync(fresh, text);
      renameSync(fresh, path.join(folder, name));
    }
  };
  publish();
  const options = { listing: true, hidden: false, accessLog: false, log: SILENT_LOG };
  const server = createFileServer({ folder, ...options });
  const port = await listen(server, { host: '127.0.0.1', port: 0, name: 'test' });
  undoAfter(t, () => stop(server));
  const get = async (target: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${port}${target}`);
    return `${target} ${answer.status} ${(await answer.text()).trim()}`;
  };
  const targets = Array.from({ length: VISITORS }, () => TARGETS).flat();
  return { publish, ask: () => Promise.all(targets.map(get)) };
}

const RIGHT = [`/a.txt 200 ${FILES['a.txt']}`, `/ 200 ${FILES['index.html']}`];

test('a file that is renamed over while it is asked for is there all the time', async (t) => {
  const site = await startSite(t);
  for (let round = 0; round < 40; round += 1) {
    const asked = site.ask();
    // Fewer times than a file is opened anew, at any moment of a request.
    for (let times = 0; times < 4; times += 1) {
      for (let turns = (round % 5) + 1; turns > 0; turns -= 1) await new Promise(setImmediate);
      site.publish();
    }
    assert.deepEqual([...new Set(await asked)], RIGHT, `round ${round}`);
  }
});

test('a file that is replaced faster than it can be opened is busy, and not absent', async (t) => {
  const site = await startSite(t);
  let isDone = false;
  const replacing = (async () => {
    while (!isDone) {
      site.publish();
      await new Promise(setImmediate);
    }
  })();
  const seen = new Set<string>();
  for (let round = 0; round < 10; round += 1) {
    for (const answer of await site.ask()) seen.add(answer);
  }
  isDone = true;
  await replacing;
  const busy = TARGETS.map((target) => `${target} 503 503 Service Unavailable`);
  const others = [...seen].filter((answer) => ![...RIGHT, ...busy].includes(answer));
  assert.deepEqual(others, []);
});
