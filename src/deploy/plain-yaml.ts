// How what is printed is written as YAML, so that every reader takes it as it was meant.
//
// Invariant: docker-compose 1, kubectl and cloud-init read YAML 1.1, where a bare `off` is false
// and 22:22 a number to the base of 60, where more than a line feed ends a line, and whose readers
// refuse control characters; what any version would take for something else is in quotes, and a
// character that it would not take is escaped. Must not know: what is written.

import {
  type CreateNodeOptions,
  Document,
  type DocumentOptions,
  isScalar,
  type Scalar,
  type SchemaOptions,
  type ToStringOptions,
  visit,
} from 'yaml';

const OPTIONS: DocumentOptions & SchemaOptions & CreateNodeOptions & ToStringOptions = {
  lineWidth: 0,
  compat: 'yaml-1.1',
};
/** Ends a line in YAML 1.1, or is refused by its readers. */
const UNREADABLE = /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g;

export function plainYaml(value: unknown): string {
  const document = new Document(value, OPTIONS);
  visit(document, { Scalar: (_key, node) => quoteUnreadable(node) });
  // They stand in double quotes alone now.
  return document.toString(OPTIONS).replace(UNREADABLE, escaped);
}

function quoteUnreadable(node: Scalar): void {
  if (!isScalar<string>(node) || typeof node.value !== 'string') return;
  const { value } = node;
  if (isMistaken(value) || value.search(UNREADABLE) >= 0) node.type = 'QUOTE_DOUBLE';
}

/** A tab that libyaml and PyYAML take for a wrong indentation; `=` is a type of its own. */
function isMistaken(value: string): boolean {
  const isOneLine = !value.includes('\n');
  return value === '=' || value.startsWith('\t') || (isOneLine && value.includes('\t'));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
