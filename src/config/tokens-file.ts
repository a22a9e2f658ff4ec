// Reads the file of --tokens-file: many tokens, each with what it may do:
//   tokens:
//     - name: ci
//       hashes: [sha256:9f86d0...]        one or two, so that a secret can be changed in peace
//       hosts: ["*.ci.example.com"]       none when left out
//       ports: [2222, 8000-8100]          none when left out, and so for udp-ports and forwards
//       allow-ips: [10.0.0.0/8]           everywhere when left out
//       streams-max: 100                  and further limits (base/token-limits.ts)
//   oidc: the same with claims of a JWT in place of hashes (oidc.ts)
//
// Invariant: nothing is guessed: an unknown key, an empty list or a value that cannot be read is a
// problem with its place, and a file with a problem gives no token at all. Must not know: secrets.

import { isMap, isScalar, isSeq, LineCounter, type Node, type YAMLMap } from 'yaml';
import { wallMsOf } from '../base/clock.ts';
import { type ForwardRule, readForwardRule } from '../base/forward-rules.ts';
import { type Network, readNetwork } from '../base/network.ts';
import type { PortRange } from '../base/target.ts';
import { TOKEN_LIMIT_FIELDS, TOKEN_LIMITS, type TokenLimits } from '../base/token-limits.ts';
import { portRange } from './address.ts';
import { CONFIG_FILE_BYTES_MAX, type ConfigFile, parseYaml, readScalar } from './file.ts';
import { type ClaimRule, claimProblem, matchesEverybody, patternProblem } from './oidc.ts';
import { InvalidText, type Kind } from './option.ts';
import { nearestName, type Problems, quote } from './problems.ts';
import { duration, size } from './quantity.ts';
import { readHostPattern } from './tunnel.ts';

export interface TokenEntry extends TokenLimits {
  readonly name: string;
  /** SHA-256 of the secrets, 64 hexadecimal digits each; the newest last; none for a rule. */
  readonly digests: readonly string[];
  /** Hosts, wildcards or `*`. */
  readonly hosts: readonly string[];
  readonly ports: readonly PortRange[];
  readonly udpPorts: readonly PortRange[];
  /** What its clients may reach, of what the server allows; absent: nothing. */
  readonly forwards?: readonly ForwardRule[];
  /** Absent: clients may come from everywhere. */
  readonly allowIps?: readonly Network[];
  /** Absent: it does not end by itself. */
  readonly expiresMs?: number;
  /** May read /status and /metrics. */
  readonly isAdmin: boolean;
  readonly clientsMax?: number;
  readonly linksMax?: number;
  /** Of a rule of `oidc`: which JWTs of the issuer it is for. */
  readonly claims?: readonly ClaimRule[];
  /** Of a rule: after so long a client must log in again. */
  readonly sessionMaxMs?: number;
}

/** Guess: an operator with more has a program that could ask an issuer instead. */
const TOKENS_MAX = 10_000;
const HASHES_MAX = 2;
const LIST_MAX = 1000;
const COUNT_MAX = 1_000_000;
/** Least: a stream's first bytes; most: what numbers count without loss, and no link carries. */
const byteLimit = size({ min: 1024, max: 1024 ** 5 });
export const TOKEN_NAME = /^[A-Za-z0-9._-]{1,64}$/;
const HASH = /^sha256:([0-9a-f]{64})$/;
const sessionLimit = duration({ min: 60_000, max: 7 * 24 * 3_600_000 });
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/;

type Field = (reader: EntryReader, node: Node) => Partial<TokenEntry> | undefined;

