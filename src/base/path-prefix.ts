// The path in a tunnel's name: `/api` of `example.com/api`, in the one form that is compared.
//
// Invariant: what comes out begins with one slash and ends without one, has no empty and no dot
// segment, escapes no unreserved character and writes escapes in capitals (RFC 3986 6.2.2); it is
// safe as a route, a metric label and a log field. Must not know: hosts, requests, who asks.

/** Characters of a prefix. Guess: far above any mount point, so that a name fits its message. */
export const PREFIX_LENGTH_MAX = 200;

/** Of RFC 3986's pchar those that mean nothing to a list, an option or a reader's glob. */
const SEGMENT = /^[A-Za-z0-9._~!$&'()+:@%-]+$/;
const BROKEN_ESCAPE = /%(?![0-9A-Fa-f]{2})/;
const UNRESERVED = /[A-Za-z0-9._~-]/;

/** What is wrong with a prefix, as the rest of a sentence about it. */
export class WrongPrefix {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The normal form of `text`, which begins with a slash; '' for the slash alone. */
export function readPathPrefix(text: string): string | WrongPrefix {
  if (text.length > PREFIX_LENGTH_MAX) {
    return new WrongPrefix(`is longer than ${PREFIX_LENGTH_MAX} characters`);
  }
  if (/[?#]/.test(text)) return new WrongPrefix('has a query or a fragment; write a path alone');
  if (text.includes('*')) {
    return new WrongPrefix('has a "*"; everything below a prefix belongs to it, leave it out');
  }
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return new WrongPrefix('has a "%" that escapes nothing');
  const trimmed = text.endsWith('/') ? text.slice(0, -1) : text;
  if (trimmed === '') return '';
  const segments = trimmed.slice(1).split('/').map(normalSegment);
  if (segments.includes('')) return new WrongPrefix('has an empty segment');
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    return new WrongPrefix('has a "." or ".." segment');
  }
  const isRight = segments.every((segment) => SEGMENT.test(segment));
  if (!isRight || BROKEN_ESCAPE.test(text)) {
    return new WrongPrefix("may have letters, digits, -._~!$&'()+:@ and escapes such as %2F");
  }
  return `/${segments.join('/')}`;
}

function normalSegment(segment: string): string {
  return segment.replace(/%[0-9A-Fa-f]{2}/g, (octet) => {
    const letter = String.fromCharCode(Number.parseInt(octet.slice(1), 16));
    return UNRESERVED.test(letter) ? letter : octet.toUpperCase();
  });
}
