// What TLS says before it hangs up: one record with a fatal alert, the same in every version.
//
//   21 | 3.1 | 0 2 | 2 (fatal) | description
//
// Invariant: seven bytes that say nothing of the visitor. Must not know: why, or to whom.

/** RFC 8446 6. */
export const TLS_ALERT = {
  UNEXPECTED_MESSAGE: 10,
  RECORD_OVERFLOW: 22,
  ILLEGAL_PARAMETER: 47,
  DECODE_ERROR: 50,
  PROTOCOL_VERSION: 70,
  MISSING_EXTENSION: 109,
  UNRECOGNIZED_NAME: 112,
} as const;

export type TlsAlert = (typeof TLS_ALERT)[keyof typeof TLS_ALERT];

const ALERT_RECORD = 21;
const FATAL = 2;

export function encodeTlsAlert(alert: TlsAlert): Buffer {
  // TLS 1.0 on the record, as before a version is agreed on (RFC 8446 5.1).
  return Buffer.from([ALERT_RECORD, 3, 1, 0, 2, FATAL, alert]);
}
