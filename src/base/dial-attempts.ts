// How long a dial stays with one address of a name that has several, before it takes the next.
//
// Node ends the attempt when it takes the next one, and does not race them as RFC 8305 has it
// (nodejs/node#54359, #48145): its 250 or 500 ms are the end of every way whose round trip is
// longer, and of each SYN that was lost, as that is sent again after a second.
//
// Invariant: an attempt outlasts Node's own, and those of ATTEMPTS_MAX addresses fit into the time
// that the dial has. Families take turns, so both are among them. Must not know: what is dialled.

/** Addresses of a name that are tried. Guess: one or two of each family is what names have. */
const ATTEMPTS_MAX = 4;
/** Node's own, from version 26 on. */
const ATTEMPT_MS_MIN = 500;

/** Options of a socket that has `timeoutMs` to connect. */
export function attemptsWithin(timeoutMs: number) {
  const attemptMs = Math.floor(timeoutMs / ATTEMPTS_MAX);
  return { autoSelectFamilyAttemptTimeout: Math.max(ATTEMPT_MS_MIN, attemptMs) };
}
