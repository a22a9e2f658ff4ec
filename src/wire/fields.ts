// Fields of control messages by key, each of the type and within the range that is asked for.
//
// Invariant: what is returned fits; anything else is a WireError that names the key. Must not know:
// what the messages mean.

import { WireError } from '../base/errors.ts';
import type { BodyMap, BodyValue } from './body.ts';

export const TEXT_LENGTH_MAX = 512;
export const LIST_LENGTH_MAX = 64;

export function integer(map: BodyMap, key: string, low: number, high: number): number {
  return asInteger(map.get(key), key, low, high);
}

export function text(map: BodyMap, key: string): string {
  return asText(map.get(key), key);
}

export function list(map: BodyMap, key: string): BodyValue[] {
  const value = map.get(key);
  if (!Array.isArray(value)) throw invalid(key, 'not a list');
  if (value.length > LIST_LENGTH_MAX) throw invalid(key, 'too many items');
  return value;
}

export function asInteger(
  value: BodyValue | undefined,
  key: string,
  low: number,
  high: number,
): number {
  if (!Number.isInteger(value)) throw invalid(key, 'not an integer');
  const number = value as number;
  if (number < low || high < number) throw invalid(key, 'out of range');
  return number;
}

export function asText(value: BodyValue | undefined, key: string): string {
  if (typeof value !== 'string') throw invalid(key, 'not a string');
  if (value.length > TEXT_LENGTH_MAX) throw invalid(key, 'too long');
  return value;
}

export function asMap(value: BodyValue | undefined, key: string): BodyMap {
  if (!(value instanceof Map)) throw invalid(key, 'not a map');
  return value;
}

export function invalid(key: string, detail: string): WireError {
  return new WireError('SLW_WIRE_BODY_INVALID', `${key}: ${detail}`);
}