const FIELDS: Readonly<Record<string, Field>> = {
  name: (reader, node) => {
    const name = reader.text(node, 'name', (text) =>
      TOKEN_NAME.test(text) ? text : 'is no name; write up to 64 letters, digits, ".", "_" or "-"',
    );
    return name && { name: name.value };
  },
  hashes: (reader, node) => {
    const digests = reader.list(node, 'hashes', (text) => {
      const digest = HASH.exec(text)?.[1];
      return digest === undefined ? NO_HASH : { value: digest };
    });
    if (digests !== undefined && digests.length > HASHES_MAX) {
      reader.add(
        node,
        `"hashes" has ${digests.length}, at most ${HASHES_MAX}: the old and the new`,
      );
      return undefined;
    }
    return digests && { digests };
  },
  hosts: (reader, node) => {
    const hosts = reader.list(node, 'hosts', (text) => {
      const pattern = readHostPattern(text);
      return pattern instanceof InvalidText ? NO_HOST : { value: pattern };
    });
    return hosts && { hosts };
  },
  ports: (reader, node) => {
    const ports = reader.ports(node, 'ports');
    return ports && { ports };
  },
  'udp-ports': (reader, node) => {
    const udpPorts = reader.ports(node, 'udp-ports');
    return udpPorts && { udpPorts };
  },
  forwards: (reader, node) => {
    const forwards = reader.list(node, 'forwards', (text) => {
      const read = readForwardRule(text);
      return typeof read === 'string' ? read : { value: read };
    });
    return forwards && { forwards };
  },
  'allow-ips': (reader, node) => {
    const allowIps = reader.list(node, 'allow-ips', (text) => {
      const read = readNetwork(text);
      return typeof read === 'string' ? read : { value: read };
    });
    return allowIps && { allowIps };
  },
  expires: (reader, node) => {
    const time = reader.text(node, 'expires', (text) =>
      TIME.test(text) && !Number.isNaN(wallMsOf(text)) ? text : NO_TIME,
    );
    return time && { expiresMs: wallMsOf(time.value) };
  },
  admin: (reader, node) => {
    const read = reader.text(node, 'admin', (text) =>
      text === 'true' || text === 'false' ? text : 'is neither true nor false',
    );
    return read && { isAdmin: read.value === 'true' };
  },
  'clients-max': (reader, node) => {
    const clientsMax = reader.count(node, 'clients-max');
    return clientsMax === undefined ? undefined : { clientsMax };
  },
  'links-max': (reader, node) => {
    const linksMax = reader.count(node, 'links-max');
    return linksMax === undefined ? undefined : { linksMax };
  },
  ...Object.fromEntries(TOKEN_LIMIT_FIELDS.map(limitField)),
  claims: (reader, node) => {
    const claims = reader.claims(node);
    return claims && { claims };
  },
  'session-max': (reader, node) => {
    const sessionMaxMs = reader.parsed(node, 'session-max', sessionLimit);
    return sessionMaxMs === undefined ? undefined : { sessionMaxMs };
  },
};

type Section = 'tokens' | 'oidc';

/** What an entry of a section must have, and what belongs to the other one. */
const SECTIONS: Readonly<Record<Section, { must: readonly string[]; never: readonly string[] }>> = {
  tokens: { must: ['name', 'hashes'], never: ['claims', 'session-max'] },
  oidc: { must: ['name', 'claims'], never: ['hashes', 'admin'] },
};

function limitField(field: keyof TokenLimits): [string, Field] {
  const { key, unit } = TOKEN_LIMITS[field];
  return [
    key,
    (reader, node) => {
      const value =
        unit === 'count' ? reader.count(node, key) : reader.parsed(node, key, byteLimit);
      return value === undefined ? undefined : { [field]: value };
    },
  ];
}

/** A value in a problem. A token itself, pasted in place of its hash, is not for a log. */
function shown(name: string, text: string | undefined): string {
  return text === undefined || name === 'hashes' ? '' : ` ${quote(text)}`;
}

const NO_HASH = 'is no hash; `sluiceway token create` writes one, such as sha256: and 64 digits';
const NO_HOST = 'is no host; write example.com, *.example.com, or * for every host';
const NO_PORT = 'is no port; write 2222 or a range such as 8000-8100';
const NO_TIME = 'is no time; write one such as 2027-01-31T12:00:00Z';

