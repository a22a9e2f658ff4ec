// What the operator was started with, as far as plans depend on it.
//
// Invariant: one value for the life of the process. Must not know: where it came from.

export interface OperatorSettings {
  /** Where clients and secrets are, and nothing of anybody else. */
  readonly namespace: string;
  readonly loadBalancerClass: string;
  /** Services of the class; those and annotated ones; or all that are of no other class. */
  readonly services: 'class' | 'annotated' | 'all';
  /** The ExitNode of those who name none. */
  readonly exitNode?: string;
  readonly clientImage: string;
  /** Names, in `namespace`. */
  readonly clientImagePullSecrets: readonly string[];
}

/** Marks everything that the operator made. */
export const MANAGED_BY = 'sluiceway-operator';
export const MANAGED_LABELS = { 'app.kubernetes.io/managed-by': MANAGED_BY } as const;
