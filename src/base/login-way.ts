// The way of a visitor who logs in at a provider, as control and shards have to agree on it.
//
// Invariant: a way back that a provider knows stays as it is, or every provider has to be told.
// Must not know: who walks it.

/** Kept for the exit node on every host of its tunnels, once it has login providers. */
export const LOGIN_PREFIX = '/.well-known/sluiceway/';
export const CALLBACK_PATH = `${LOGIN_PREFIX}callback`;
export const LOGOUT_PATH = `${LOGIN_PREFIX}logout`;

/** Time to log in. Guess: with a second factor on another device, and a password forgotten. */
export const LOGIN_SECONDS_MAX = 600;
