// The one table of everything that can go wrong, and the error classes that carry a row of it.
//
// A row pairs the stable code with the number that travels on a link (RST, GOAWAY), the status a
// visitor sees over HTTP, whether trying again makes sense, whose fault it is, and what it says.
// Invariant: the key is the code, so class and code cannot disagree; wire numbers are unique and
// never reused. Must not know: sockets, frames, or how a room reports what it found.

/** Whose fault an error is, after what it was that failed, not who noticed. */
export type ErrorSource = 'visitor' | 'client' | 'upstream' | 'peer' | 'operator' | 'self';

export interface ErrorRow {
  /** Number in RST and GOAWAY frames; -1 when it never travels. */
  readonly wire: number;
  /** HTTP status for a visitor whose request met this; 0 when it never reaches one. */
  readonly status: number;
  readonly source: ErrorSource;
  /** True when the same attempt may succeed later or elsewhere. */
  readonly retryable: boolean;
  readonly text: string;
}

function row(
  wire: number,
  status: number,
  source: ErrorSource,
  retryable: boolean,
  text: string,
): ErrorRow {
  return { wire, status, source, retryable, text };
}

// Wire numbers: 0 clean, 1-15 protocol errors (close the link), 16-31 link endings, 32-63 streams.
export const ERRORS = {
  SLW_NONE: row(0, 0, 'self', false, 'no error'),

  SLW_WIRE_PROTOCOL: row(1, 502, 'peer', false, 'malformed frame'),
  SLW_WIRE_FRAME_TYPE: row(2, 502, 'peer', false, 'unknown or misplaced frame type'),
  SLW_WIRE_FRAME_TOO_LARGE: row(3, 502, 'peer', false, 'frame larger than the agreed limit'),
  SLW_WIRE_WINDOW_EXCEEDED: row(4, 502, 'peer', false, 'more bytes than granted credit'),
  SLW_WIRE_CREDIT_INVALID: row(5, 502, 'peer', false, 'credit of zero or above the limit'),
  SLW_WIRE_STREAM_STATE: row(6, 502, 'peer', false, 'frame not allowed in this stream state'),
  SLW_WIRE_STREAM_ID: row(7, 502, 'peer', false, 'stream id of wrong parity, reused or zero'),
  SLW_WIRE_BODY_INVALID: row(8, 502, 'peer', false, 'control frame body does not fit its schema'),
  SLW_WIRE_FLOOD: row(9, 502, 'peer', false, 'too many control frames'),
  SLW_WIRE_VERSION: row(10, 502, 'peer', false, 'no common protocol version'),
  SLW_WIRE_WEBSOCKET: row(11, 502, 'peer', false, 'WebSocket framing error'),

  SLW_LINK_REPLACED: row(16, 503, 'client', false, 'a new client with the same id took over'),
  SLW_LINK_DRAINING: row(17, 503, 'self', true, 'the peer is shutting down'),
  SLW_LINK_DEAD: row(18, 502, 'peer', true, 'nothing was heard from the peer in time'),
  SLW_LINK_SURPLUS: row(19, 503, 'self', true, 'this shard already has a link of this client'),
  SLW_LINK_LOST: row(20, 502, 'peer', true, 'the link was lost'),
  SLW_LINK_HELLO_TIMEOUT: row(21, 503, 'peer', true, 'no hello within the deadline'),
  SLW_LINK_IDS_SPENT: row(22, 503, 'self', true, 'stream ids are used up, a new link is needed'),
  SLW_LINK_ENDED: row(23, 503, 'peer', true, 'the peer ended the link'),
  SLW_LINK_LIMIT: row(24, 503, 'operator', true, 'too many links'),
  SLW_LINK_REVOKED: row(25, 503, 'operator', false, 'the token is no longer valid'),
  SLW_LINK_ID_TAKEN: row(26, 503, 'operator', true, 'a client of another token has this id'),
  SLW_LINK_MOVED: row(27, 503, 'self', true, 'a successor of the server takes new links'),

  SLW_STREAM_RESET: row(32, 502, 'upstream', true, 'the connection was reset'),
  SLW_STREAM_REFUSED: row(33, 502, 'upstream', true, 'the upstream refused the connection'),
  SLW_STREAM_CONNECT_TIMEOUT: row(34, 504, 'upstream', true, 'the upstream did not answer in time'),
  SLW_STREAM_UNREACHABLE: row(35, 502, 'upstream', true, 'the upstream cannot be reached'),
  SLW_STREAM_UNKNOWN_TUNNEL: row(36, 502, 'client', true, 'the client does not serve this tunnel'),
  SLW_STREAM_LIMIT: row(37, 503, 'self', true, 'too many streams on this link'),
  SLW_STREAM_MEMORY: row(38, 502, 'self', true, 'the session memory limit was reached'),
  SLW_STREAM_OPEN_TIMEOUT: row(39, 504, 'client', true, 'the client did not answer in time'),
  SLW_STREAM_IDLE: row(40, 504, 'self', false, 'the stream was idle for too long'),
  SLW_STREAM_HALF_CLOSED: row(41, 502, 'self', false, 'half-closed for too long'),
  SLW_STREAM_CANCELLED: row(42, 502, 'visitor', false, 'the other side is gone'),
  SLW_STREAM_DRAINED: row(43, 503, 'self', true, 'ended by shutdown'),
  SLW_STREAM_NO_LINK: row(44, 503, 'client', true, 'no client serves this tunnel now'),

  SLW_TUNNEL_NAME: row(-1, 0, 'client', false, 'not a valid tunnel name'),
  SLW_TUNNEL_PORT_NOT_ALLOWED: row(
    -1,
    0,
    'operator',
    false,
    'port is outside --tcp-ports or --udp-ports',
  ),
  SLW_TUNNEL_PORT_TAKEN: row(-1, 0, 'operator', true, 'port is in use by another program'),
  SLW_TUNNEL_PORT_DENIED: row(-1, 0, 'operator', false, 'no permission to open this port'),
  SLW_TUNNEL_LIMIT: row(-1, 0, 'operator', true, 'too many tunnels'),
  SLW_TUNNEL_SHUTDOWN: row(-1, 0, 'self', true, 'the exit node is shutting down'),

  SLW_HTTP_BAD_REQUEST: row(-1, 400, 'visitor', false, 'malformed or ambiguous request'),
  SLW_HTTP_HEAD_TOO_LARGE: row(-1, 431, 'visitor', false, 'request head too large'),
  SLW_HTTP_URI_TOO_LONG: row(-1, 414, 'visitor', false, 'request target too long'),
  SLW_HTTP_HEADER_TIMEOUT: row(-1, 408, 'visitor', false, 'request head not received in time'),
  SLW_HTTP_BODY_TIMEOUT: row(-1, 408, 'visitor', false, 'request body stalled'),
  SLW_HTTP_NO_TUNNEL: row(-1, 404, 'visitor', false, 'no tunnel for this host'),
  SLW_HTTP_MISDIRECTED: row(-1, 421, 'visitor', false, 'server name and Host disagree'),
  SLW_HTTP_METHOD: row(-1, 405, 'visitor', false, 'method not supported'),
  SLW_HTTP_EXPECTATION: row(-1, 417, 'visitor', false, 'expectation not supported'),
  SLW_HTTP_VERSION: row(-1, 505, 'visitor', false, 'HTTP version not supported'),
  SLW_HTTP_BAD_RESPONSE: row(-1, 502, 'upstream', false, 'malformed or ambiguous response'),
  SLW_HTTP_RESPONSE_TIMEOUT: row(-1, 504, 'upstream', true, 'no response head in time'),
  SLW_HTTP_VISITOR_LIMIT: row(-1, 503, 'visitor', true, 'too many visitor connections'),

  SLW_AUTH_REFUSED: row(-1, 401, 'client', false, 'authentication refused'),
  SLW_CONFIG_INVALID: row(-1, 0, 'operator', false, 'invalid configuration'),
  SLW_LISTEN_FAILED: row(-1, 0, 'operator', false, 'cannot listen'),
  SLW_SHARD_FAILED: row(-1, 0, 'self', true, 'a shard failed'),
  SLW_CALL_TIMEOUT: row(-1, 503, 'self', true, 'an internal call was not answered in time'),
  SLW_DIAL_FAILED: row(-1, 0, 'peer', true, 'cannot connect to the server'),
  SLW_TIMEOUT: row(-1, 0, 'peer', true, 'timed out'),
  SLW_PROXY_HEADER: row(-1, 0, 'visitor', false, 'a PROXY header is malformed, late or unwanted'),
  SLW_HTTP_ADDRESS_LIMIT: row(-1, 429, 'visitor', true, 'too many connections of one address'),
  SLW_HTTP_RATE_LIMIT: row(-1, 429, 'visitor', true, 'too many requests a second'),
  SLW_HTTP_BODY_TOO_LARGE: row(-1, 413, 'visitor', false, 'request body too large'),
  SLW_STREAM_TUNNEL_LIMIT: row(-1, 503, 'visitor', true, 'too many connections to this tunnel'),
  SLW_TUNNEL_OPTION: row(-1, 0, 'client', false, 'tunnel option unknown or not valid'),
  SLW_TLS_REFUSED: row(-1, 0, 'peer', true, 'the certificate of the server is not trusted'),
  SLW_ACME_UNREACHABLE: row(-1, 0, 'peer', true, 'the certificate issuer cannot be reached'),
  SLW_ACME_LIMITED: row(-1, 0, 'operator', true, 'the certificate issuer asks to wait'),
  SLW_ACME_REFUSED: row(-1, 0, 'operator', true, 'the certificate issuer gave no certificate'),
  SLW_CERTIFICATE_STORE: row(-1, 0, 'operator', true, 'the certificate folder cannot be used'),
  SLW_TUNNEL_NO_HTTPS: row(-1, 0, 'operator', false, 'this exit node has no --https-addr'),
  SLW_TUNNEL_NOT_ALLOWED: row(-1, 0, 'operator', false, 'the token may not serve this tunnel'),
  SLW_TUNNEL_TAKEN: row(
    -1,
    0,
    'operator',
    true,
    'a client of another token serves this tunnel with another upstream',
  ),
  SLW_TUNNEL_KIND: row(-1, 0, 'peer', false, 'a side is too old for this kind of tunnel'),
  SLW_HTTP_LOGIN: row(-1, 401, 'visitor', false, 'the visitor must log in'),
  SLW_HTTP_LOGIN_BEARER: row(-1, 401, 'visitor', false, 'the visitor must show a token'),
  SLW_HTTP_LOGIN_LIMIT: row(-1, 429, 'visitor', true, 'too many logins of one address have failed'),
  SLW_HTTP_LOGIN_BROWSER: row(-1, 401, 'visitor', false, 'the visitor must log in with a browser'),
  SLW_HTTP_LOGIN_FORBIDDEN: row(-1, 403, 'visitor', false, 'this login may not visit the tunnel'),
  SLW_HTTP_LOGIN_REFUSED: row(-1, 403, 'visitor', false, 'the login provider did not let log in'),
  SLW_HTTP_LOGIN_LOST: row(-1, 400, 'visitor', true, 'a login that is unknown, over or used'),
  SLW_HTTP_LOGIN_UNAVAILABLE: row(-1, 503, 'operator', true, 'nobody can log in at the moment'),
  SLW_HTTP_DENIED: row(-1, 403, 'visitor', false, 'a list of addresses keeps the visitor out'),
  SLW_STREAM_TOKEN_SPENT: row(
    45,
    429,
    'operator',
    false,
    "the token's bytes of this month are used up",
  ),
  SLW_FORWARD_NOT_ALLOWED: row(46, 0, 'operator', false, 'no rule of --client-forwarding fits'),
  SLW_FORWARD_TOKEN: row(47, 0, 'operator', false, 'the token has no forward to this target'),
  SLW_FORWARD_ADDRESS: row(
    48,
    0,
    'operator',
    false,
    'the target has a reserved address, which no rule names',
  ),
  SLW_KUBE_REFUSED: row(-1, 0, 'operator', true, 'the Kubernetes API refused a request'),
  SLW_KUBE_UNREACHABLE: row(-1, 0, 'peer', true, 'the Kubernetes API cannot be reached'),
  SLW_INTERRUPTED: row(-1, 0, 'operator', true, 'interrupted by a signal'),
  SLW_CLOUD_REFUSED: row(-1, 0, 'operator', false, 'the cloud provider refused'),
  SLW_CLOUD_UNREACHABLE: row(-1, 0, 'peer', true, 'the cloud provider cannot be reached'),
  SLW_STREAM_TOKEN_LIMIT: row(-1, 429, 'operator', true, 'too many open streams of this token'),
  SLW_HTTP_TOKEN_LIMIT: row(-1, 429, 'operator', true, 'too many requests a second for this token'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

const BY_WIRE: ReadonlyMap<number, ErrorCode> = new Map(
  (Object.keys(ERRORS) as ErrorCode[])
    .filter((code) => ERRORS[code].wire >= 0)
    .map((code) => [ERRORS[code].wire, code]),
);

/**
 * The code for a number from the wire. An unknown one reads as a plain reset, as newer peers may
 * send more.
 */
export function codeOfWire(wire: number): ErrorCode {
  return BY_WIRE.get(wire) ?? 'SLW_STREAM_RESET';
}

/** Of a code that a newer server gives: whether trying again may help, nobody here can say. */
const UNKNOWN = row(-1, 0, 'peer', false, 'an error that this version does not know');

function rowOf(code: string): ErrorRow {
  return Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode] : UNKNOWN;
}

/** Base of every error that sluiceway raises on purpose. Match on `code`, never on the message. */
export class SluicewayError extends Error {
  /** One that a newer server gave for a tunnel may be none of these. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail?: string, options?: ErrorOptions) {
    super(detail === undefined ? rowOf(code).text : detail, options);
    this.name = 'SluicewayError';
    this.code = code;
  }

  get wire(): number {
    return rowOf(this.code).wire;
  }

  get status(): number {
    return rowOf(this.code).status;
  }

  get source(): ErrorSource {
    return rowOf(this.code).source;
  }

  get retryable(): boolean {
    return rowOf(this.code).retryable;
  }
}

/** What `wire`, `mux` and `link` raise for a peer's mistake: its link is closed with `code`. */
export class WireError extends SluicewayError {
  override name = 'WireError';
}

/** An option, key or file that cannot be used; names the option and what to do. Exit code 2. */
export class ConfigError extends SluicewayError {
  override name = 'ConfigError';
  /** One line a problem, each naming its option. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super('SLW_CONFIG_INVALID', problems.join('\n'), options);
    this.problems = problems;
  }
}
