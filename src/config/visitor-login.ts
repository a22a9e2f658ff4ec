// What visitors of HTTP tunnels must show: `--basic-auth USER:PASSWORD`, `--bearer-token-file`, and
// who they are at a provider of the exit node, `--login NAME` with `--login-allow`.
//
// Invariant: what cannot be used (an empty password, a file without a token, a provider without
// anybody to let in) is a problem and never "no login"; no secret is part of a message. Must not
// know: how logins are declared or compared.

import { readLoginRule } from '../base/login-rule.ts';
import { PROVIDER_NAME } from './login-providers.ts';
import { InvalidText, type Kind, kindOf, LINES, many, optional } from './option.ts';
import { path } from './quantity.ts';

export interface LoginSpec {
  /** `user:password` each. */
  readonly basic: readonly string[];
  /** Paths; each file has one token a line. */
  readonly bearerFiles: readonly string[];
  /** A login provider of the exit node, and whom of those that it knows to let in. */
  readonly provider?: string;
  readonly allow: readonly string[];
}

/** The logins of these texts; undefined for none. */
export function loginsOf(
  spec: Omit<LoginSpec, 'provider'> & { readonly provider?: string | undefined },
): LoginSpec | undefined {
  const { basic, bearerFiles, provider, allow } = spec;
  const hasNone = basic.length + bearerFiles.length + allow.length === 0 && provider === undefined;
  if (hasNone) return undefined;
  return { basic, bearerFiles, allow, ...(provider === undefined ? {} : { provider }) };
}

/** What is wrong with a provider and whom it lets in, as the rest of a sentence. */
export function providerProblem({
  provider,
  allow,
}: {
  readonly provider?: string | undefined;
  readonly allow: readonly string[];
}): string | undefined {
  if (provider === undefined) {
    return allow.length === 0 ? undefined : 'has login-allow without a provider; give login, too';
  }
  if (allow.length > 0) return undefined;
  return 'lets nobody in by its provider; give login-allow, such as @example.com or anyone';
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

/** The name of a provider, as the exit node's operator gave it. */
export const loginProvider: Kind<string> = kindOf(
  'login provider',
  'NAME',
  (text) => {
    const problem = providerNameProblem(text);
    return problem === undefined ? text : new InvalidText(problem);
  },
  String,
);

/** Whom of its people a tunnel is for. */
export const loginAllow: Kind<string> = kindOf(
  'login rule',
  'RULE',
  (text) => {
    const problem = allowProblem(text);
    return problem === undefined ? text : new InvalidText(problem);
  },
  String,
);

export function providerNameProblem(text: string): string | undefined {
  if (PROVIDER_NAME.test(text)) return undefined;
  return 'is no name of a login provider; write one of the exit node, such as google';
}

export function allowProblem(text: string): string | undefined {
  const read = readLoginRule(text);
  return typeof read === 'string' ? read : undefined;
}

/** At the client, for all tunnels that say nothing of it themselves. */
export const LOGIN_OPTIONS = {
  'basic-auth': many(basicAuth, {
    separators: LINES,
    help: 'let in visitors of its HTTP tunnels who log in with this USER:PASSWORD; or',
  }),
  'bearer-token-file': many(path, {
    help: 'who show a token of this file, one a line; where a tunnel names no login itself; or',
  }),
  login: optional(loginProvider, {
    help: 'who log in at this login provider of the server, by browser',
  }),
  'login-allow': many(loginAllow, {
    help: 'and are ann@example.com, of @example.com, login:NAME there, or anyone',
  }),
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
