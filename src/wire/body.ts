// Control bodies: msgpack maps with string keys, checked byte by byte before they are decoded.
//
// Invariant: no extension type, no depth over BODY_DEPTH_MAX, no item count that the bytes cannot
// hold, no key but text, no bad UTF-8 and no trailing byte ever reaches msgpackr; what does is read
// into Maps, so that no key can touch a prototype (CVE-2023-52079 and kin), and a map that names a
// key twice is refused. Must not know: what the maps mean.

import { isUtf8 } from 'node:buffer';
import { Packr, Unpackr } from 'msgpackr';
import { WireError } from '../base/errors.ts';

/** Deepest nesting: a map of a list of maps is 3 (guess with room for one more level). */
const BODY_DEPTH_MAX = 6;

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: false, int64AsType: 'number' });

export type BodyValue = string | number | boolean | null | BodyValue[] | BodyMap | Uint8Array;
export type BodyMap = ReadonlyMap<string, BodyValue>;

/** Encodes a plain object; the result is a copy of its own. */
export function encodeBody(fields: object): Uint8Array {
  return new Uint8Array(packr.pack(fields));
}

/** Decodes a body. Raises WireError for anything but one map of plain values. */
export function decodeBody(bytes: Uint8Array): BodyMap {
  const pairs = checkBody(bytes);
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (cause) {
    throw new WireError('SLW_WIRE_BODY_INVALID', 'body cannot be decoded', { cause });
  }
  if (!(value instanceof Map)) throw new WireError('SLW_WIRE_BODY_INVALID', 'body is not a map');
  if (countPairs(value as BodyMap) !== pairs) throw invalid('a map names a key twice');
  return value as BodyMap;
}

/** What a walk is over, and the key-value pairs that it passed. */
interface Walk {
  readonly bytes: Uint8Array;
  pairs: number;
}

/** Walks the structure without building anything; returns the number of pairs in all its maps. */
function checkBody(bytes: Uint8Array): number {
  const walk: Walk = { bytes, pairs: 0 };
  const end = walkValue(walk, 0, 0);
  if (end !== bytes.length) throw invalid('bytes after the value');
  return walk.pairs;
}

/** Returns the offset behind the value at `offset`. */
function walkValue(walk: Walk, offset: number, depth: number): number {
  const { bytes } = walk;
  const mark = bytes[offset];
  if (mark === undefined) throw invalid('truncated');
  if (depth > BODY_DEPTH_MAX) throw invalid('nested too deeply');
  const next = offset + 1;
  if (mark <= 0x7f || mark >= 0xe0) return next;
  if (mark <= 0x8f) return walkPairs(walk, next, mark & 0x0f, depth);
  if (mark <= 0x9f) return walkItems(walk, next, mark & 0x0f, depth);
  if (mark <= 0xbf) return skipText(bytes, next, mark & 0x1f);
  switch (mark) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return next;
    case 0xc4:
      return skip(bytes, next + 1, readLength(bytes, next, 1));
    case 0xc5:
      return skip(bytes, next + 2, readLength(bytes, next, 2));
    case 0xd9:
      return skipText(bytes, next + 1, readLength(bytes, next, 1));
    case 0xda:
      return skipText(bytes, next + 2, readLength(bytes, next, 2));
    case 0xca:
    case 0xce:
    case 0xd2:
      return skip(bytes, next, 4);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return skip(bytes, next, 8);
    case 0xcc:
    case 0xd0:
      return skip(bytes, next, 1);
    case 0xcd:
    case 0xd1:
      return skip(bytes, next, 2);
    case 0xdc:
      return walkItems(walk, next + 2, readLength(bytes, next, 2), depth);
    case 0xde:
      return walkPairs(walk, next + 2, readLength(bytes, next, 2), depth);
    default:
      // Extensions, 32-bit lengths (no body is that long) and the never-used 0xc1.
      throw invalid(`msgpack marker 0x${mark.toString(16)} is not allowed`);
  }
}

function walkItems(walk: Walk, offset: number, count: number, depth: number): number {
  if (count > walk.bytes.length - offset) throw invalid('more items than bytes');
  let at = offset;
  for (let index = 0; index < count; index += 1) at = walkValue(walk, at, depth + 1);
  return at;
}

function walkPairs(walk: Walk, offset: number, count: number, depth: number): number {
  if (count * 2 > walk.bytes.length - offset) throw invalid('more pairs than bytes');
  walk.pairs += count;
  let at = offset;
  for (let index = 0; index < count; index += 1) {
    if (!isText(walk.bytes[at])) throw invalid('a key that is not text');
    at = walkValue(walk, at, depth + 1);
    at = walkValue(walk, at, depth + 1);
  }
  return at;
}

function isText(mark: number | undefined): boolean {
  if (mark === undefined) return false;
  return (mark >= 0xa0 && mark <= 0xbf) || mark === 0xd9 || mark === 0xda;
}

function skipText(bytes: Uint8Array, offset: number, length: number): number {
  const end = skip(bytes, offset, length);
  if (!isUtf8(bytes.subarray(offset, end))) throw invalid('text is not UTF-8');
  return end;
}

function skip(bytes: Uint8Array, offset: number, length: number): number {
  if (offset + length > bytes.length) throw invalid('truncated');
  return offset + length;
}

function readLength(bytes: Uint8Array, offset: number, width: 1 | 2): number {
  const high = bytes[offset];
  const low = width === 1 ? 0 : bytes[offset + 1];
  if (high === undefined || low === undefined) throw invalid('truncated');
  return width === 1 ? high : high * 256 + low;
}

function countPairs(value: unknown): number {
  let pairs = 0;
  if (value instanceof Map) {
    pairs = value.size;
    for (const item of value.values()) pairs += countPairs(item);
  } else if (Array.isArray(value)) {
    for (const item of value) pairs += countPairs(item);
  }
  return pairs;
}

function invalid(detail: string): WireError {
  return new WireError('SLW_WIRE_BODY_INVALID', detail);
}
