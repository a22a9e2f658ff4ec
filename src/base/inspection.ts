// Which requests are kept to be looked at, and how much of each.
//
// Invariant: plain data; no tunnels is off. Must not know: who keeps them, or who looks.

export interface InspectSettings {
  /** Names as clients register them; `*` is every tunnel. */
  readonly tunnels: readonly string[];
  /** Of each tunnel. */
  readonly requestsMax: number;
  /** Of each body, request's and response's; 0 keeps none. */
  readonly bodyBytesMax: number;
}
