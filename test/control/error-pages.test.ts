import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/base/errors.ts';
import { readErrorPages } from '../../src/control/error-pages.ts';
import { undoAfter } from '../support/cleanup.ts';

function folder(t: TestContext, files: Readonly<Record<string, string | Buffer>>): string {
  const root = mkdtempSync(path.join(tmpdir(), 'sluiceway-pages-'));
  undoAfter(t, () => rmSync(root, { recursive: true }));
  for (const [name, content] of Object.entries(files))
    writeFileSync(path.join(root, name), content);
  return root;
}

async function refused(where: string, wanted: RegExp): Promise<void> {
  await assert.rejects(readErrorPages(where), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^--error-pages: /);
    assert.match(error.message, wanted);
    return true;
  });
}

test('reads the pages that are named after a status, links too, and nothing else', async (t) => {
  const root = folder(t, { '503.html': 'Später!', 'logo.svg': '<svg/>', 'README.md': '' });
  writeFileSync(path.join(root, '..page'), 'not found');
  symlinkSync('..page', path.join(root, '404.html'));
  writeFileSync(path.join(root, '413.html'), Buffer.alloc(64 * 1024, 'x'));
  const pages = await readErrorPages(root);
  assert.deepEqual(
    pages.map(([status, text]) => [status, text.length]),
    [
      [404, 9],
      [413, 65_536],
      [503, 7],
    ],
  );
  assert.deepEqual(await readErrorPages(undefined), []);
});

test('refuses what cannot be sent, and names the file and the reason', async (t) => {
  await refused('/nowhere/at/all', /\/nowhere\/at\/all cannot be read: ENOENT$/);
  await refused(folder(t, {}), /holds no page, such as 503\.html$/);
  await refused(
    folder(t, { '503.html': Buffer.alloc(65_537) }),
    /503\.html is larger than 64 KiB$/,
  );
  await refused(folder(t, { '502.html': Buffer.from([0xff]) }), /502\.html is not UTF-8 text$/);
  await refused(folder(t, { '200.html': 'ok' }), /200\.html is for a status that no visitor gets$/);
  await refused(
    folder(t, { '418.html': 'tea' }),
    /418\.html is for a status that no visitor gets$/,
  );
  const file = path.join(folder(t, { '503.html': 'x' }), '503.html');
  await refused(file, /cannot be read: ENOTDIR$/);
  const nested = folder(t, {});
  mkdirSync(path.join(nested, '503.html'));
  await refused(nested, /503\.html is not a regular file$/);
  const piped = folder(t, {});
  execFileSync('mkfifo', [path.join(piped, '503.html')]);
  await refused(piped, /503\.html is not a regular file$/);
});