/** The tokens of the file; none when there was a problem, which `problems` has then. */
export function readTokensFile(file: ConfigFile, problems: Problems): readonly TokenEntry[] {
  if (Buffer.byteLength(file.text) > CONFIG_FILE_BYTES_MAX) {
    problems.add(`${file.path}: the file is larger than 1 MiB`);
    return [];
  }
  try {
    return new EntryReader(file, problems).read() ?? [];
  } catch (cause) {
    // The parser recurses: thousands of nested brackets exhaust the stack.
    problems.add(`${file.path}: the file cannot be parsed (${String(cause).slice(0, 100)})`);
    return [];
  }
}

/** Rules without an issuer would let nobody in, in silence. */
export function checkRules(
  file: {
    readonly path: string;
    readonly entries: readonly TokenEntry[];
    readonly hasIssuer: boolean;
  },
  problems: Problems,
): void {
  const isUsed = file.entries.some(({ claims }) => claims !== undefined);
  if (isUsed && !file.hasIssuer) problems.add(`${file.path}: "oidc" needs --oidc-issuer`);
}

class EntryReader {
  readonly #file: ConfigFile;
  readonly #problems: Problems;
  readonly #lines = new LineCounter();
  #isWhole = true;

  constructor(file: ConfigFile, problems: Problems) {
    this.#file = file;
    this.#problems = problems;
  }

