// Words and calls that have no place in a file, each with what to write instead.
//
// Invariant: only code tokens are looked at (and comments, for leftover marks), never the inside of
// strings. Must not know: imports, sizes.

import { scan, type Token } from './scanner.ts';
import type { SourceFile } from './tree.ts';

interface TokenRule {
  /** A word, or `word.word` for a member of a global. A `*` in front: after any dot too. */
  readonly pattern: string;
  /** Where it may stand, of the whole path; nowhere when left out. */
  readonly allowed?: RegExp;
  /** Files the rule looks at; all TypeScript of the repository when left out. */
  readonly within?: RegExp;
  /** A further condition on the tokens around. */
  readonly when?: (tokens: readonly Token[], index: number) => boolean;
  readonly instead: string;
}

const SRC = /^src\//u;
const CLI = /^src\/cli\//u;
const CLOCK = /^src\/base\/clock\.ts$/u;
const MAKE_FOLDER = /^src\/base\/make-folder\.ts$/u;
const PURE = /^src\/(?:wire|mux|http)\//u;
const TIMER = 'take a Clock parameter: pure rooms own no timer';

function isDeclaration(tokens: readonly Token[], index: number): boolean {
  return tokens[index + 1]?.kind === 'word' && tokens[index + 1]?.line === tokens[index]?.line;
}

function isTypeAny(tokens: readonly Token[], index: number): boolean {
  const next = tokens[index + 1]?.text;
  return tokens[index - 1]?.text !== '.' && next !== ':' && next !== '(';
}

function isFalse(tokens: readonly Token[], index: number): boolean {
  return tokens[index + 2]?.text === 'false';
}

export const TOKEN_RULES: readonly TokenRule[] = [
  { pattern: 'any', when: isTypeAny, instead: 'unknown, and narrow it' },
  {
    pattern: 'enum',
    when: isDeclaration,
    instead: 'a table `as const`: Node cannot strip an enum',
  },
  { pattern: 'namespace', when: isDeclaration, instead: 'a module: Node cannot strip a namespace' },
  { pattern: 'debugger', instead: 'a test' },
  { pattern: 'console', within: SRC, allowed: CLI, instead: 'the logger that was passed in' },
  {
    pattern: 'process.exit',
    within: SRC,
    allowed: CLI,
    instead: 'an error; cli chooses the exit code',
  },
  { pattern: 'process.env', within: SRC, allowed: CLI, instead: 'configuration passed in by cli' },
  { pattern: 'process.stdout', within: SRC, allowed: CLI, instead: 'a value returned to cli' },
  {
    pattern: 'process.stderr',
    within: SRC,
    allowed: CLI,
    instead: 'the logger that was passed in',
  },
  ...['mkdir', '*mkdir', 'mkdirSync', '*mkdirSync'].map((pattern) => ({
    pattern,
    within: SRC,
    allowed: MAKE_FOLDER,
    instead: 'makeFolder of base/make-folder.ts: below /proc the option `recursive` never ends',
  })),
  { pattern: 'Date', within: SRC, allowed: CLOCK, instead: 'Clock.wallMs() of base/clock.ts' },
  {
    pattern: 'performance',
    within: SRC,
    allowed: CLOCK,
    instead: 'Clock.nowMs() of base/clock.ts',
  },
  { pattern: 'hrtime', within: SRC, allowed: CLOCK, instead: 'Clock.nowMs() of base/clock.ts' },
  {
    pattern: 'Math.random',
    within: SRC,
    allowed: /^src\/(?:control|client|operator|shard)\//u,
    instead: 'a `random` parameter, or node:crypto for what must not be guessed',
  },
  { pattern: 'setInterval', within: SRC, instead: 'Clock.after, rearmed: an interval piles up' },
  { pattern: 'setTimeout', within: PURE, instead: TIMER },
  { pattern: 'setImmediate', within: PURE, instead: TIMER },
  {
    pattern: '*allocUnsafe',
    within: SRC,
    allowed: /^src\/(?:wire|link)\//u,
    instead: 'Buffer.alloc: unwritten memory must never leave the process',
  },
  {
    pattern: '*allocUnsafeSlow',
    within: SRC,
    allowed: /^src\/(?:wire\/|link\/|base\/read-pool\.ts$)/u,
    instead: 'Buffer.alloc',
  },
  {
    pattern: '*find',
    within: /^src\/(?:mux|shard)\//u,
    instead: 'a Map: no linear look-up per frame',
  },
  {
    pattern: 'insecureHTTPParser',
    instead: 'the strict parser; leniency is how requests are smuggled',
  },
  { pattern: 'rejectUnauthorized', when: isFalse, instead: 'a CA: `ca: […]`' },
  { pattern: 'NODE_TLS_REJECT_UNAUTHORIZED', instead: 'a CA: `ca: […]`' },
];

/** Marks of unfinished work, looked for in comments. */
const LEFTOVER = new RegExp(
  `\\b(?:${['TO', 'FIX'].map((word, at) => word + ['DO', 'ME'][at]).join('|')}|XXX)\\b`,
  'u',
);
const BAD_NAME = /(?:Manager|Handler|Processor|Service)$/u;
const NAMES = new Set(['class', 'interface', 'type', 'function', 'const']);

/** Problems of one file, each with the key that an exception would name. */
export function tokenProblems(file: SourceFile): { key: string; text: string }[] {
  const all = scan(file.text);
  const leftovers = all
    .filter((token) => token.kind === 'comment' && LEFTOVER.test(token.text))
    .map((token) => ({
      key: `${file.path}#leftover`,
      text: `${file.path}:${token.line}: leftover mark: finish it or file an issue`,
    }));
  const code = all.filter((token) => token.kind !== 'comment');
  const banned = TOKEN_RULES.filter((rule) => applies(rule, file.path)).flatMap((rule) =>
    matches(rule, code).map((token) => ({
      key: `${file.path}#${rule.pattern}`,
      text: `${file.path}:${token.line}: '${rule.pattern}': instead use ${rule.instead}`,
    })),
  );
  return [...leftovers, ...banned, ...nameProblems(file.path, code)];
}

function applies(rule: TokenRule, path: string): boolean {
  return (rule.within?.test(path) ?? true) && !(rule.allowed?.test(path) ?? false);
}

function matches(rule: TokenRule, code: readonly Token[]): Token[] {
  const anyOwner = rule.pattern.startsWith('*');
  const [first, second] = rule.pattern.replace('*', '').split('.');
  return code.filter((token, index) => {
    if (token.kind !== 'word' || token.text !== first) return false;
    const isMember = code[index - 1]?.text === '.' || code[index - 1]?.text === '?.';
    if (isMember !== anyOwner) return false;
    if (second !== undefined && code[index + 2]?.text !== second) return false;
    return rule.when?.(code, index) ?? true;
  });
}

function nameProblems(path: string, code: readonly Token[]): { key: string; text: string }[] {
  if (!SRC.test(path)) return [];
  return code.flatMap((token, index) => {
    const declared = NAMES.has(code[index - 1]?.text ?? '') && token.kind === 'word';
    return declared && BAD_NAME.test(token.text)
      ? [
          {
            key: `${path}#${token.text}`,
            text: `${path}:${token.line}: '${token.text}': name it after what it is, not what it does`,
          },
        ]
      : [];
  });
}
