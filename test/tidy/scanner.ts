// Cuts TypeScript source into tokens, for the checks of the repository on itself.
//
// Tolerant on purpose: it knows strings, templates, comments, regular expressions and brackets, and
// nothing of the grammar. Invariant: every character of the source belongs to at most one token,
// and what stands inside strings, comments and templates never looks like code.
// Must not know: which rules are checked.

export type TokenKind = 'word' | 'number' | 'string' | 'template' | 'regex' | 'comment' | 'punct';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** One-based. */
  readonly line: number;
  /** Line of the last character; differs from `line` for templates and block comments. */
  readonly endLine: number;
}

/** After these words a slash begins a regular expression, after other words it divides. */
const BEFORE_REGEX = new Set(
  'return typeof case in of delete void throw new instanceof else do await yield'.split(' '),
);
const PUNCTUATION = /^(?:=>|\.\.\.|\?\.|\?\?=?|&&=?|\|\|=?|[=!]==?|<=|>=|\*\*|\+\+|--|.)/su;
const WORD = /^[#\p{ID_Start}$_@][\p{ID_Continue}$\u200c\u200d]*/u;
const NUMBER = /^\d[\d\w.]*/u;
const REGEX = /^\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/u;

/** All tokens in order, comments included. */
export function scan(source: string): Token[] {
  return new Scanner(source).run();
}

/** The same without comments: what the compiler sees. */
export function scanCode(source: string): Token[] {
  return scan(source).filter((token) => token.kind !== 'comment');
}

class Scanner {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  /** One entry an open template hole: how many braces are open inside it. */
  readonly #holes: number[] = [];
  #at = 0;
  #line = 1;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    if (this.#source.startsWith('#!')) this.#take('comment', this.#lengthToLineEnd());
    while (this.#at < this.#source.length) this.#step();
    return this.#tokens;
  }

  #step(): void {
    const rest = this.#source.slice(this.#at, this.#at + 2);
    const first = rest.charAt(0);
    if (first === '\n') {
      this.#line += 1;
      this.#at += 1;
    } else if (/\s/u.test(first)) this.#at += 1;
    else if (rest === '//') this.#take('comment', this.#lengthToLineEnd());
    else if (rest === '/*') this.#take('comment', this.#lengthTo('*/'));
    else if (first === "'" || first === '"') this.#take('string', this.#quotedLength(first));
    else if (first === '`') this.#takeTemplate(1);
    else if (first === '}' && this.#holes.at(-1) === 0) {
      this.#holes.pop();
      this.#takeTemplate(1);
    } else this.#takeCode(first);
  }

  #takeCode(first: string): void {
    const rest = this.#source.slice(this.#at);
    const literal = this.#literalAt(rest, first);
    if (literal !== undefined) {
      this.#take(literal.kind, literal.length);
      return;
    }
    const top = this.#holes.length - 1;
    const open = this.#holes[top];
    if (open !== undefined && first === '{') this.#holes[top] = open + 1;
    if (open !== undefined && first === '}') this.#holes[top] = open - 1;
    this.#take('punct', PUNCTUATION.exec(rest)?.[0].length ?? 1);
  }

  #literalAt(rest: string, first: string): { kind: TokenKind; length: number } | undefined {
    const word = WORD.exec(rest);
    if (word !== null) return { kind: 'word', length: word[0].length };
    const number = NUMBER.exec(rest);
    if (number !== null) return { kind: 'number', length: number[0].length };
    const regex = first === '/' && this.#mayBeRegex() ? REGEX.exec(rest) : null;
    return regex === null ? undefined : { kind: 'regex', length: regex[0].length };
  }

  /** From a backtick or from the brace that closes a hole, up to the next hole or the end. */
  #takeTemplate(from: number): void {
    let length = from;
    for (;;) {
      const character = this.#source.charAt(this.#at + length);
      if (character === '' || character === '`') {
        length += 1;
        break;
      }
      if (character === '$' && this.#source.charAt(this.#at + length + 1) === '{') {
        length += 2;
        this.#holes.push(0);
        break;
      }
      length += character === '\\' ? 2 : 1;
    }
    this.#take('template', length);
  }

  #take(kind: TokenKind, length: number): void {
    const text = this.#source.slice(this.#at, this.#at + length);
    const line = this.#line;
    this.#line += text.split('\n').length - 1;
    this.#at += length;
    this.#tokens.push({ kind, text, line, endLine: this.#line });
  }

  #lengthToLineEnd(): number {
    const end = this.#source.indexOf('\n', this.#at);
    return (end === -1 ? this.#source.length : end) - this.#at;
  }

  #lengthTo(closing: string): number {
    const end = this.#source.indexOf(closing, this.#at + 2);
    return (end === -1 ? this.#source.length : end + closing.length) - this.#at;
  }

  #quotedLength(quote: string): number {
    let length = 1;
    for (;;) {
      const character = this.#source.charAt(this.#at + length);
      if (character === '' || character === '\n') return length;
      if (character === quote) return length + 1;
      length += character === '\\' ? 2 : 1;
    }
  }

  #mayBeRegex(): boolean {
    const last = this.#tokens.findLast((token) => token.kind !== 'comment');
    if (last === undefined) return true;
    if (last.kind === 'word') return BEFORE_REGEX.has(last.text);
    if (last.kind === 'template') return last.text.endsWith('${');
    return last.kind === 'punct' && ![')', ']', '}'].includes(last.text);
  }
}

const OPENING = new Map([
  ['(', ')'],
  ['[', ']'],
  ['{', '}'],
]);

/** For each bracket's index the index of its partner; templates' holes pair with each other. */
export function pairBrackets(tokens: readonly Token[]): Map<number, number> {
  const pairs = new Map<number, number>();
  const open: { index: number; closing: string }[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== 'punct') continue;
    const closing = OPENING.get(token.text);
    if (closing !== undefined) open.push({ index, closing });
    else if (token.text === open.at(-1)?.closing) {
      const opening = open.pop()?.index ?? index;
      pairs.set(opening, index).set(index, opening);
    }
  }
  return pairs;
}
