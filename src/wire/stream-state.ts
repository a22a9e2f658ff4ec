// The life of a stream as one field and one transition table.
//
//   opener:    OPENING --OPENED--> OPEN          acceptor:  ACCEPTING --OPENED--> OPEN
//   OPEN --we send FIN--> SENT_FIN --we get FIN--> ENDED
//   OPEN --we get FIN--> GOT_FIN --we send FIN--> ENDED          any --RST, link lost--> ENDED
//
// Invariant: every pair of state and event is in the table; a pair that must not happen is
// REFUSED, which is the peer's mistake when the event came from it and ours otherwise. Must not
// know: frames, credit, or who asks.

export const STREAM = {
  /** We sent OPEN. */
  OPENING: 0,
  /** We sent OPEN and FIN. */
  OPENING_SENT_FIN: 1,
  /** We got OPEN and have not answered. */
  ACCEPTING: 2,
  /** We got OPEN and FIN and have not answered. */
  ACCEPTING_GOT_FIN: 3,
  OPEN: 4,
  SENT_FIN: 5,
  GOT_FIN: 6,
  ENDED: 7,
} as const;

export type StreamState = (typeof STREAM)[keyof typeof STREAM];

export const EVENT = { SEND_OPENED: 0, GET_OPENED: 1, SEND_FIN: 2, GET_FIN: 3, RESET: 4 } as const;

export type StreamEvent = (typeof EVENT)[keyof typeof EVENT];

/** The transition that must not happen. */
export const REFUSED = -1;

const { OPENING, OPENING_SENT_FIN, ACCEPTING, ACCEPTING_GOT_FIN } = STREAM;
const { OPEN, SENT_FIN, GOT_FIN, ENDED } = STREAM;
const NO = REFUSED;

// Columns: SEND_OPENED, GET_OPENED, SEND_FIN, GET_FIN, RESET.
const NEXT: readonly (readonly (StreamState | typeof REFUSED)[])[] = [
  /* OPENING           */ [NO, OPEN, OPENING_SENT_FIN, NO, ENDED],
  /* OPENING_SENT_FIN  */ [NO, SENT_FIN, NO, NO, ENDED],
  /* ACCEPTING         */ [OPEN, NO, NO, ACCEPTING_GOT_FIN, ENDED],
  /* ACCEPTING_GOT_FIN */ [GOT_FIN, NO, NO, NO, ENDED],
  /* OPEN              */ [NO, NO, SENT_FIN, GOT_FIN, ENDED],
  /* SENT_FIN          */ [NO, NO, NO, ENDED, ENDED],
  /* GOT_FIN           */ [NO, NO, ENDED, NO, ENDED],
  /* ENDED             */ [NO, NO, NO, NO, ENDED],
];

/** The state after `event`, or REFUSED. */
export function transition(state: StreamState, event: StreamEvent): StreamState | typeof REFUSED {
  return NEXT[state]?.[event] ?? REFUSED;
}

/** May we send DATA? An acceptor answers first, so that an opener never gets data unanswered. */
export function canSend(state: StreamState): boolean {
  return state === OPENING || state === OPEN || state === GOT_FIN;
}

/** Has our direction ended, or the whole stream? */
export function hasSentFin(state: StreamState): boolean {
  return state === OPENING_SENT_FIN || state === SENT_FIN || state === ENDED;
}

/** May the peer send DATA? */
export function canReceive(state: StreamState): boolean {
  return state === ACCEPTING || state === OPEN || state === SENT_FIN;
}
