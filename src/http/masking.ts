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
/** Where browsers put a token, as a WebSocket of theirs has no Authorization. */
const PROTOCOLS = 'sec-websocket-protocol';
/** Parts of names. */
const SECRET_PART =
  /token|secret|passw|passphrase|api-?key|session|signature|credential|jwt|[cx]srf|otp|private/i;
/** What makes a key a secret where both are one word, as in `AccessKey`. */
const SECRET_KEY =
  /(?:access|account|app|auth|client|crypt(?:ion)?|master|shared?|sign(?:ing)?|storage|user)key/i;
/** Words that are a name, or a part of one between - _ dots and brackets. */
const SECRET_WORD = /(?:^|[-_.[\]])(?:sig|key|auth|code|pwd|sid)(?:$|[-_.[\]])/i;
/** In a subprotocol: what follows is a secret, in the same element or the next. */
const SECRET_AHEAD = /bearer|auth(?:orization)?|\bkey\b/i;
/** A word of a subprotocol's name, with a version at most. */
const PROTOCOL_WORD = /^(?:\d{1,4}|(?:[A-Z]{1,8}|[A-Z]?[a-z]{1,20})(?:\d{1,2}[A-Za-z]{0,3})?)$/;
const PROTOCOL_SIGN = /[-._+/]/;
const PROTOCOL_END = /([,\s])/;
/** What stands before a parameter, and what ends the last one of a URL within a text. */
const SIGN = /([?&;#])/;
const URL_END = /[\s"'<>]/;

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
  if (name === PROTOCOLS) return showProtocols(value);
  return isSecret(name) ? MASK : showTarget(value);
}

/** Scheme and mask: `Bearer •••`. */
function showCredentials(value: string): string {
  const scheme = /^([A-Za-z][A-Za-z0-9-]{0,31}) +\S/.exec(value)?.[1];
  return scheme === undefined ? MASK : `${scheme} ${MASK}`;
}

/** Every cookie may be a session, whatever its name; the attributes of a Set-Cookie are not. */
function showCookies(name: string, value: string): string {
  const [first = '', ...attributes] = value.split(';');
  if (name === 'cookie') return [first, ...attributes].map(withoutValue).join(';');
  return [first.includes('=') ? withoutValue(first) : `=${MASK}`, ...attributes].join(';');
}

/** What has no name is a value (RFC 6265bis 5.7.3). */
function withoutValue(pair: string): string {
  const equals = pair.indexOf('=');
  if (equals !== -1) return `${pair.slice(0, equals)}=${MASK}`;
  const value = pair.trim();
  return value === '' ? pair : pair.replace(value, () => MASK);
}

/** Names of subprotocols; what is none is taken for a token, as in `bearer, TOKEN`. */
function showProtocols(value: string): string {
  let isBehindName = false;
  const show = (text: string): string => {
    if (text === '') return text;
    const shown = isBehindName ? MASK : showProtocol(text);
    isBehindName = secretEnd(text) !== -1;
    return shown;
  };
  // What parts them stands at odd places.
  return value
    .split(PROTOCOL_END)
    .map((text, index) => (index % 2 === 1 ? text : show(text)))
    .join('');
}

function showProtocol(text: string): string {
  const end = secretEnd(text);
  const name = end === -1 ? text : text.slice(0, end);
  if (!name.split(PROTOCOL_SIGN).every((word) => PROTOCOL_WORD.test(word))) return MASK;
  return name.length === text.length ? text : `${name}${MASK}`;
}

/** Where the first telling word of a subprotocol ends; -1: there is none. */
function secretEnd(text: string): number {
  const ends = [SECRET_PART, SECRET_AHEAD].flatMap((pattern) => {
    const found = pattern.exec(text);
    return found === null ? [] : [found.index + found[0].length];
  });
  return ends.length === 0 ? -1 : Math.min(...ends);
}

/** Of a URL, or of a text with URLs: parameters with telling names, users with passwords. */
export function showTarget(text: string): string {
  // Signs stand at odd places.
  const [first = '', ...rest] = withoutUsers(text).split(SIGN);
  return first + rest.map((piece, index) => (index % 2 === 0 ? piece : showPair(piece))).join('');
}

function showPair(pair: string): string {
  const equals = pair.indexOf('=');
  if (equals === -1 || !isSecret(decoded(pair.slice(0, equals)))) return pair;
  const value = pair.slice(equals + 1);
  const end = value.search(URL_END);
  return `${pair.slice(0, equals)}=${MASK}${end === -1 ? '' : value.slice(end)}`;
}

/** What stands between :// and an @ of the same authority. */
function withoutUsers(text: string): string {
  const [first = '', ...authorities] = text.split('://');
  const shown = authorities.map((rest) => {
    const end = rest.search(/[/?#\s]/);
    const authority = end === -1 ? rest : rest.slice(0, end);
    const at = authority.lastIndexOf('@');
    return at === -1 ? rest : `${MASK}${rest.slice(at)}`;
  });
  return [first, ...shown].join('://');
}

function isSecret(name: string): boolean {
  return [SECRET_PART, SECRET_KEY, SECRET_WORD].some((pattern) => pattern.test(name));
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
