// A message head as texts to be shown, without what lets its reader in somewhere.
//
// Invariant: a value under a name that speaks of a secret is never shown, wherever it stands: as a
// field, a cookie, or a parameter of a URL in any field; names stay, so that one sees that there
// was one. Must not know: which message, or who looks.

/** What stands for a secret. */
export const MASK = '•••';
/** Fields whose value is one, or is a list of them. */
const SECRET_FIELDS = new Set(['authorization', 'proxy-authorization', 'x-amz-security-token']);
const COOKIES = new Set(['cookie', 'set-cookie']);
/** Parts of names, and short words that are a name, or a part of one between - _ and dots. */
const SECRET_PARTS = [
  ...['token', 'secret', 'passw', 'passphrase', 'api-?key', 'session', 'signature'],
  ...['credential', 'jwt', 'csrf', 'xsrf', 'otp', 'private'],
].join('|');
const SECRET_WORDS = ['sig', 'key', 'auth', 'code', 'pwd', 'sid'].join('|');
const SECRET_NAME = new RegExp(`${SECRET_PARTS}|(?:^|[-_.])(?:${SECRET_WORDS})(?:$|[-_.])`, 'i');
/** `name=value` behind a ?, & or ;, as URLs have it. */
const PARAMETER = /([?&;#])([^=&;#\s"'<>]{1,256})=([^&;#\s"'<>]*)/g;
const USER_INFO = /(:\/\/)[^/?#\s@]+@/g;

export type ShownField = readonly [name: string, value: string];

/** Start line's target, and the fields in order; `head` is whole and was parsed before. */
export function showFields(head: Buffer): ShownField[] {
  const lines = head.toString('latin1').split('\r\n').slice(1);
  return lines.flatMap((line) => {
    const colon = line.indexOf(':');
    if (colon <= 0) return [];
    const name = line.slice(0, colon);
    return [[name, showValue(name.toLowerCase(), line.slice(colon + 1).trim())] as const];
  });
}

function showValue(name: string, value: string): string {
  if (COOKIES.has(name)) return showCookies(name, value);
  if (SECRET_FIELDS.has(name)) return showCredentials(value);
  return SECRET_NAME.test(name) ? MASK : showTarget(value);
}

/** Scheme and mask: `Bearer •••`. */
function showCredentials(value: string): string {
  const scheme = /^([A-Za-z][A-Za-z0-9-]{0,31}) +\S/.exec(value)?.[1];
  return scheme === undefined ? MASK : `${scheme} ${MASK}`;
}

/** Every cookie may be a session, whatever its name; the attributes of a Set-Cookie are not. */
function showCookies(name: string, value: string): string {
  const [first = '', ...attributes] = value.split(';');
  const masked = (pair: string): string => pair.replace(/=.*$/s, `=${MASK}`);
  if (name === 'cookie') return [first, ...attributes].map(masked).join(';');
  return [masked(first.includes('=') ? first : `=${first}`), ...attributes].join(';');
}

/** Of a URL, or of a text with URLs: parameters with telling names, users with passwords. */
export function showTarget(text: string): string {
  return text
    .replace(USER_INFO, `$1${MASK}@`)
    .replace(PARAMETER, (whole, sign: string, name: string) =>
      SECRET_NAME.test(decoded(name)) ? `${sign}${name}=${MASK}` : whole,
    );
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
