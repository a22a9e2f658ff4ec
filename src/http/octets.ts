// Classes of octets in HTTP/1.1 heads, as tables: one lookup a byte, and no regular expression.
//
// Invariant: a table holds 1 for exactly the octets that RFC 9110 and 9112 allow in its place, less
// what section "targets" below says; everything else, NUL and CTLs first of all, is 0.
// Must not know: where in a head a byte stands.

export const TAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const HASH = 0x23;
export const COMMA = 0x2c;
export const DASH = 0x2d;
export const DOT = 0x2e;
export const SLASH = 0x2f;
export const ZERO = 0x30;
export const NINE = 0x39;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const QUESTION = 0x3f;
export const AT = 0x40;
export const BRACKET_OPEN = 0x5b;
export const BACKSLASH = 0x5c;
export const BRACKET_CLOSE = 0x5d;
export const QUOTE = 0x22;

function tableOf(text: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < text.length; i += 1) table[text.charCodeAt(i)] = 1;
  return table;
}

function range(first: number, last: number): string {
  let text = '';
  for (let code = first; code <= last; code += 1) text += String.fromCharCode(code);
  return text;
}

const ALPHA = range(0x41, 0x5a) + range(0x61, 0x7a);
const DIGIT = range(0x30, 0x39);
const VISIBLE = range(0x21, 0x7e);
const OBS_TEXT = range(0x80, 0xff);

/** tchar of RFC 9110 5.6.2: methods, field names, chunk extension names. */
export const TOKEN = tableOf(`!#$%&'*+-.^_\`|~${DIGIT}${ALPHA}`);
/** Field values and reasons: HTAB, SP, VCHAR, obs-text. */
export const VALUE = tableOf(`\t ${VISIBLE}${OBS_TEXT}`);
/** qdtext of RFC 9110 5.6.4. */
export const QUOTED = tableOf(`\t ${VISIBLE.replace('"', '').replace('\\', '')}${OBS_TEXT}`);
/** Targets: visible ASCII. `#` and `\` are left out, for they read differently to each server. */
export const TARGET = tableOf(VISIBLE.replace('#', '').replace('\\', ''));
/** Registered names after lower-casing; narrower than RFC 3986, without percent-encoding. */
export const HOST = tableOf(`._-${DIGIT}${range(0x61, 0x7a)}`);
/** Inside the brackets of an IPv6 literal, without a zone. */
export const IPV6 = tableOf(`:.${DIGIT}abcdefABCDEF`);

/** Value of a hexadecimal digit, 255 for every other octet. */
export const HEX = new Uint8Array(256).fill(255);
/** Lower case, ASCII only. */
export const LOWER = new Uint8Array(256);
/** Lower case, and `_` and `.` as `-`: how CGI and its heirs see field names. */
export const FOLDED = new Uint8Array(256);

for (let code = 0; code < 256; code += 1) {
  const lower = code >= 0x41 && code <= 0x5a ? code + 32 : code;
  LOWER[code] = lower;
  FOLDED[code] = lower === 0x5f || lower === DOT ? DASH : lower;
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(lower));
  if (digit >= 0) HEX[code] = digit;
}

/** The octets of `text`, for `matches`. */
export function octets(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** Is `bytes` from `start` the same as `text`, after `fold`? The caller has compared lengths. */
export function matches(
  bytes: Uint8Array,
  start: number,
  text: Uint8Array,
  fold: Uint8Array,
): boolean {
  for (let i = 0; i < text.length; i += 1) {
    if (fold[bytes[start + i] as number] !== text[i]) return false;
  }
  return true;
}
