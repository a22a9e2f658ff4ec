// Goal: figures read as people write them, and what is left out is counted. Method: the page's own
// module, loaded as the browser does, without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

interface Format {
  some(shown: readonly string[], all: number): string;
}

const PAGE = new URL('../../src/dashboard/page/format.js', import.meta.url);
const show: Format = await import(PAGE.href);

test('a list says how many it leaves out', () => {
  assert.equal(show.some([], 0), '');
  assert.equal(show.some(['a', 'b'], 2), 'a, b');
  assert.equal(show.some(['a', 'b'], 994), 'a, b, … and 992 more');
});
