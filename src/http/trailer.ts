// Trailers of a chunked body: read strictly, and passed on without the fields that must not come
// after the body.
//
// Invariant: a trailer that claims framing or Host is refused, one that routes, authenticates or
// describes the content is dropped (RFC 9110 6.5.1); what is left is short and copied. Must not
// know: whether the message is a request or a response.

import type { ErrorCode } from '../base/errors.ts';
import { KIND } from './field-kind.ts';
import { HeadParser } from './head-parser.ts';

/** Lower case. By purpose: hop, routing and request modifiers, authentication, content, answers. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'via'],
  ...['cache-control', 'expect', 'if-match', 'if-modified-since', 'if-none-match', 'if-range'],
  ...['if-unmodified-since', 'max-forwards', 'pragma', 'range', 'origin', 'referer'],
  ...['authorization', 'proxy-authenticate', 'proxy-authorization', 'www-authenticate'],
  ...['authentication-info', 'proxy-authentication-info', 'cookie', 'set-cookie'],
  ...['content-encoding', 'content-range', 'content-type', 'content-disposition'],
  ...['content-language', 'content-location', 'content-security-policy'],
  ...['access-control-allow-origin', 'strict-transport-security', 'sec-websocket-accept'],
  ...['accept-ranges', 'age', 'date', 'expires', 'location', 'retry-after', 'vary', 'warning'],
]);

export class TrailerParser extends HeadParser {
  protected override readonly tooLarge: ErrorCode = 'SLW_HTTP_BAD_REQUEST';
  protected override readonly malformed: ErrorCode = 'SLW_HTTP_BAD_REQUEST';

  protected override startLine(at: number): number {
    return at;
  }

  protected override finish(): number {
    const { fields } = this;
    for (let i = 0; i < fields.count; i += 1) {
      const kind = fields.kinds[i] as number;
      if (kind > KIND.OTHER && kind <= KIND.FRAMING_ALIAS) return this.refuse(this.malformed);
    }
    return 0;
  }

  /** The fields that may pass and the empty line. */
  filtered(): Buffer {
    const { bytes, base, fields } = this;
    let text = '';
    for (let i = 0; i < fields.count; i += 1) {
      const name = bytes.toString('latin1', base + fields.nameStart(i), base + fields.nameEnd(i));
      const plainName = name.toLowerCase().replaceAll(/[_.]/g, '-');
      if (fields.kinds[i] !== KIND.OTHER || FORBIDDEN.has(plainName)) continue;
      const start = base + fields.valueStart(i);
      text += `${name}: ${bytes.toString('latin1', start, base + fields.valueEnd(i))}\r\n`;
    }
    return Buffer.from(`${text}\r\n`, 'latin1');
  }
}
