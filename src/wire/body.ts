// Control bodies: msgpack maps with string keys, checked byte by byte before they are decoded.
//
// Invariant: no extension type, no depth over BODY_DEPTH_MAX, no item count that the bytes cannot
// hold and no trailing byte ever reaches msgpackr; what does is read into Maps, so that no key can
// touch a prototype (CVE-2023-52079 and kin). Must not know: what the maps mean.

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
  checkBody(bytes);
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (cause) {
    throw new WireError('SLW_WIRE_BODY_INVALID', 'body cannot be decoded', { cause });
  }
  if (!(value instanceof Map)) throw new WireError('SLW_WIRE_BODY_INVALID', 'body is not a map');
  return value as BodyMap;
}

/** Walks the structure without building anything. */
function checkBody(bytes: Uint8Array): void {
  const end = walk(bytes, 0, 0);
  if (end !== bytes.length) throw invalid('bytes after the value');
}

/** Returns the offset behind the value at `offset`. */
function walk(bytes: Uint8Array, offset: number, depth: number): number {
  const mark = bytes[offset];
  if (mark === undefined) throw invalid('truncated');
  if (depth > BODY_DEPTH_MAX) throw invalid('nested too deeply');
  const next = offset + 1;
  if (mark <= 0x7f || mark >= 0xe0) return next;
  if (mark <= 0x8f) return walkItems(bytes, next, (mark & 0x0f) * 2, depth);
  if (mark <= 0x9f) return walkItems(bytes, next, mark & 0x0f, depth);
  if (mark <= 0xbf) return skip(bytes, next, mark & 0x1f);
  switch (mark) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return next;
    case 0xc4:
    case 0xd9:
      return skip(bytes, next + 1, readLength(bytes, next, 1));
    case 0xc5:
    case 0xda:
      return skip(bytes, next + 2, readLength(bytes, next, 2));
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
      return walkItems(bytes, next + 2, readLength(bytes, next, 2), depth);
    case 0xde:
      return walkItems(bytes, next + 2, readLength(bytes, next, 2) * 2, depth);
    default:
      // Extensions, 32-bit lengths (no body is that long) and the never-used 0xc1.
      throw invalid(`msgpack marker 0x${mark.toString(16)} is not allowed`);
  }
}

function walkItems(bytes: Uint8Array, offset: number, count: number, depth: number): number {
  if (count > bytes.length - offset) throw invalid('more items than bytes');
  let at = offset;
  for (let index = 0; index < count; index += 1) at = walk(bytes, at, depth + 1);
  return at;
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

function invalid(detail: string): WireError {
  return new WireError('SLW_WIRE_BODY_INVALID', detail);
}
