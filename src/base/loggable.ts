// Names from outside, made safe for a log and for the terminal of who reads it.
//
// Invariant: the result is bounded and holds no control character, line break or change of
// direction. Must not know: where the text came from or goes to.

/** Names and addresses from outside are cut here. */
export const LOGGED_NAME_LENGTH_MAX = 256;

/** Cuts and escapes `text`. */
export function loggable(text: string): string {
  const cut =
    text.length > LOGGED_NAME_LENGTH_MAX ? `${text.slice(0, LOGGED_NAME_LENGTH_MAX)}…` : text;
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?');
}
