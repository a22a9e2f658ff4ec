// The files of the dashboard: its pages, its scripts and styles, and those of uPlot.
//
// Invariant: what is served is this list and nothing else, whatever a request names; each file is
// read once. Must not know: who asks, or what the pages show.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { embeddedFile } from '../base/embedded-file.ts';

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
  /** Quoted, as a header wants it. */
  readonly etag: string;
}

const HTML = 'text/html; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const SVG = 'image/svg+xml';

/** By name: the type, and where it is; `uplot:` is the package's folder of built files. */
const FILES: Readonly<Record<string, readonly [type: string, place: string]>> = {
  'index.html': [HTML, './page/index.html'],
  'login.html': [HTML, './page/login.html'],
  'icon.svg': [SVG, './page/icon.svg'],
  'style.css': [CSS, './page/style.css'],
  'app.js': [SCRIPT, './page/app.js'],
  'charts.js': [SCRIPT, './page/charts.js'],
  'elements.js': [SCRIPT, './page/elements.js'],
  'inspector.js': [SCRIPT, './page/inspector.js'],
  'format.js': [SCRIPT, './page/format.js'],
  'tables.js': [SCRIPT, './page/tables.js'],
  'uplot.css': [CSS, 'uplot:uPlot.min.css'],
  'uplot.js': [SCRIPT, 'uplot:uPlot.esm.js'],
};
const ETAG_LENGTH = 16;

export class Assets {
  readonly #read = new Map<string, Promise<Asset>>();

  /** Undefined for a name that is not in the list; rejects when a file is missing. */
  find(name: string): Promise<Asset> | undefined {
    const known = this.#read.get(name);
    const file = Object.hasOwn(FILES, name) ? FILES[name] : undefined;
    if (known !== undefined || file === undefined) return known;
    const reading = readAsset(...file);
    this.#read.set(name, reading);
    return reading;
  }
}

/** All names, for a test that each is there. */
export const ASSET_NAMES = Object.keys(FILES);

/** What a single executable must hold: the file on disk by the name it has in there. */
export function filesToEmbed(): Readonly<Record<string, URL>> {
  const places = Object.values(FILES).map(([, place]) => place);
  return Object.fromEntries(places.map((place) => [embeddedName(place), urlOf(place)]));
}

async function readAsset(type: string, place: string): Promise<Asset> {
  const body = embeddedFile(embeddedName(place)) ?? (await readFile(urlOf(place)));
  const digest = createHash('sha256').update(body).digest('base64url').slice(0, ETAG_LENGTH);
  return { type, body, etag: `"${digest}"` };
}

/** What a file of a place is called inside of a single executable. */
function embeddedName(place: string): string {
  return `dashboard/${place.replace('uplot:', './uplot/')}`.replace('/./', '/');
}

function urlOf(place: string): URL {
  const [scheme, file = ''] = place.split(':');
  if (scheme !== 'uplot') return new URL(place, import.meta.url);
  return new URL(file, import.meta.resolve('uplot'));
}
