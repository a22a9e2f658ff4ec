// The strict parser of request heads: bytes of a visitor in, a request or a refusal out.
//
// Invariant: what it accepts has one meaning for every server behind it: one method, one target,
// one host, one framing (reliability.md App. A and B). Whatever it accepts, llhttp accepts with
// the same reading. Must not know: tunnels, sockets, or what is written toward the upstream.

import type { ErrorCode } from '../base/errors.ts';
import type { FieldBlock } from './field-block.ts';
import { KIND } from './field-kind.ts';
import { LENGTH, readFraming } from './framing.ts';
import { HeadParser, PUSH } from './head-parser.ts';
import { HostReader } from './host.ts';
import { isMethodLetter, methodAt } from './method.ts';
import {
  BACKSLASH,
  CR,
  LF,
  LOWER,
  matches,
  octets,
  QUESTION,
  SLASH,
  SP,
  TARGET,
} from './octets.ts';
import { type AbsoluteTarget, readAbsoluteTarget } from './target.ts';

/** Request target (reliability.md 3.4: what common servers take). */
export const TARGET_BYTES_MAX = 8 * 1024;
/** Guess: the longest registered method has 17 letters. */
const METHOD_BYTES_MAX = 32;

const VERSION = octets('HTTP/1.1\r\n');
const HTTP_SLASH = octets('HTTP/');
const WEBSOCKET = octets('websocket');
const CONTINUE = octets('100-continue');
const ASTERISK = 0x2a;

const AT = { LEADING: 0, LEADING_LF: 1, METHOD: 2, TARGET: 3, VERSION: 4 } as const;

export class RequestParser extends HeadParser {
  /** One of the methods of llhttp, so a closed set. */
  method = '';
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor = 1;
  /** Canonical; '' when an HTTP/1.0 request names none. */
  host = '';
  /** The authority as it was written, for the Host that is sent on; empty range when none. */
  authorityStart = 0;
  authorityEnd = 0;
  /** Path and query as they were written. */
  targetStart = 0;
  targetEnd = 0;
  /** What the target in origin form begins with when its range does not: '/', '*' or nothing. */
  targetPrefix: '' | '/' | '*' = '';
  framing: 'none' | 'length' | 'chunked' = 'none';
  /** Body length when `framing` is 'length'. */
  contentLength = 0;
  /** The visitor lets the connection live on after this request. */
  isKeepAlive = false;
  /** A valid request to switch to WebSocket. */
  isUpgrade = false;
  protected override readonly tooLarge: ErrorCode = 'SLW_HTTP_HEAD_TOO_LARGE';
  protected override readonly malformed: ErrorCode = 'SLW_HTTP_BAD_REQUEST';
  readonly #hosts = new HostReader();
  #at: number = AT.LEADING;
  #tokenStart = 0;

  override reset(): void {
    super.reset();
    this.#at = AT.LEADING;
  }

  /** Is the request line `METHOD origin-form HTTP/1.1`, so that it may be copied as it is? */
  get isPlainLine(): boolean {
    return this.minor === 1 && this.#originForm;
  }

