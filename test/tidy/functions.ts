// Finds the functions of a source file: name, lines and number of positional parameters.
//
// Works on tokens: a parameter list is a pair of parentheses that a body follows (`{` or `=>`), a
// return type in between or not, and that no control keyword precedes. Invariant: a function that
// is missed makes the check weaker, never wrong. Must not know: the limits.

import { pairBrackets, scanCode, type Token } from './scanner.ts';

export interface FunctionShape {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
  readonly parameters: number;
}

const NOT_A_NAME = new Set('if for while switch catch with return await typeof'.split(' '));
const ENDS_A_TYPE = new Set([';', ',', ')', ']', '}', '=', '?']);

export function functionsOf(source: string): FunctionShape[] {
  const tokens = scanCode(source);
  const pairs = pairBrackets(tokens);
  const found: FunctionShape[] = [];
  for (const [open, token] of tokens.entries()) {
    const close = pairs.get(open);
    if (token.text !== '(' || token.kind !== 'punct' || close === undefined) continue;
    const body = bodyAfter(tokens, pairs, close);
    if (body === undefined) continue;
    const before = nameBefore(tokens, open);
    const isArrow = tokens[body - 1]?.text === '=>';
    if (!isArrow && (before === undefined || NOT_A_NAME.has(before))) continue;
    const end = bodyEnd(tokens, pairs, body);
    found.push({
      name: isArrow ? arrowName(tokens, open) : (before ?? 'anonymous'),
      line: token.line,
      lines: (tokens[end]?.endLine ?? token.line) - token.line + 1,
      parameters: countParameters(tokens, pairs, open),
    });
  }
  return found;
}

/** Index of the first token of the body that follows a parameter list, if one does. */
function bodyAfter(
  tokens: readonly Token[],
  pairs: ReadonlyMap<number, number>,
  close: number,
): number | undefined {
  const next = tokens[close + 1]?.text;
  if (next === '{') return close + 1;
  if (next === '=>') return close + 2;
  if (next !== ':') return undefined;
  let index = close + 2;
  let typeMayStart = true;
  for (; index < tokens.length; index += 1) {
    const text = tokens[index]?.text ?? '';
    if (text === '=>') return index + 1;
    if (text === '{' && !typeMayStart) return index;
    if (ENDS_A_TYPE.has(text)) return undefined;
    if (text === '{' || text === '(' || text === '[') index = pairs.get(index) ?? index;
    typeMayStart = ['|', '&', '<', 'is', 'asserts'].includes(text);
  }
  return undefined;
}

function bodyEnd(
  tokens: readonly Token[],
  pairs: ReadonlyMap<number, number>,
  body: number,
): number {
  if (tokens[body]?.text === '{') return pairs.get(body) ?? body;
  let index = body;
  for (; index < tokens.length; index += 1) {
    const text = tokens[index]?.kind === 'punct' ? tokens[index]?.text : '';
    if (text === '(' || text === '[' || text === '{') index = pairs.get(index) ?? index;
    else if (text === ',' || text === ';' || text === ')' || text === ']' || text === '}') break;
  }
  return index - 1;
}

function nameBefore(tokens: readonly Token[], open: number): string | undefined {
  let index = open - 1;
  if (tokens[index]?.text === '>') index = openingAngle(tokens, index) - 1;
  const token = tokens[index];
  if (token === undefined) return undefined;
  if (token.text === ']') return 'computed';
  if (token.text === '*') return 'generator';
  return token.kind === 'word' || token.kind === 'string' ? token.text : undefined;
}

function openingAngle(tokens: readonly Token[], closing: number): number {
  let depth = 0;
  for (let index = closing; index >= 0; index -= 1) {
    if (tokens[index]?.text === '>') depth += 1;
    if (tokens[index]?.text === '<') depth -= 1;
    if (depth === 0) return index;
  }
  return closing;
}

function arrowName(tokens: readonly Token[], open: number): string {
  const at = tokens[open - 1]?.text === 'async' ? open - 2 : open - 1;
  const bound = tokens[at]?.text === '=' || tokens[at]?.text === ':';
  const name = tokens[at - 1];
  return bound && name?.kind === 'word' ? name.text : 'arrow';
}

function countParameters(
  tokens: readonly Token[],
  pairs: ReadonlyMap<number, number>,
  open: number,
): number {
  const close = pairs.get(open) ?? open;
  let count = 0;
  let isEmpty = true;
  let angles = 0;
  for (let index = open + 1; index < close; index += 1) {
    const text = tokens[index]?.text ?? '';
    if (isEmpty && text !== ',') count += text === 'this' ? 0 : 1;
    isEmpty = false;
    if (text === '(' || text === '[' || text === '{') index = pairs.get(index) ?? index;
    else if (text === '<') angles += 1;
    else if (text === '>') angles -= 1;
    else if (text === ',' && angles === 0) isEmpty = true;
  }
  return count;
}
