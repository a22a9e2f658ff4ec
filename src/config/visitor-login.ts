// What visitors of HTTP tunnels must show: `--basic-auth USER:PASSWORD` and `--bearer-token-file`.
//
// Invariant: what cannot be used (an empty password, a file without a token) is a problem and never
// "no login"; no secret is part of a message. Must not know: how logins are declared or compared.

import { InvalidText, type Kind, kindOf } from './option.ts';

export interface LoginSpec {
  /** `user:password` each. */
  readonly basic: readonly string[];
  /** Paths; each file has one token a line. */
  readonly bearerFiles: readonly string[];
}

const PAIR_LENGTH_MAX = 512;
/** Guess: what a program draws has more, and less can be guessed. */
const TOKEN_LENGTH_MIN = 16;
const TOKEN = /^[A-Za-z0-9._~+/=-]{1,1024}$/;
const RIGHT = 'write USER:PASSWORD';

/** `secret`, so that no message shows what was given. */
export const basicAuth: Kind<string> = {
  ...kindOf(
    'secret',
    'USER:PASSWORD',
    (text) => {
      const problem = basicProblem(text);
      return problem === undefined ? text : new InvalidText(problem);
    },
    () => '[masked]',
  ),
};

/** What is wrong with a pair, as the rest of a sentence about it. */
export function basicProblem(text: string): string | undefined {
  const colon = text.indexOf(':');
  const isRight =
    colon > 0 &&
    colon < text.length - 1 &&
    text.length <= PAIR_LENGTH_MAX &&
    !/[\0-\x1f\x7f]/.test(text);
  return isRight ? undefined : `is no login; ${RIGHT}`;
}

/** The tokens of a file, or what is wrong with it. */
export function readBearerTokens(text: string): readonly string[] | string {
  const tokens: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const token = line.trim();
    if (token === '' || token.startsWith('#')) continue;
    if (!TOKEN.test(token))
      return `line ${index + 1} is no token; write letters, digits and ._~+/=-`;
    if (token.length < TOKEN_LENGTH_MIN) {
      return `line ${index + 1} is too short; write ${TOKEN_LENGTH_MIN} characters or more`;
    }
    tokens.push(token);
  }
  return tokens.length > 0 ? tokens : 'holds no token';
}