  /** Undefined when anything was wrong. */
  read(): readonly TokenEntry[] | undefined {
    const { root, fault } = parseYaml(this.#file.text, this.#lines);
    if (fault !== undefined) {
      this.#addAt(fault.pos[0], fault.message);
      return undefined;
    }
    const sections = this.#readRoot(root);
    if (sections === undefined) return undefined;
    const nodes = sections.flatMap(({ list, section }) => list.map((node) => ({ node, section })));
    if (nodes.length > TOKENS_MAX) {
      this.#addAt(0, `${nodes.length} tokens, at most ${TOKENS_MAX}`);
      return undefined;
    }
    const entries = nodes.flatMap(({ node, section }) => this.#readEntry(node, section) ?? []);
    this.#checkUnique(entries);
    return this.#isWhole ? entries : undefined;
  }

  #readRoot(
    root: Node | null,
  ): readonly { readonly section: Section; readonly list: readonly Node[] }[] | undefined {
    const pairs = isMap(root) ? root.items : [];
    const sections = pairs.flatMap(({ key, value }) => {
      const name = isScalar(key) ? key.value : undefined;
      if ((name !== 'tokens' && name !== 'oidc') || !isSeq(value)) return [];
      return [{ section: name, list: value.items as readonly Node[] } as const];
    });
    const isWhole = sections.length === pairs.length && sections.length > 0;
    if (isWhole && new Set(sections.map(({ section }) => section)).size === pairs.length) {
      return sections;
    }
    const right = 'the file must be "tokens:" and a list of tokens, or "oidc:" and a list of rules';
    this.#addAt(root?.range?.[0] ?? 0, right);
    return undefined;
  }

  #readEntry(node: Node, section: Section): TokenEntry | undefined {
    const { must, never } = SECTIONS[section];
    if (!isMap(node)) {
      this.add(node, 'a token must be a map, from "name: NAME" on');
      return undefined;
    }
    const nothing = { digests: [], hosts: [], ports: [], udpPorts: [], isAdmin: false };
    let entry: Partial<TokenEntry> = nothing;
    const seen = new Set<string>();
    for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
      const name = isScalar(key) ? String(key.value) : '';
      const isKnown = Object.hasOwn(FIELDS, name) && !never.includes(name);
      const field = isKnown ? FIELDS[name] : undefined;
      if (field === undefined) {
        const names = Object.keys(FIELDS).filter((known) => !never.includes(known));
        const near = nearestName(name, names);
        const hint = near === undefined ? '' : `; did you mean ${near}?`;
        this.add(key, `${quote(name)} is unknown${hint}`);
      } else if (seen.has(name)) this.add(key, `${quote(name)} is given twice`);
      else entry = { ...entry, ...field(this, value ?? key) };
      seen.add(name);
    }
    for (const name of must) {
      if (!seen.has(name)) this.add(node, `the token has no ${quote(name)}`);
    }
    return this.#isWhole ? (entry as TokenEntry) : undefined;
  }

  #checkUnique(entries: readonly TokenEntry[]): void {
    const names = new Set<string>();
    const digests = new Set<string>();
    for (const entry of entries) {
      if (names.has(entry.name)) this.#addAt(0, `the token ${quote(entry.name)} is given twice`);
      names.add(entry.name);
      for (const digest of entry.digests) {
        if (digests.has(digest)) this.#addAt(0, `a hash of ${quote(entry.name)} is given twice`);
        digests.add(digest);
      }
    }
  }

  /** The scalar's text when `check` gives it back; otherwise `check` gave what is wrong. */
  text(
    node: Node,
    name: string,
    check: (text: string) => string,
  ): { readonly value: string } | undefined {
    const text = readScalar(node);
    const checked = text === undefined ? undefined : check(text);
    if (text !== undefined && checked === text) return { value: text };
    const what = text === undefined ? '' : ` ${quote(text)}`;
    this.add(node, `"${name}"${what} ${checked ?? 'must be given one value'}`);
    return undefined;
  }

  count(node: Node, name: string): number | undefined {
    const read = this.text(node, name, (text) =>
      /^[1-9]\d{0,6}$/.test(text) && Number(text) <= COUNT_MAX
        ? text
        : `is no number from 1 to ${COUNT_MAX}`,
    );
    return read && Number(read.value);
  }

  parsed(node: Node, name: string, kind: Kind<number>): number | undefined {
    let value: number | undefined;
    this.text(node, name, (text) => {
      const read = kind.read(text);
      if (read instanceof InvalidText) return read.message;
      value = read;
      return text;
    });
    return value;
  }

  claims(node: Node): readonly ClaimRule[] | undefined {
    if (!isMap(node) || node.items.length === 0 || node.items.length > LIST_MAX) {
      this.add(node, '"claims" must be a map of claims and what they must be');
      return undefined;
    }
    const seen = new Set<string>();
    const claims = (node as YAMLMap<Node, Node | null>).items.flatMap(({ key, value }) => {
      const claim = isScalar(key) ? String(key.value) : '';
      const problem = seen.has(claim) ? 'is given twice' : claimProblem(claim);
      seen.add(claim);
      if (problem !== undefined) this.add(key, `the claim ${quote(claim)} ${problem}`);
      const patterns = this.list(value ?? key, claim, (text) => {
        return patternProblem(text) ?? { value: text };
      });
      return patterns === undefined ? [] : [{ claim, patterns }];
    });
    if (matchesEverybody(claims)) {
      this.add(node, '"claims" lets everybody of the issuer in; name at least one by more than *');
    }
    return claims;
  }

  ports(node: Node, name: string): readonly PortRange[] | undefined {
    return this.list(node, name, (text) => {
      const range = portRange.read(text);
      return range instanceof InvalidText ? NO_PORT : { value: range };
    });
  }

  list<T>(
    node: Node,
    name: string,
    read: (text: string) => { readonly value: T } | string,
  ): readonly T[] | undefined {
    const items = isSeq(node) ? (node.items as readonly Node[]) : [node];
    if (items.length === 0 || items.length > LIST_MAX) {
      this.add(node, `"${name}" must have 1 to ${LIST_MAX} values`);
      return undefined;
    }
    const values: T[] = [];
    for (const item of items) {
      const text = readScalar(item);
      const value = text === undefined ? 'must be a list of values' : read(text);
      if (typeof value === 'object') values.push(value.value);
      else this.add(item, `"${name}"${shown(name, text)} ${value}`);
    }
    return values;
  }

  add(node: Node, message: string): void {
    this.#addAt(node.range?.[0] ?? 0, message);
  }

  #addAt(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#isWhole = false;
    this.#problems.add(`${this.#file.path} line ${line}, column ${col}: ${message}`);
  }
}
