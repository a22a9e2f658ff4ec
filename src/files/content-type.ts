// What a file is, by its name, for the browser that gets it.
//
// Invariant: the one file that knows the package of types; text says that it is UTF-8, and what is
// not known is bytes, which a browser saves and does not run. Must not know: what is in a file.

import mime from 'mime';

const UNKNOWN = 'application/octet-stream';
const UTF8 = '; charset=utf-8';
/** Text by what it holds, though not by its type. */
const TEXT = /^(?:text\/|application\/(?:javascript|xml|xhtml\+xml)$|image\/svg\+xml$)/;

export function contentTypeOf(name: string): string {
  // What has no dot has no extension: "html" is a name, not a page.
  const type = name.includes('.') ? (mime.getType(name) ?? UNKNOWN) : UNKNOWN;
  return TEXT.test(type) ? `${type}${UTF8}` : type;
}
