// Why visitors of the HTTPS port were turned away before a handshake, by name, and how often each.
//
// Invariant: the reasons are this closed set, so that a metric may carry them; nothing of a
// visitor is kept. Must not know: how a reason is found.

const REASONS = ['not-tls', 'malformed', 'no-name', 'unknown-name', 'no-hello'] as const;

export type TlsRefusal = (typeof REASONS)[number];

export class TlsRefusals {
  readonly #counts = new Map<TlsRefusal, number>(REASONS.map((reason) => [reason, 0]));

  add(reason: TlsRefusal): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
  }

  sample(): (readonly [string, number])[] {
    return [...this.#counts];
  }
}
