// What a token may use: the limits of the tokens file that hold for its visitors' traffic.
//
// Invariant: a limit that is absent is none; each is a whole number from 1 on. The names are this
// closed set, so that a metric may carry them. Must not know: tokens, files, how a limit is held.

export interface TokenLimits {
  /** Open at once. */
  readonly streamsMax?: number;
  readonly requestsPerSecondMax?: number;
  /** From visitors. */
  readonly bytesInPerSecondMax?: number;
  /** To visitors. */
  readonly bytesOutPerSecondMax?: number;
  /** Both ways together, in a calendar month of UTC. */
  readonly bytesMonthMax?: number;
}

/** By field: the key in the tokens file, and what it counts in. */
export const TOKEN_LIMITS = {
  streamsMax: { key: 'streams-max', unit: 'count' },
  requestsPerSecondMax: { key: 'requests-per-second-max', unit: 'count' },
  bytesInPerSecondMax: { key: 'bytes-in-per-second-max', unit: 'bytes' },
  bytesOutPerSecondMax: { key: 'bytes-out-per-second-max', unit: 'bytes' },
  bytesMonthMax: { key: 'bytes-month-max', unit: 'bytes' },
} as const satisfies Record<keyof TokenLimits, { key: string; unit: 'count' | 'bytes' }>;

export const TOKEN_LIMIT_FIELDS = Object.keys(TOKEN_LIMITS) as readonly (keyof TokenLimits)[];

/** Undefined when nothing is limited. */
export function tokenLimitsOf(entry: TokenLimits): TokenLimits | undefined {
  const fields = TOKEN_LIMIT_FIELDS.filter((field) => entry[field] !== undefined);
  if (fields.length === 0) return undefined;
  return Object.fromEntries(fields.map((field) => [field, entry[field]]));
}
