// The file of --login-providers: where visitors can log in, and as which application.
//
//   providers:
//     - {name: github, kind: github, client-id: …, client-secret-file: …}
//     - {name: company, issuer: https://id.example.com, client-id: …}     by discovery; optional:
//       client-secret-file, client-auth, scopes, login-claim, trust-email, session-max
//   cookie-secret-file: /run/secrets/cookies         sessions outlive restarts
//
// Invariant: nothing is guessed: what is unknown, empty or cannot be read is a problem with its
// place, and a file with a problem gives no provider at all. Must not know: what an issuer says.

import { Masked } from '../base/masked.ts';
import { type ConfigFile, type FileMap, readConfigFile } from './file.ts';
import { isTrustworthyUrl } from './oidc.ts';
import { InvalidText } from './option.ts';
import { nearestName, type Problems, quote } from './problems.ts';
import { duration } from './quantity.ts';

export interface LoginProvider {
  readonly name: string;
  readonly kind: 'oidc' | 'github';
  /** As the issuer writes it; for GitHub the address of its site. */
  readonly issuer: string;
  readonly clientId: string;
  /** Path; absent: a public client. */
  readonly clientSecretFile?: string;
  /** How the secret is shown to the provider; absent: by what its discovery lists. */
  readonly clientAuth?: 'basic' | 'post';
  readonly scopes: readonly string[];
  /** What an identity's login is; for GitHub always its own. */
  readonly loginClaim: string;
  /** An address counts without the issuer's word that it is verified. */
  readonly trustsEmail: boolean;
  readonly sessionMaxMs: number;
}

export interface LoginProviders {
  readonly providers: readonly LoginProvider[];
  /** Path; absent: cookies are sealed with keys that are drawn at each start. */
  readonly cookieSecretFile?: string;
}

/** Guess: an exit node of several organisations has a handful. */
const PROVIDERS_MAX = 64;
export const PROVIDER_NAME = /^[A-Za-z0-9._-]{1,64}$/;
const PRINTABLE = /^[\x21-\x7e]{1,512}$/;
const CLAIM = /^[A-Za-z0-9_.:/-]{1,128}$/;
const SCOPES_MAX = 32;
const GITHUB = 'https://github.com';
const HOUR_MS = 3_600_000;
const SESSION_MS = 12 * HOUR_MS;
const sessionLimit = duration({ min: 60_000, max: 30 * 24 * HOUR_MS });
const SECRET_LENGTH_MAX = 4096;
/** For the cookies' secret, of which keys are derived: what `openssl rand -hex 16` prints. */
const COOKIE_SECRET_LENGTH_MIN = 32;

type Draft = { -readonly [K in keyof LoginProvider]?: LoginProvider[K] };
/** Takes a value into the draft, or gives what is wrong with it. */
type Field = (draft: Draft, texts: readonly string[]) => string | undefined;

const one =
  (isRight: (text: string) => boolean, wrong: string, take: (draft: Draft, text: string) => void) =>
  (draft: Draft, texts: readonly string[]): string | undefined => {
    const [text = ''] = texts;
    if (texts.length !== 1 || !isRight(text)) return wrong;
    take(draft, text);
    return undefined;
  };

