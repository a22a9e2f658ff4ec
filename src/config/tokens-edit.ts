// Changes the text of a tokens file: a token more, one less, or a new secret for one.
//
// Invariant: comments and everything else stay as the operator wrote them; what comes out reads
// back without a problem, or nothing comes out; only digests are written. Must not know: where the
// file is, or who shows the secret.

import {
  isMap,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  type Tags,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { ConfigError } from '../base/errors.ts';
import { readScalar } from './file.ts';
import { Problems, quote } from './problems.ts';
import type { TokenEntry } from './token-entry.ts';
import { readTokensFile } from './tokens-file.ts';

export interface NewToken {
  readonly name: string;
  /** `sha256:` and 64 hexadecimal digits. */
  readonly hash: string;
  readonly hosts: readonly string[];
  readonly ports: readonly string[];
  readonly udpPorts?: readonly string[];
  readonly forwards: readonly string[];
  readonly allowIps: readonly string[];
  readonly expires: string | undefined;
  readonly isAdmin: boolean;
  /** By key, as they are to be written. */
  readonly limits?: Readonly<Record<string, string | number>>;
}

interface FileText {
  readonly path: string;
  /** Empty for a file that is not there yet. */
  readonly text: string;
}

/** A file that has none. */
export const NO_TOKENS = 'tokens: []\n';
const TEXT_TAG = 'tag:yaml.org,2002:str';

/** What YAML reads as a number or a boolean keeps its text, which may be a name: `1e3`, `0x7E9`. */
const AS_WRITTEN = {
  version: '1.2',
  schema: 'core',
  customTags: (tags: Tags): Tags => tags.map(writtenBySource),
} as const;

function writtenBySource(tag: Tags[number]): Tags[number] {
  if (typeof tag === 'string' || tag.collection !== undefined) return tag;
  const { stringify } = tag;
  // Of a text the source is without its quotes.
  if (stringify === undefined || tag.tag === TEXT_TAG) return tag;
  return { ...tag, stringify: (item, ...rest) => item.source ?? stringify(item, ...rest) };
}

/** The file with one token more. A ConfigError when the name is taken or a value is wrong. */
export function addToken(file: FileText, token: NewToken): string {
  const { name, hash, hosts, ports, udpPorts = [], forwards } = token;
  const { allowIps, expires, isAdmin, limits } = token;
  return edit(file, (list, create) => {
    if (entryOf(list, name) !== undefined) fail(file, `there is a token ${quote(name)} already`);
    const fields = {
      name,
      hashes: [hash],
      ...(hosts.length > 0 ? { hosts } : {}),
      ...(ports.length > 0 ? { ports } : {}),
      ...(udpPorts.length > 0 ? { 'udp-ports': udpPorts } : {}),
      ...(forwards.length > 0 ? { forwards } : {}),
      ...(allowIps.length > 0 ? { 'allow-ips': allowIps } : {}),
      ...(expires === undefined ? {} : { expires }),
      ...(isAdmin ? { admin: true } : {}),
      ...limits,
    };
    // An empty list was written as `[]`; what is added belongs on lines of its own.
    list.flow = false;
    list.add(create(fields));
  });
}

/** The file without the token. */
export function removeToken(file: FileText, name: string): string {
  return edit(file, (list) => {
    const at = list.items.findIndex((item) => isNamed(item, name));
    if (at === -1) fail(file, `there is no token ${quote(name)}`);
    list.items.splice(at, 1);
    if (list.items.length === 0) list.flow = true;
  });
}

/** The file with a further hash for the token, behind the newest of those it has. */
export function rotateToken(file: FileText, name: string, hash: string): string {
  return edit(file, (list, create) => {
    const entry = entryOf(list, name);
    if (entry === undefined) fail(file, `there is no token ${quote(name)}`);
    const hashes = entry?.get('hashes');
    const texts = isSeq(hashes) ? hashes.items.map(textOf) : [textOf(hashes)];
    entry?.set('hashes', create([...texts.slice(-1), hash]));
  });
}

export function listTokens(file: FileText): readonly TokenEntry[] {
  const problems = new Problems();
  const entries = readTokensFile({ path: file.path, text: file.text || NO_TOKENS }, problems);
  problems.throwIfAny();
  return entries;
}

function edit(
  file: FileText,
  change: (list: YAMLSeq, create: (value: unknown) => unknown) => void,
): string {
  // What is broken is mended by hand, not written over.
  listTokens(file);
  const document = parseDocument(file.text || NO_TOKENS, AS_WRITTEN);
  if (!document.has('tokens')) document.set('tokens', document.createNode([]));
  const list = document.get('tokens');
  if (!isSeq(list)) return fail(file, 'the file must be "tokens:" and a list of tokens');
  change(list, (value) => document.createNode(value));
  const text = document.toString({ lineWidth: 0 });
  listTokens({ path: file.path, text });
  return text;
}

function entryOf(list: YAMLSeq, name: string): YAMLMap | undefined {
  const found = list.items.find((item) => isNamed(item, name));
  return isMap(found) ? found : undefined;
}

/** By the text that stands in the file: YAML reads `2026` as a number. */
function isNamed(item: unknown, name: string): boolean {
  return isMap<Node, Node>(item) && readScalar(item.get('name', true) ?? null) === name;
}

function textOf(node: unknown): string {
  return isScalar(node) ? String(node.value) : String(node);
}

function fail({ path }: FileText, problem: string): never {
  throw new ConfigError([`${path}: ${problem}`]);
}
