// What a token may do, as its entry of the tokens file says: each key, and what it must be.
//
// Invariant: nothing is guessed: a value that cannot be read is a problem, and gives nothing; no
// token that was pasted in place of its hash is shown. Must not know: sections of the file, which
// keys an entry must have, or secrets.

import { isMap, isScalar, type Node, type YAMLMap } from 'yaml';
import { wallMsOf } from '../base/clock.ts';
import { type ForwardRule, readForwardRule } from '../base/forward-rules.ts';
import { type Network, readNetwork } from '../base/network.ts';
import type { PortRange } from '../base/target.ts';
import { TOKEN_LIMIT_FIELDS, TOKEN_LIMITS, type TokenLimits } from '../base/token-limits.ts';
import { portRange } from './address.ts';
import { LIST_MAX, type NodeReader } from './node-reader.ts';
import { type ClaimRule, claimProblem, matchesEverybody, patternProblem } from './oidc.ts';
import { InvalidText } from './option.ts';
import { quote } from './problems.ts';
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

const HASHES_MAX = 2;
const COUNT_MAX = 1_000_000;
/** Least: a stream's first bytes; most: what numbers count without loss, and no link carries. */
const byteLimit = size({ min: 1024, max: 1024 ** 5 });
export const TOKEN_NAME = /^[A-Za-z0-9._-]{1,64}$/;
const HASH = /^sha256:([0-9a-f]{64})$/;
const sessionLimit = duration({ min: 60_000, max: 7 * 24 * 3_600_000 });
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/;

const NO_HASH = 'is no hash; `sluiceway token create` writes one, such as sha256: and 64 digits';
const NO_HOST = 'is no host; write example.com, *.example.com, or * for every host';
const NO_PORT = 'is no port; write 2222 or a range such as 8000-8100';
const NO_TIME = 'is no time; write one such as 2027-01-31T12:00:00Z';

/** What a key gives; undefined when its value was wrong, which the reader was told. */
export type TokenField = (reader: NodeReader, node: Node) => Partial<TokenEntry> | undefined;

export const TOKEN_FIELDS: Readonly<Record<string, TokenField>> = {
  name: (reader, node) => {
    const name = reader.text(node, 'name', (text) =>
      TOKEN_NAME.test(text) ? text : 'is no name; write up to 64 letters, digits, ".", "_" or "-"',
    );
    return name && { name: name.value };
  },
  hashes: (reader, node) => {
    const digests = reader.list(
      node,
      'hashes',
      (text) => {
        const digest = HASH.exec(text)?.[1];
        return digest === undefined ? NO_HASH : { value: digest };
      },
      hidden,
    );
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
    const ports = readPorts(reader, node, 'ports');
    return ports && { ports };
  },
  'udp-ports': (reader, node) => {
    const udpPorts = readPorts(reader, node, 'udp-ports');
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
    const clientsMax = readCount(reader, node, 'clients-max');
    return clientsMax === undefined ? undefined : { clientsMax };
  },
  'links-max': (reader, node) => {
    const linksMax = readCount(reader, node, 'links-max');
    return linksMax === undefined ? undefined : { linksMax };
  },
  ...Object.fromEntries(TOKEN_LIMIT_FIELDS.map(limitField)),
  claims: (reader, node) => {
    const claims = readClaims(reader, node);
    return claims && { claims };
  },
  'session-max': (reader, node) => {
    const sessionMaxMs = reader.parsed(node, 'session-max', sessionLimit);
    return sessionMaxMs === undefined ? undefined : { sessionMaxMs };
  },
};

function limitField(field: keyof TokenLimits): [string, TokenField] {
  const { key, unit } = TOKEN_LIMITS[field];
  return [
    key,
    (reader, node) => {
      const value =
        unit === 'count' ? readCount(reader, node, key) : reader.parsed(node, key, byteLimit);
      return value === undefined ? undefined : { [field]: value };
    },
  ];
}

function readCount(reader: NodeReader, node: Node, name: string): number | undefined {
  const read = reader.text(node, name, (text) =>
    /^[1-9]\d{0,6}$/.test(text) && Number(text) <= COUNT_MAX
      ? text
      : `is no number from 1 to ${COUNT_MAX}`,
  );
  return read && Number(read.value);
}

function readClaims(reader: NodeReader, node: Node): readonly ClaimRule[] | undefined {
  if (!isMap(node) || node.items.length === 0 || node.items.length > LIST_MAX) {
    reader.add(node, '"claims" must be a map of claims and what they must be');
    return undefined;
  }
  const seen = new Set<string>();
  const claims = (node as YAMLMap<Node, Node | null>).items.flatMap(({ key, value }) => {
    const claim = isScalar(key) ? String(key.value) : '';
    const problem = seen.has(claim) ? 'is given twice' : claimProblem(claim);
    seen.add(claim);
    if (problem !== undefined) reader.add(key, `the claim ${quote(claim)} ${problem}`);
    const patterns = reader.list(value ?? key, claim, (text) => {
      return patternProblem(text) ?? { value: text };
    });
    return patterns === undefined ? [] : [{ claim, patterns }];
  });
  if (matchesEverybody(claims)) {
    reader.add(node, '"claims" lets everybody of the issuer in; name at least one by more than *');
  }
  return claims;
}

function readPorts(reader: NodeReader, node: Node, name: string): readonly PortRange[] | undefined {
  return reader.list(node, name, (text) => {
    const range = portRange.read(text);
    return range instanceof InvalidText ? NO_PORT : { value: range };
  });
}

/** A token itself, pasted in place of its hash, is not for a log. */
function hidden(): string {
  return '';
}
