// Version 1 of the PROXY protocol: one line of text, `PROXY TCP4 SOURCE DESTINATION PORT PORT`.
//
// Invariant: at most 107 bytes with CR and LF; one space between two fields and no other; an
// address is of the family that the line names; a port has no leading zeros. Must not know:
// version 2.

import {
  type Endpoint,
  IP_LENGTH_MAX,
  IPV4_BYTES,
  IPV6_BYTES,
  ipBytes,
  ipText,
  unmapped,
} from '../base/ip.ts';
import type { ProxyVerdict } from './proxy-header.ts';

/** What every header of version 1 begins with. */
export const PROXY_V1_START = Buffer.from('PROXY ', 'latin1');
/** The whole line (specification: the longest UNKNOWN line with two IPv6 addresses). */
export const PROXY_V1_BYTES_MAX = 107;
const TEXT_BYTES_MAX = PROXY_V1_BYTES_MAX - 2;
const IPV4_LENGTH_MAX = 15;
const PORT_LENGTH_MAX = 5;
const PORT_MAX = 65_535;
const CR = 0x0d;
const LF = 0x0a;

const PROTOCOLS = ['TCP4', 'TCP6', 'UNKNOWN'];
/** The name, the protocol, two addresses, two ports. */
const FIELDS_COUNT = 6;

export function readProxyV1(bytes: Buffer): ProxyVerdict {
  let end = 0;
  while (end < bytes.length && end <= TEXT_BYTES_MAX && isVisible(bytes[end] as number)) end += 1;
  if (end > TEXT_BYTES_MAX) return 'refused';
  const fields = bytes.toString('latin1', 0, end).split(' ');
  if (end === bytes.length) return mayBecomeLine(fields) ? 'more' : 'refused';
  const header = bytes[end] === CR ? readLine(fields) : undefined;
  if (header === undefined) return 'refused';
  if (end + 1 === bytes.length) return 'more';
  return bytes[end + 1] === LF ? { ...header, bytes: end + 2 } : 'refused';
}

function isVisible(byte: number): boolean {
  return byte >= 0x20 && byte <= 0x7e;
}

/** All fields are whole but the last, which may go on. */
function mayBecomeLine(fields: readonly string[]): boolean {
  const last = fields.length - 1;
  const isUnknown = last > 1 && fields[1] === 'UNKNOWN';
  return fields.every((field, index) => {
    if (isUnknown && index > 1) return true;
    return index < last ? isField(fields, index) : mayBecomeField(fields, index, field);
  });
}

function mayBecomeField(fields: readonly string[], index: number, text: string): boolean {
  if (index === 0) return 'PROXY'.startsWith(text);
  if (index === 1) return PROTOCOLS.some((protocol) => protocol.startsWith(text));
  if (index >= 4) return index < FIELDS_COUNT && (text === '' || readPort(text) !== undefined);
  return fields[1] === 'TCP4'
    ? text.length <= IPV4_LENGTH_MAX && /^[0-9.]*$/.test(text)
    : text.length <= IP_LENGTH_MAX && /^[0-9a-f.:]*$/i.test(text);
}

function isField(fields: readonly string[], index: number): boolean {
  const text = fields[index] as string;
  if (index === 0) return text === 'PROXY';
  if (index === 1) return PROTOCOLS.includes(text);
  if (index >= 4) return index < FIELDS_COUNT && readPort(text) !== undefined;
  return readAddress(fields[1] as string, text) !== undefined;
}

/** What a whole line says, without its length. */
function readLine(
  fields: readonly string[],
): { source: Endpoint | undefined; destination: Endpoint | undefined } | undefined {
  if (fields[0] !== 'PROXY') return undefined;
  const [, protocol = '', source = '', destination = '', from = '', to = ''] = fields;
  // Whatever follows UNKNOWN is to be ignored up to the end of the line.
  if (protocol === 'UNKNOWN') return { source: undefined, destination: undefined };
  const isWhole = fields.length === FIELDS_COUNT && PROTOCOLS.includes(protocol);
  if (!isWhole || !fields.every((_, index) => isField(fields, index))) return undefined;
  return {
    source: { address: readAddress(protocol, source) ?? '', port: Number(from) },
    destination: { address: readAddress(protocol, destination) ?? '', port: Number(to) },
  };
}

function readAddress(protocol: string, text: string): string | undefined {
  const bytes = ipBytes(text);
  const length = protocol === 'TCP4' ? IPV4_BYTES : IPV6_BYTES;
  return bytes?.length === length ? ipText(unmapped(bytes)) : undefined;
}

function readPort(text: string): number | undefined {
  const port = Number(text);
  const isPort = text.length <= PORT_LENGTH_MAX && String(port) === text && port <= PORT_MAX;
  return isPort && /^\d+$/.test(text) ? port : undefined;
}