  get #originForm(): boolean {
    return this.targetPrefix === '' && this.targetStart === this.method.length + 1;
  }

  override push(chunk: Buffer, offset: number): number {
    if (this.#at > AT.LEADING_LF) return super.push(chunk, offset);
    const after = this.#skipLeadingLine(chunk, offset);
    if (after === chunk.length) return PUSH.MORE;
    return after < 0 ? after : super.push(chunk, after);
  }

  /** RFC 9112 2.2: one empty line before a request is skipped. */
  #skipLeadingLine(chunk: Buffer, offset: number): number {
    let i = offset;
    if (this.#at === AT.LEADING && i < chunk.length) {
      this.#at = chunk[i] === CR ? AT.LEADING_LF : AT.METHOD;
      if (this.#at === AT.LEADING_LF) i += 1;
    }
    if (this.#at === AT.LEADING_LF && i < chunk.length) {
      if (chunk[i] !== LF) return this.refuse('SLW_HTTP_BAD_REQUEST');
      this.#at = AT.METHOD;
      i += 1;
    }
    return i;
  }

  protected override startLine(at: number, end: number): number {
    let next = at;
    if (this.#at === AT.METHOD) {
      next = this.#readMethod(next, end);
      if (next < 0) return next;
    }
    if (this.#at === AT.TARGET) {
      next = this.#readTarget(next, end);
      if (next < 0) return next;
    }
    return this.#readVersion(next, end);
  }

  #readMethod(at: number, end: number): number {
    const { bytes, base } = this;
    let i = base + at;
    while (i < end && isMethodLetter(bytes[i] as number)) i += 1;
    const length = i - base;
    if (length > METHOD_BYTES_MAX) return this.refuse('SLW_HTTP_BAD_REQUEST');
    if (i === end) return this.#more(length);
    if (bytes[i] !== SP || length === 0) return this.refuse('SLW_HTTP_BAD_REQUEST');
    const method = methodAt(bytes, base, i);
    if (method === 'PRI') return this.refuse('SLW_HTTP_VERSION');
    if (method === 'PROXY') return this.refuse('SLW_HTTP_BAD_REQUEST');
    if (method === '') return this.refuse('SLW_HTTP_METHOD');
    this.method = method;
    this.#tokenStart = length + 1;
    this.#at = AT.TARGET;
    return length + 1;
  }

  #readTarget(at: number, end: number): number {
    const { bytes, base } = this;
    const limit = base + this.#tokenStart + TARGET_BYTES_MAX;
    const stop = Math.min(end, limit);
    let i = base + at;
    while (i < stop && this.#isTargetOctet(bytes, i)) i += 1;
    if (i === end) return this.#more(i - base);
    if (bytes[i] !== SP) return this.refuse(i === limit ? 'SLW_HTTP_URI_TOO_LONG' : this.malformed);
    if (i - base === this.#tokenStart) return this.refuse(this.malformed);
    this.targetStart = this.#tokenStart;
    this.targetEnd = i - base;
    this.#tokenStart = i - base + 1;
    this.#at = AT.VERSION;
    return this.#tokenStart;
  }

  /** A backslash is refused in a path, where some servers read it as a slash, not in a query. */
  #isTargetOctet(bytes: Uint8Array, at: number): boolean {
    if (TARGET[bytes[at] as number] === 1) return true;
    if (bytes[at] !== BACKSLASH) return false;
    const question = bytes.indexOf(QUESTION, this.base + this.#tokenStart);
    return question !== -1 && question < at;
  }

  #readVersion(at: number, end: number): number {
    const { bytes, base } = this;
    const start = base + this.#tokenStart;
    for (let i = base + at; i < end; i += 1) {
      const index = i - start;
      if (bytes[i] === VERSION[index]) {
        if (index < VERSION.length - 1) continue;
        this.minor = bytes[start + 7] === 0x30 ? 0 : 1;
        return i + 1 - base;
      }
      if (index < HTTP_SLASH.length || index === 6 || index > 7) return this.refuse(this.malformed);
      if (!isDigit(bytes[i] as number)) return this.refuse(this.malformed);
      const isOneZero = index === 7 && bytes[i] === 0x30 && bytes[start + 5] === 0x31;
      if (!isOneZero) return this.refuse('SLW_HTTP_VERSION');
    }
    return this.#more(end - base);
  }

  #more(at: number): number {
    this.startLineAt = at;
    return PUSH.MORE;
  }

  protected override finish(): number {
    if (!this.#readFields()) return PUSH.REFUSED;
    const length = readFraming(this, this.minor);
    if (length === LENGTH.BAD) return this.refuse(this.malformed);
    this.framing =
      length === LENGTH.NONE ? 'none' : length === LENGTH.CHUNKED ? 'chunked' : 'length';
    this.contentLength = Math.max(length, 0);
    if (!this.#readHost() || !this.#readTargetForm()) return PUSH.REFUSED;
    this.isKeepAlive =
      this.minor === 1
        ? !this.options.hasClose
        : this.options.hasKeepAlive && !this.options.hasClose;
    this.isUpgrade = this.#asksForWebSocket();
    return 0;
  }

  /** Connection, Expect, and names that only look like framing. */
  #readFields(): boolean {
    const { bytes, base, fields } = this;
    let expectations = 0;
    for (let i = 0; i < fields.count; i += 1) {
      switch (fields.kinds[i] as number) {
        case KIND.FRAMING_ALIAS:
          return this.refuse(this.malformed) === 0;
        case KIND.CONNECTION:
          if (!this.options.read(bytes, base, fields.valueStart(i), fields.valueEnd(i)))
            return this.refuse(this.malformed) === 0;
          break;
        case KIND.EXPECT:
          expectations += 1;
          if (expectations > 1 || !valueIs(this, fields, i, CONTINUE))
            return this.refuse('SLW_HTTP_EXPECTATION') === 0;
          break;
        default:
      }
    }
    return true;
  }

  #readHost(): boolean {
    const { bytes, base, fields } = this;
    const field = fields.only(KIND.HOST);
    this.authorityStart = 0;
    this.authorityEnd = 0;
    this.host = '';
    if (field === -1 && this.minor === 0) return true;
    if (field < 0) return this.refuse(this.malformed) === 0;
    this.authorityStart = fields.valueStart(field);
    this.authorityEnd = fields.valueEnd(field);
    if (!this.#hosts.read(bytes, base + this.authorityStart, base + this.authorityEnd))
      return this.refuse(this.malformed) === 0;
    this.host = this.#hosts.host;
    return true;
  }

  #readTargetForm(): boolean {
    const { bytes, base } = this;
    const start = base + this.targetStart;
    this.targetPrefix = '';
    if (bytes[start] === SLASH) return true;
    if (bytes[start] === ASTERISK && this.targetEnd === this.targetStart + 1)
      return this.method === 'OPTIONS' || this.refuse(this.malformed) === 0;
    const target = readAbsoluteTarget(bytes, start, base + this.targetEnd);
    if (target === undefined || !this.#agrees(target)) return this.refuse(this.malformed) === 0;
    this.targetStart = target.pathStart - base;
    const isBare = this.targetStart === this.targetEnd;
    if (isBare) this.targetPrefix = this.method === 'OPTIONS' ? '*' : '/';
    else if (bytes[target.pathStart] !== SLASH) this.targetPrefix = '/';
    return true;
  }

  /** Does the authority of an absolute target name the same host and port as Host? */
  #agrees(target: AbsoluteTarget): boolean {
    const { base } = this;
    const named = this.host;
    const namedPort = named === '' ? -1 : this.#hosts.port;
    if (!this.#hosts.read(this.bytes, target.hostStart, target.hostEnd)) return false;
    if (named === '') {
      this.host = this.#hosts.host;
      this.authorityStart = target.hostStart - base;
      this.authorityEnd = target.hostEnd - base;
      return true;
    }
    const port = this.#hosts.port === -1 ? target.defaultPort : this.#hosts.port;
    return (
      named === this.#hosts.host && port === (namedPort === -1 ? target.defaultPort : namedPort)
    );
  }

  #asksForWebSocket(): boolean {
    if (!this.options.hasUpgrade || this.method !== 'GET' || this.minor === 0) return false;
    if (this.framing === 'chunked' || this.contentLength > 0) return false;
    const field = this.fields.only(KIND.UPGRADE);
    return field >= 0 && valueIs(this, this.fields, field, WEBSOCKET);
  }
}

function isDigit(octet: number): boolean {
  return octet >= 0x30 && octet <= 0x39;
}

/** Is the value of field `index` the token `text`, in any case? */
export function valueIs(
  head: HeadParser,
  fields: FieldBlock,
  index: number,
  text: Uint8Array,
): boolean {
  const start = fields.valueStart(index);
  if (fields.valueEnd(index) - start !== text.length) return false;
  return matches(head.bytes, head.base + start, text, LOWER);
}
