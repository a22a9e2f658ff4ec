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

import { isMap, isScalar, isSeq, type Node, type YAMLMap } from 'yaml';
import { CONFIG_FILE_BYTES_MAX, type ConfigFile } from './file.ts';
import { NodeReader } from './node-reader.ts';
import { nearestName, type Problems, quote } from './problems.ts';
import { TOKEN_FIELDS, type TokenEntry } from './token-entry.ts';

/** Guess: an operator with more has a program that could ask an issuer instead. */
const TOKENS_MAX = 10_000;

type Section = 'tokens' | 'oidc';

/** What an entry of a section must have, and what belongs to the other one. */
const SECTIONS: Readonly<Record<Section, { must: readonly string[]; never: readonly string[] }>> = {
  tokens: { must: ['name', 'hashes'], never: ['claims', 'session-max'] },
  oidc: { must: ['name', 'claims'], never: ['hashes', 'admin'] },
};

/** The tokens of the file; none when there was a problem, which `problems` has then. */
export function readTokensFile(file: ConfigFile, problems: Problems): readonly TokenEntry[] {
  if (Buffer.byteLength(file.text) > CONFIG_FILE_BYTES_MAX) {
    problems.add(`${file.path}: the file is larger than 1 MiB`);
    return [];
  }
  try {
    return new EntriesReader(new NodeReader(file, problems)).read() ?? [];
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

class EntriesReader {
  readonly #nodes: NodeReader;

  constructor(nodes: NodeReader) {
    this.#nodes = nodes;
  }

  /** Undefined when anything was wrong. */
  read(): readonly TokenEntry[] | undefined {
    const root = this.#nodes.root();
    const sections = root && this.#readRoot(root.node);
    if (sections === undefined) return undefined;
    const nodes = sections.flatMap(({ list, section }) => list.map((node) => ({ node, section })));
    if (nodes.length > TOKENS_MAX) {
      this.#nodes.addAt(0, `${nodes.length} tokens, at most ${TOKENS_MAX}`);
      return undefined;
    }
    const entries = nodes.flatMap(({ node, section }) => this.#readEntry(node, section) ?? []);
    this.#checkUnique(entries);
    return this.#nodes.isWhole ? entries : undefined;
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
    this.#nodes.addAt(root?.range?.[0] ?? 0, right);
    return undefined;
  }

  #readEntry(node: Node, section: Section): TokenEntry | undefined {
    const { must, never } = SECTIONS[section];
    if (!isMap(node)) {
      this.#nodes.add(node, 'a token must be a map, from "name: NAME" on');
      return undefined;
    }
    const nothing = { digests: [], hosts: [], ports: [], udpPorts: [], isAdmin: false };
    let entry: Partial<TokenEntry> = nothing;
    const seen = new Set<string>();
    for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
      const name = isScalar(key) ? String(key.value) : '';
      const isKnown = Object.hasOwn(TOKEN_FIELDS, name) && !never.includes(name);
      const field = isKnown ? TOKEN_FIELDS[name] : undefined;
      if (field === undefined) {
        const names = Object.keys(TOKEN_FIELDS).filter((known) => !never.includes(known));
        const near = nearestName(name, names);
        const hint = near === undefined ? '' : `; did you mean ${near}?`;
        this.#nodes.add(key, `${quote(name)} is unknown${hint}`);
      } else if (seen.has(name)) this.#nodes.add(key, `${quote(name)} is given twice`);
      else entry = { ...entry, ...field(this.#nodes, value ?? key) };
      seen.add(name);
    }
    for (const name of must) {
      if (!seen.has(name)) this.#nodes.add(node, `the token has no ${quote(name)}`);
    }
    return this.#nodes.isWhole ? (entry as TokenEntry) : undefined;
  }

  #checkUnique(entries: readonly TokenEntry[]): void {
    const names = new Set<string>();
    const digests = new Set<string>();
    for (const entry of entries) {
      if (names.has(entry.name))
        this.#nodes.addAt(0, `the token ${quote(entry.name)} is given twice`);
      names.add(entry.name);
      for (const digest of entry.digests) {
        if (digests.has(digest))
          this.#nodes.addAt(0, `a hash of ${quote(entry.name)} is given twice`);
        digests.add(digest);
      }
    }
  }
}
