// The token: its options, found in exactly one way, checked, and masked from then on.
//
// Invariant: an option that protects never fails open. Whatever is given and cannot be used (an
// empty text, a missing file, an unset variable, two ways at once) is a problem and never "no
// token". Nothing here repeats a token's text. Must not know: what a token opens.

import { Masked } from '../base/masked.ts';
import { FileElsewhere } from './elsewhere.ts';
import { type Given, labelOf } from './merge.ts';
import { optional } from './option.ts';
import type { Problems } from './problems.ts';
import { path, secret, text } from './quantity.ts';

/** Guess: far above any generated secret, far below the head that carries it (16 KiB). */
const TOKEN_LENGTH_MAX = 4096;
const MASK = new Masked('').toString();
const WAYS = ['token', 'token-file', 'token-env'] as const;

/** Stands for the text of a file that is not here; who writes a deployment never uses it. */
const ELSEWHERE = 'elsewhere';

const TOKEN_REQUIRED =
  'a token is required: give --token-file FILE, --token-env NAME or --token TEXT';

const VARIABLE_RIGHT = 'is not the name of an environment variable; write the name alone';

export const TOKEN_OPTIONS = {
  token: optional(secret, { help: 'the token itself; other users can see it in the process list' }),
  'token-file': optional(path, { help: 'file that holds the token' }),
  'token-env': optional(text('NAME', /^[A-Za-z_][A-Za-z0-9_]*$/, VARIABLE_RIGHT), {
    help: 'environment variable that holds the token',
  }),
};

export interface TokenSources {
  readonly given: ReadonlyMap<string, Given>;
  /** Values of the three options; one that is given but absent here was refused already. */
  readonly parsed: { readonly [W in (typeof WAYS)[number]]?: string | undefined };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** True: a certificate stands in for the token, which need not be given. */
  readonly substitute: boolean;
}

export function resolveToken(sources: TokenSources, problems: Problems): Masked | undefined {
  const { given, parsed } = sources;
  const ways = WAYS.filter((name) => given.has(name));
  const [way] = ways;
  if (way === undefined) {
    if (!sources.substitute) problems.add(TOKEN_REQUIRED);
    return undefined;
  }
  if (ways.length > 1) {
    const found = ways.map((name) => labelOf(given, name)).join(' and ');
    problems.add(`the token is given more than once: ${found}; keep exactly one`);
    return undefined;
  }
  const value = parsed[way];
  if (value === undefined) return undefined;
  const found = READERS[way](value, sources);
  const checked = typeof found === 'string' ? checkToken(found) : found;
  if (checked instanceof Masked) return checked;
  problems.add(`${labelOf(given, way)}: ${checked.wrong}`);
  return undefined;
}

export interface Unusable {
  readonly wrong: string;
}

type Reader = (value: string, sources: TokenSources) => string | Unusable;

const READERS: Readonly<Record<(typeof WAYS)[number], Reader>> = {
  token: (value) => value,
  'token-file': (path, { readFile }) => {
    try {
      return readFile(path);
    } catch (error) {
      if (error instanceof FileElsewhere) return ELSEWHERE;
      return { wrong: error instanceof Error ? error.message : 'the file cannot be read' };
    }
  },
  'token-env': (name, { env }) => {
    const text = Object.hasOwn(env, name) ? env[name] : undefined;
    return text ?? { wrong: `the environment variable ${name} is not set` };
  },
};

/** What a file or a variable holds, as a token; or what is wrong with it. */
export function checkToken(text: string): Masked | Unusable {
  const token = text.replace(/[\r\n]+$/, '');
  if (token.trim() === '') return { wrong: 'the token is empty' };
  if (token.length > TOKEN_LENGTH_MAX) {
    return { wrong: `the token is longer than ${TOKEN_LENGTH_MAX} characters` };
  }
  if (!/^[\x21-\x7e]+$/.test(token)) {
    return { wrong: 'the token must be printable ASCII without spaces' };
  }
  // `config print` writes this in place of the token; read back it would be a guessable secret.
  if (token === MASK) return { wrong: `the token is "${MASK}", which stands for a masked one` };
  return new Masked(token);
}
