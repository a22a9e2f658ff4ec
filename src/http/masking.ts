// A message head as texts to be shown, without what lets its reader in somewhere.
//
// Invariant: a value under a name that speaks of a secret is never shown, wherever it stands: as a
// field, a cookie, or a parameter of a URL in any field, also of one that is a parameter itself;
// nor is what reads as credentials. Names stay, so that one sees that there was one. Must not
// know: which message, or who looks.

/** What stands for a secret. */
export const MASK = '•••';
/** Fields whose value is one, or is a list of them. */
const SECRET_FIELDS = new Set(['authorization', 'proxy-authorization', 'x-amz-security-token']);
const COOKIES = new Set(['cookie', 'set-cookie']);
/** Where browsers put a token, as a WebSocket of theirs has no Authorization. */
const PROTOCOLS = 'sec-websocket-protocol';
/** Parts of names. */
const SECRET_PARTS = [
  /token|secret|passw|passphrase|api-?key|session|signature|credential|jwt|[cx]srf|otp|private/i,
  /authorization|authentication|bearer|assertion|saml(?:art|resp)|sessid|verifier/i,
];
/** What makes a key a secret where both are one word, as in `AccessKey`. */
const SECRET_KEY =
  /(?:access|account|app|auth|client|crypt(?:ion)?|master|shared?|sign(?:ing)?|storage|user)key/i;
/** The same of a code and a password, as in `authCode` and `userpass`. */
const SECRET_CODE = /(?:access|admin|app|auth|client|db|login|root|user)(?:code|pass)$/i;
/** Words that are a name, or a part of one between - _ dots and brackets. */
const SECRET_WORD =
  /(?:^|[-_.[\]])(?:sig|key|auth|code|pass|pwd?|psw|pin|sid|ticket|hmac)(?:$|[-_.[\]])/i;
/** A value that is a secret whatever its name is; + is a space in a query. */
const CREDENTIALS = /^(?:Basic|Bearer|Digest|Negotiate|Token)[ +]+[^ +]/i;
/** Fields that ask for credentials in such words, and hold none. */
const CHALLENGES = new Set(['www-authenticate', 'proxy-authenticate']);
/** URLs within a parameter of a URL are looked into so deep. Guess: a login page before another. */
const NESTED_MAX = 4;
const ESCAPED = /%[0-9A-Fa-f]{2}/g;
/** What a parameter's value is not written with. */
const UNSAFE = /[^\w.~-]/g;
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
  if (CREDENTIALS.test(value) && !CHALLENGES.has(name)) return showCredentials(value);
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
  const ends = [...SECRET_PARTS, SECRET_AHEAD].flatMap((pattern) => {
    const found = pattern.exec(text);
    return found === null ? [] : [found.index + found[0].length];
  });
  return ends.length === 0 ? -1 : Math.min(...ends);
}

/** Of a URL, or of a text with URLs: parameters with telling names, users with passwords. */
export function showTarget(text: string): string {
  return showPieces(text, 0);
}

function showPieces(text: string, depth: number): string {
  // Signs stand at odd places.
  const [first = '', ...rest] = withoutUsers(text).split(SIGN);
  const show = (piece: string, index: number): string =>
    index % 2 === 0 ? piece : showPair(piece, depth);
  return first + rest.map(show).join('');
}

function showPair(pair: string, depth: number): string {
  const equals = pair.indexOf('=');
  if (equals === -1) return showNested(pair, depth);
  const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
  if (!isSecret(decoded(name))) return `${name}=${showNested(value, depth)}`;
  // Within a parameter nothing follows a URL.
  const end = depth === 0 ? value.search(URL_END) : -1;
  return `${name}=${MASK}${end === -1 ? '' : value.slice(end)}`;
}

/** A value that may hold parameters itself; one that hides them too deep is not shown. */
function showNested(value: string, depth: number): string {
  const text = decoded(value);
  if (CREDENTIALS.test(text)) return MASK;
  if (text === value) return value;
  if (depth === NESTED_MAX) return MASK;
  // Its beginning may be a parameter as well.
  const shown = showPieces(`?${text}`, depth + 1).slice(1);
  return shown === text ? value : shown.split(MASK).map(encoded).join(MASK);
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
  return [...SECRET_PARTS, SECRET_KEY, SECRET_CODE, SECRET_WORD].some((pattern) =>
    pattern.test(name),
  );
}

/** A character for each byte, as in the head: names that tell are ASCII. */
function decoded(text: string): string {
  const byteOf = (byte: string): number => Number.parseInt(byte.slice(1), 16);
  return text.replace(ESCAPED, (byte) => String.fromCharCode(byteOf(byte)));
}

function encoded(text: string): string {
  const hexOf = (sign: string): string => sign.charCodeAt(0).toString(16).toUpperCase();
  return text.replace(UNSAFE, (sign) => `%${hexOf(sign).padStart(2, '0')}`);
}
