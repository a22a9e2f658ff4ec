// Which regular expressions can take more than linear time, by their shape alone.
//
// Conservative: what is let through is linear, what is refused may be. A loop without a bound must
// be over one character or class, and what follows it must not be able to stand inside it, so that
// there is one way to leave it; an expression without `^` must not begin inside one of its own
// loops. Must not know: which files are looked at.

interface Node {
  /** Characters 0 to 255 that it may begin with; 256 stands for all others. */
  readonly first: ReadonlySet<number>;
  readonly isNullable: boolean;
  /** Sets of its loops without bound. */
  readonly loops: readonly ReadonlySet<number>[];
}

/** A sequence's last loop: its set, until the next thing that must match. */
const OTHERS = 256;
const CODES = Array.from({ length: OTHERS }, (_, code) => code);
const EMPTY: Node = { first: new Set(), isNullable: true, loops: [] };
const ATOM =
  /^(?:\[(?:[^\]\\]|\\.)*\]|\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[pP]\{[^}]*\}|.)|[^()|*+?{}[\]\\])/isu;
const QUANTIFIER = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/u;

class Shape {
  readonly #flags: string;
  #rest: string;
  problem = '';

  constructor(source: string, flags: string) {
    this.#rest = source;
    this.#flags = flags.replace(/[gy]/gu, '');
  }

  /** One of several alternatives, up to a closing bracket or the end. `follow` comes behind. */
  alternatives(follow: Node): Node {
    const all: Node[] = [this.#sequence(follow)];
    while (this.#rest.startsWith('|')) {
      this.#rest = this.#rest.slice(1);
      all.push(this.#sequence(follow));
    }
    return {
      first: new Set(all.flatMap(({ first }) => [...first])),
      isNullable: all.some(({ isNullable }) => isNullable),
      loops: all.flatMap(({ loops }) => loops),
    };
  }

  /** What follows a loop is only known behind it: so the sequence is read first, then looked at. */
  #sequence(follow: Node): Node {
    const parts: { node: Node; loop: boolean; group: string | undefined }[] = [];
    while (this.#rest !== '' && !/^[|)]/u.test(this.#rest)) parts.push(this.#part());
    let behind = follow;
    for (const { node, loop, group } of parts.toReversed()) {
      if (loop) this.#checkLoop(node, behind);
      // Once more, now that it is known what stands behind the group.
      if (group !== undefined) new Shape(group, this.#flags).check(behind, this);
      behind = join(node, behind);
    }
    return parts.reduceRight<Node>((after, { node }) => join(node, after), EMPTY);
  }

  /** Reports to `owner` what is wrong in a group before `follow`. */
  check(follow: Node, owner: Shape): void {
    this.alternatives(follow);
    if (this.problem !== '') owner.problem = this.problem;
  }

  #checkLoop(node: Node, behind: Node): void {
    const shared = [...node.first].some((code) => behind.first.has(code));
    if (shared) this.problem = 'what follows a loop may stand inside it';
  }

  #part(): { node: Node; loop: boolean; group: string | undefined } {
    const isGroup = this.#rest.startsWith('(');
    const [node, group] = isGroup ? this.#group() : [this.#atom(), undefined];
    const found = QUANTIFIER.exec(this.#rest);
    if (found === null) return { node, loop: false, group };
    this.#rest = this.#rest.slice(found[0].length);
    const text = found[0];
    const isLoop =
      text.startsWith('*') || text.startsWith('+') || (found[2] === ',' && found[3] === '');
    const isNullable = node.isNullable || /^(?:[*?]|\{0)/u.test(text);
    if (isLoop && isGroup) this.problem = 'a loop over a group';
    if (isGroup && !text.startsWith('?') && node.loops.length > 0)
      this.problem = 'a loop in a loop';
    const loops = isLoop ? [...node.loops, node.first] : node.loops;
    return { node: { first: node.first, isNullable, loops }, loop: isLoop, group };
  }

  #group(): [Node, string] {
    const opening = /^\((?:\?(?:<?[=!]|:|<[^>]*>))?/u.exec(this.#rest)?.[0] ?? '(';
    const inside = this.#rest.slice(opening.length);
    this.#rest = inside;
    // Alone first: how far it goes, and what it may begin with.
    const node = this.alternatives(EMPTY);
    const text = inside.slice(0, inside.length - this.#rest.length);
    this.#rest = this.#rest.slice(1);
    if (!/^\(\?<?[=!]/u.test(opening)) return [node, text];
    if (node.loops.length > 0) this.problem = 'a loop in a look-around';
    return [EMPTY, ''];
  }

  #atom(): Node {
    const text = ATOM.exec(this.#rest)?.[0] ?? this.#rest.slice(0, 1);
    this.#rest = this.#rest.slice(Math.max(1, text.length));
    if (/^\\(?:[1-9]|k)/u.test(text)) this.problem = 'a reference to a group';
    if (text === '^' || text === '$' || /^\\b$/iu.test(text)) return EMPTY;
    const one = new RegExp(`^(?:${text})$`, this.#flags.replace('m', ''));
    const first = new Set(CODES.filter((code) => one.test(String.fromCharCode(code))));
    if (one.test('\u4e00') || one.test('\u2028')) first.add(OTHERS);
    return { first, isNullable: false, loops: [] };
  }
}

function join(node: Node, behind: Node): Node {
  return {
    first: node.isNullable ? new Set([...node.first, ...behind.first]) : node.first,
    isNullable: node.isNullable && behind.isNullable,
    loops: [...node.loops, ...behind.loops],
  };
}

/** Why the expression may not be linear; '' when it is. */
export function regexProblem(literal: string): string {
  const [, source = '', flags = ''] = /^\/(.*)\/([a-z]*)$/su.exec(literal) ?? [];
  const shape = new Shape(source, flags);
  const whole = shape.alternatives(EMPTY);
  if (shape.problem !== '') return shape.problem;
  // Without classes and escapes, in which bars and brackets are plain characters.
  const frame = source.replaceAll(/\\.|\[(?:\\.|[^\]\\])*\]/gsu, 'x');
  const isAnchored = /^\^[^|]*$/u.test(frame) || /^\^\((?:[^()]*)\)/u.test(frame);
  if ((isAnchored && !flags.includes('m')) || whole.loops.length === 0) return '';
  const beginsInside = whole.loops.some((loop) => [...whole.first].some((code) => loop.has(code)));
  return beginsInside ? 'it may begin inside its own loop: anchor it' : '';
}