const FIELDS: Readonly<Record<string, Field>> = {
  name: one(
    (text) => PROVIDER_NAME.test(text),
    'is no name; write up to 64 letters, digits, ".", "_" or "-"',
    (draft, text) => Object.assign(draft, { name: text }),
  ),
  kind: one(
    (text) => text === 'oidc' || text === 'github',
    'is no kind; write oidc or github',
    (draft, text) => Object.assign(draft, { kind: text }),
  ),
  issuer: one(
    (text) => text.length <= 1024 && isTrustworthyUrl(text) && !/[?#]/.test(text),
    'is no issuer; write its https URL, such as https://accounts.google.com',
    (draft, text) => Object.assign(draft, { issuer: text }),
  ),
  'client-id': one(
    (text) => PRINTABLE.test(text),
    'is no client id; write it as the issuer gave it',
    (draft, text) => Object.assign(draft, { clientId: text }),
  ),
  'client-secret-file': one(
    (text) => text !== '' && !/[\0\r\n]/.test(text),
    'is no path of a file',
    (draft, text) => Object.assign(draft, { clientSecretFile: text }),
  ),
  'client-auth': one(
    (text) => text === 'basic' || text === 'post',
    'is neither basic nor post',
    (draft, text) => Object.assign(draft, { clientAuth: text }),
  ),
  scopes: (draft, texts) => {
    if (texts.length > SCOPES_MAX || !texts.every((text) => PRINTABLE.test(text))) {
      return 'are no scopes; write a list such as [openid, email]';
    }
    draft.scopes = texts;
    return undefined;
  },
  'login-claim': one(
    (text) => CLAIM.test(text),
    'is no name of a claim; write sub, or one that its people cannot choose',
    (draft, text) => Object.assign(draft, { loginClaim: text }),
  ),
  'trust-email': one(
    (text) => text === 'true' || text === 'false',
    'is neither true nor false',
    (draft, text) => Object.assign(draft, { trustsEmail: text === 'true' }),
  ),
  'session-max': (draft, texts) => {
    const read = sessionLimit.read(texts.join());
    if (read instanceof InvalidText) return read.message;
    draft.sessionMaxMs = read;
    return undefined;
  },
};

const OIDC_KEYS = ['client-auth', 'login-claim', 'trust-email'];

/** The providers of the file; none when there was a problem, which `problems` has then. */
export function readLoginProviders(file: ConfigFile, problems: Problems): LoginProviders {
  const found: string[] = [];
  const { entries, isWhole } = readConfigFile(file, problems);
  const providers: LoginProvider[] = [];
  let cookieSecretFile: string | undefined;
  for (const { key, origin, items } of entries) {
    const [first] = items;
    if (key === 'providers') {
      for (const item of items) {
        if (typeof item !== 'string') providers.push(...readProvider(item, found));
        else found.push(`${origin}: a provider must be a map, from "name: NAME" on`);
      }
    } else if (key === 'cookie-secret-file' && items.length === 1 && typeof first === 'string') {
      cookieSecretFile = first;
    } else found.push(`${origin}: ${quote(key)} is neither providers nor cookie-secret-file`);
  }
  found.push(...listProblems(providers, file.path, isWhole && found.length === 0));
  for (const line of found) problems.add(line);
  if (!isWhole || found.length > 0) return { providers: [] };
  return { providers, ...(cookieSecretFile === undefined ? {} : { cookieSecretFile }) };
}

function listProblems(
  providers: readonly LoginProvider[],
  path: string,
  isRead: boolean,
): readonly string[] {
  const names = providers.map(({ name }) => name);
  const repeated = names.filter((name, index) => names.indexOf(name) !== index);
  const lines = repeated.map((name) => `${path}: the provider ${quote(name)} is given twice`);
  if (isRead && names.length === 0) lines.push(`${path}: "providers:" must list one or more`);
  if (names.length > PROVIDERS_MAX) {
    lines.push(`${path}: ${names.length} providers, at most ${PROVIDERS_MAX}`);
  }
  return lines;
}

function readProvider({ origin, pairs }: FileMap, found: string[]): LoginProvider[] {
  const before = found.length;
  const draft: Draft = {};
  const seen = new Set<string>();
  for (const [key, texts] of pairs) {
    const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
    const near = nearestName(key, Object.keys(FIELDS));
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    const wrong = field === undefined ? `is unknown${hint}` : field(draft, texts);
    if (wrong !== undefined) found.push(`${origin}: ${quote(key)} ${wrong}`);
    seen.add(key);
  }
  const { kind = 'oidc' } = draft;
  const must = kind === 'oidc' ? ['name', 'issuer', 'client-id'] : ['name', 'client-id'];
  for (const key of must) if (!seen.has(key)) found.push(`${origin}: the provider has no ${key}`);
  const foreign = kind === 'github' ? OIDC_KEYS.filter((key) => seen.has(key)) : [];
  for (const key of foreign) found.push(`${origin}: ${key} is for an OpenID Connect issuer`);
  if (seen.has('client-auth') && !seen.has('client-secret-file')) {
    found.push(`${origin}: client-auth says how a secret is shown, and needs client-secret-file`);
  }
  return found.length > before ? [] : [complete(draft, kind)];
}

function complete(draft: Draft, kind: LoginProvider['kind']): LoginProvider {
  const isOidc = kind === 'oidc';
  const whole = {
    ...{ name: '', clientId: '', issuer: GITHUB, sessionMaxMs: SESSION_MS },
    scopes: isOidc ? ['openid', 'email', 'profile'] : ['read:user', 'user:email'],
    ...{ loginClaim: 'sub', trustsEmail: false },
    ...draft,
    kind,
  };
  // An issuer is compared to the letter; a site has paths behind it.
  return isOidc ? whole : { ...whole, issuer: whole.issuer.replace(/\/$/, '') };
}

/** Every file that the providers name, each with what it is for. */
export function secretFilesOf({ providers, cookieSecretFile }: LoginProviders): readonly {
  readonly path: string;
  readonly lengthMin: number;
}[] {
  const paths = providers.flatMap(({ clientSecretFile }) => clientSecretFile ?? []);
  return [
    ...paths.map((path) => ({ path, lengthMin: 1 })),
    ...(cookieSecretFile === undefined
      ? []
      : [{ path: cookieSecretFile, lengthMin: COOKIE_SECRET_LENGTH_MIN }]),
  ];
}

/** What a file holds, as a secret; or what is wrong with it. No message repeats it. */
export function readSecret(text: string, lengthMin: number): Masked | string {
  const secret = text.replace(/[\r\n]+$/, '');
  if (secret.length < lengthMin) return `has fewer than ${lengthMin} characters`;
  if (secret.length > SECRET_LENGTH_MAX) return `has more than ${SECRET_LENGTH_MAX} characters`;
  return /^[\x20-\x7e]+$/.test(secret) ? new Masked(secret) : 'must be one line of ASCII';
}
