// The page that shows what is in a folder: for a phone and a desk, in light and in dark.
//
// Invariant: names are text on it, never markup or a script; links lead below the page or above it
// by relative ways alone, so that it works behind whatever leads to it; nothing is fetched. Must
// not know: the file system.

import { isoTimeOf } from '../base/clock.ts';
import { escapeHtml } from '../base/html.ts';
import { inBytes } from '../base/size-text.ts';
import { type Entry, LISTED_MAX, type Listing } from './folder.ts';

/** The page runs nothing and fetches nothing. */
export const LISTING_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'self'";

const byName = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** Folders first, then by name, with numbers in the order of numbers. */
export function sortEntries(entries: readonly Entry[]): readonly Entry[] {
  return entries.toSorted((a, b) => {
    if (a.kind !== b.kind) return a.kind === 'folder' ? -1 : 1;
    return byName.compare(a.name, b.name) || (a.name < b.name ? -1 : 1);
  });
}

export function renderListing(names: readonly string[], { entries, isCut }: Listing): string {
  const title = `/${names.map((name) => `${name}/`).join('')}`;
  const rows = sortEntries(entries).map(renderEntry);
  const up = names.length === 0 ? [] : ['<tr><td colspan="3"><a href="../">../</a>'];
  const nothing =
    rows.length === 0 ? ['<tr><td colspan="3" class="note">Nothing is in this folder.'] : [];
  const more = isCut ? `<p class="note">Only ${LISTED_MAX} of its entries are shown.</p>` : '';
  return `${HEAD}<title>${escapeHtml(title)}</title>
<main>
<h1>${renderWay(names)}</h1>
<table>
<thead><tr><th scope="col">Name<th scope="col" class="size">Size
<th scope="col" class="time">Changed (UTC)
<tbody>
${[...up, ...rows, ...nothing].join('\n')}
</table>
${more}</main>
`;
}

/** The folders above, each a link. */
function renderWay(names: readonly string[]): string {
  const depth = names.length;
  if (depth === 0) return '/';
  const parts = names.map((name, at) => {
    const shown = `<bdi>${escapeHtml(name)}</bdi>`;
    const steps = depth - 1 - at;
    return steps === 0 ? `${shown}/` : `<a href="${'../'.repeat(steps)}">${shown}</a>/`;
  });
  return `<a href="${'../'.repeat(depth)}">/</a>${parts.join('')}`;
}

function renderEntry({ name, kind, size, modifiedMs }: Entry): string {
  const slash = kind === 'folder' ? '/' : '';
  // "./" in front: a name may look like a URL.
  const link = `./${encodeURIComponent(name)}${slash}`;
  const shown = kind === 'folder' ? '' : inBytes(size);
  const time = isoTimeOf(modifiedMs).slice(0, 16).replace('T', ' ');
  return (
    `<tr><td><a href="${escapeHtml(link)}"><bdi>${escapeHtml(name)}</bdi>${slash}</a>` +
    `<td class="size">${shown}<td class="time">${time}`
  );
}

const HEAD = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  :root { color-scheme: light dark; --ink: #1b2a33; --paper: #f4f7f8; --card: #fff;
    --line: #d5dfe3; --soft: #51646e; --link: #0b6175; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #dbe7ec; --paper: #10181c; --card: #18242a; --line: #2b3b43; --soft: #9db1bb;
      --link: #66d9e8; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
    background: var(--paper); }
  main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
  h1 { margin: 0 0 1rem; font-size: 1.25rem; overflow-wrap: anywhere; }
  a { color: var(--link); text-decoration: none; }
  a:hover, a:focus-visible { text-decoration: underline; }
  table { width: 100%; border-collapse: collapse; background: var(--card);
    border: 1px solid var(--line); }
  th, td { padding: 0; text-align: left; border-bottom: 1px solid var(--line); }
  th, .size, .time { padding: 0.5rem 0.75rem; }
  th { font-size: 0.85rem; color: var(--soft); }
  td a { display: block; padding: 0.5rem 0.75rem; overflow-wrap: anywhere; }
  .size, .time { width: 1%; white-space: nowrap; text-align: right; color: var(--soft);
    font-variant-numeric: tabular-nums; font-size: 0.9rem; }
  .note { padding: 0.5rem 0.75rem; color: var(--soft); }
  @media (max-width: 36rem) { .time { display: none; } }
</style>
`;
