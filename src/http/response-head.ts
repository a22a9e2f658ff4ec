// The strict parser of response heads: bytes of an upstream in, a response or a refusal out.
//
// Invariant: a response whose end is not certain is refused (RFC 9112 6.3, reliability.md App. A);
// a switch of protocols passes only when it was asked for. What a head means depends on the
// request, so `prepare` comes before each. Must not know: visitors, or how often 1xx may come.

import type { ErrorCode } from '../base/errors.ts';
import { KIND } from './field-kind.ts';
import { type Framing, LENGTH, readFraming } from './framing.ts';
import { HeadParser, PUSH } from './head-parser.ts';
import { CR, LF, octets, SP, VALUE } from './octets.ts';
import { valueIs } from './request-head.ts';

const PREFIX = octets('HTTP/1.');
const WEBSOCKET = octets('websocket');
const SWITCHING_PROTOCOLS = 101;
const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

export class ResponseParser extends HeadParser {
  status = 0;
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor = 1;
  /** How the body that follows is delimited. */
  framing: Framing = 'none';
  /** Body length when `framing` is 'length'. */
  contentLength = 0;
  /** What Content-Length says, also where no body follows (HEAD, 304); -1 for nothing. */
  declaredLength = -1;
  /** Did Transfer-Encoding say chunked, also where no body follows? */
  isChunked = false;
  /** The upstream keeps the connection for another request. */
  isKeepAlive = false;
  /** Where the status line ends, its CRLF included, and where its reason stands. */
  lineEnd = 0;
  reasonStart = 0;
  protected override readonly tooLarge: ErrorCode = 'SLW_HTTP_BAD_RESPONSE';
  protected override readonly malformed: ErrorCode = 'SLW_HTTP_BAD_RESPONSE';
  #method = '';
  #isUpgradeAsked = false;

  /** Before each response, and after each interim one: what was asked. */
  prepare(method: string, isUpgradeAsked: boolean): void {
    this.reset();
    this.#method = method;
    this.#isUpgradeAsked = isUpgradeAsked;
    this.status = 0;
    this.lineEnd = 0;
  }

  get isInterim(): boolean {
    return this.status < 200 && this.status !== SWITCHING_PROTOCOLS;
  }

  get isSwitch(): boolean {
    return this.status === SWITCHING_PROTOCOLS;
  }

  protected override startLine(at: number, end: number): number {
    const { bytes, base } = this;
    for (let i = base + at; i < end; i += 1) {
      const index = i - base;
      const octet = bytes[i] as number;
      if (index < 12) {
        if (!this.#isStatusOctet(octet, index)) return this.refuse(this.malformed);
      } else if (index === 12) {
        if (octet !== SP && octet !== CR) return this.refuse(this.malformed);
      } else if (bytes[i - 1] === CR) {
        if (octet !== LF) return this.refuse(this.malformed);
        return this.#statusLine(index + 1);
      } else if (octet !== CR && VALUE[octet] === 0) {
        return this.refuse(this.malformed);
      }
    }
    this.startLineAt = end - base;
    return PUSH.MORE;
  }

  /** `HTTP/1.` digit SP and three digits, of which the first is not zero. */
  #isStatusOctet(octet: number, index: number): boolean {
    if (index < PREFIX.length) return octet === PREFIX[index];
    if (index === 7) return octet === 0x30 || octet === 0x31;
    if (index === 8) return octet === SP;
    return octet >= (index === 9 ? 0x31 : 0x30) && octet <= 0x39;
  }

  #statusLine(lineEnd: number): number {
    const { bytes, base } = this;
    this.minor = (bytes[base + 7] as number) - 0x30;
    this.status =
      (bytes[base + 9] as number) * 100 +
      (bytes[base + 10] as number) * 10 +
      (bytes[base + 11] as number) -
      0x30 * 111;
    this.lineEnd = lineEnd;
    this.reasonStart = Math.min(13, lineEnd - 2);
    return lineEnd;
  }

  protected override finish(): number {
    const { bytes, base, fields } = this;
    for (let i = 0; i < fields.count; i += 1) {
      const kind = fields.kinds[i];
      if (kind === KIND.FRAMING_ALIAS) return this.refuse(this.malformed);
      if (kind !== KIND.CONNECTION) continue;
      if (!this.options.read(bytes, base, fields.valueStart(i), fields.valueEnd(i)))
        return this.refuse(this.malformed);
    }
    const length = readFraming(this, this.minor);
    if (length === LENGTH.BAD || !this.#decideFraming(length)) return this.refuse(this.malformed);
    if (this.isSwitch && !this.#isWantedSwitch()) return this.refuse(this.malformed);
    this.isKeepAlive =
      !this.options.hasClose &&
      (this.minor === 1 || this.options.hasKeepAlive) &&
      this.framing !== 'until-close';
    return 0;
  }

  /** False: a body where none may be, which leaves the end in doubt. */
  #decideFraming(length: number): boolean {
    this.isChunked = length === LENGTH.CHUNKED;
    this.declaredLength = length >= 0 ? length : -1;
    this.contentLength = 0;
    this.framing = 'none';
    // RFC 9112 6.3: these end with their head. Many WebSocket servers say so in a length.
    if (this.status < 200 || this.status === NO_CONTENT)
      return length === LENGTH.NONE || length === 0;
    if (this.status === NOT_MODIFIED || this.#method === 'HEAD') return true;
    this.framing = this.isChunked ? 'chunked' : length >= 0 ? 'length' : 'until-close';
    this.contentLength = Math.max(length, 0);
    return true;
  }

  /** RFC 9110 7.8: the 101 names the one protocol that was asked for. */
  #isWantedSwitch(): boolean {
    if (!this.#isUpgradeAsked || this.minor === 0 || !this.options.hasUpgrade) return false;
    const field = this.fields.only(KIND.UPGRADE);
    return field >= 0 && valueIs(this, this.fields, field, WEBSOCKET);
  }
}
