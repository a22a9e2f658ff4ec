// What visitors and tunnels may use at most: the numbers, for the whole server or for one shard.
//
// Invariant: 0 is off. Must not know: who sets them, who divides them, or how they are held.

export interface VisitorLimits {
  readonly connectionsPerAddressMax: number;
  readonly addressConnectionsPerSecondMax: number;
  readonly tunnelConnectionsMax: number;
  readonly requestsPerSecondMax: number;
  readonly addressRequestsPerSecondMax: number;
  readonly tunnelRequestsPerSecondMax: number;
  readonly tunnelBytesInPerSecondMax: number;
  readonly tunnelBytesOutPerSecondMax: number;
  readonly requestBodyBytesMax: number;
}
