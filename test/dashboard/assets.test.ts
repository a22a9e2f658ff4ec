// Goal: every file of the dashboard is where it should be, and nothing else can be had. Method:
// each name of the list, names that try to leave it, and what the pages themselves ask for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ASSET_NAMES, Assets } from '../../src/dashboard/assets.ts';

test('each file is there, with a type and a mark of its bytes', async () => {
  const assets = new Assets();
  const etags = new Set<string>();
  for (const name of ASSET_NAMES) {
    const asset = await assets.find(name);
    assert.ok(asset !== undefined && asset.body.length > 0, name);
    assert.match(asset.etag, /^"[\w-]{16}"$/u);
    etags.add(asset.etag);
    assert.equal(await assets.find(name), asset, 'read once');
  }
  assert.equal(etags.size, ASSET_NAMES.length);
});

test('other names are not', () => {
  const assets = new Assets();
  const names = [
    '',
    '.',
    '..',
    '../assets.ts',
    'page/index.html',
    'INDEX.HTML',
    'index.html?',
    '/',
  ];
  for (const name of [...names, 'constructor', '__proto__', 'toString', 'uplot:x', '%2e%2e/x']) {
    assert.equal(assets.find(name), undefined, name);
  }
});

test('pages ask for files of the list and for nobody else', async () => {
  const assets = new Assets();
  for (const name of ASSET_NAMES.filter((one) => !one.startsWith('uplot'))) {
    const text = (await assets.find(name))?.body.toString() ?? '';
    const links = text.matchAll(/(?:src|href)="([^"#]+)"|from '(?:\.|\/assets)\/([^']+)'/gu);
    for (const [, link = '', module] of links) {
      if (module !== undefined) assert.ok(ASSET_NAMES.includes(module), `${name}: ${module}`);
      else if (link.startsWith('/assets/')) assert.ok(ASSET_NAMES.includes(link.slice(8)), link);
      else assert.equal(link, '/metrics', `${name} asks for ${link}`);
    }
    if (name !== 'icon.svg') assert.doesNotMatch(text, /https?:\/\//u, name);
    assert.doesNotMatch(text, /innerHTML|insertAdjacentHTML|style="|\bon\w+="|<style/u, name);
  }
});
