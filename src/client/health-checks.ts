// Which upstreams are well, by looking at each again and again.
//
//   unknown --good--> well --`fall` bad ones in a row--> ill --`rise` good ones in a row--> well
//          \--bad--> ill
//
// Invariant: one look at an upstream at a time, and the next an interval after it has ended; an
// upstream that is looked at is offered only while it is well; each change is told once. Must not
// know: links, or how an upstream is looked at.

import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { loggable } from '../base/loggable.ts';
import type { UpstreamEntry } from '../bridge/client-messages.ts';
import type { HealthConfig } from '../config/config.ts';
import type { Check, Probe } from './probe.ts';

export type Health = 'unknown' | 'well' | 'ill';

export interface Checked {
  readonly entry: UpstreamEntry;
  readonly check: Check;
}

export interface HealthChecksOptions {
  readonly checked: readonly Checked[];
  readonly config: HealthConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly probe: Probe;
  readonly random: () => number;
  /** Others than before are withheld. */
  readonly onChange: () => void;
}

interface Patient extends Checked {
  health: Health;
  /** Looks in a row that speak against `health`. */
  against: number;
  timer: Timer | undefined;
}

export class HealthChecks {
  readonly #options: HealthChecksOptions;
  readonly #patients: ReadonlyMap<string, Patient>;
  #state: 'running' | 'stopped' = 'running';

  constructor(options: HealthChecksOptions) {
    this.#options = options;
    this.#patients = new Map(
      options.checked.map((checked) => [
        checked.entry.name,
        { ...checked, health: 'unknown', against: 0, timer: undefined },
      ]),
    );
  }

  /** Tunnels that are not to be offered. */
  get withheld(): string[] {
    return [...this.#patients].flatMap(([name, { health }]) => (health === 'well' ? [] : [name]));
  }

  /** Undefined for a tunnel that is not looked at. */
  healthOf(name: string): Health | undefined {
    return this.#patients.get(name)?.health;
  }

  start(): void {
    for (const patient of this.#patients.values()) void this.#look(patient);
  }

  stop(): void {
    this.#state = 'stopped';
    for (const { timer } of this.#patients.values()) timer?.cancel();
  }

  async #look(patient: Patient): Promise<void> {
    const { config, clock, probe, random } = this.#options;
    const { entry, check } = patient;
    const reason = await probe(entry, check, config.timeoutMs);
    if (this.#state === 'stopped') return;
    this.#judge(patient, reason);
    // Not all at the same moment, with many upstreams on one machine.
    const delayMs = config.intervalMs * (0.9 + 0.2 * random());
    patient.timer = clock.after(delayMs, () => void this.#look(patient));
  }

  #judge(patient: Patient, reason: string | undefined): void {
    const { config, log, onChange } = this.#options;
    const next = nextHealth(patient, reason === undefined, config);
    const isChange = next.health !== patient.health;
    Object.assign(patient, next);
    if (!isChange) return;
    const tunnel = patient.entry.name;
    if (next.health === 'well') log.info({ tunnel }, 'upstream is well');
    else log.warn({ tunnel, reason: loggable(reason ?? '') }, 'upstream is not well, withdrawn');
    onChange();
  }
}

/** What one look makes of an upstream. */
export function nextHealth(
  { health, against }: Pick<Patient, 'health' | 'against'>,
  isGood: boolean,
  { rise, fall }: Pick<HealthConfig, 'rise' | 'fall'>,
): { readonly health: Health; readonly against: number } {
  if (health === 'unknown') return { health: isGood ? 'well' : 'ill', against: 0 };
  if (isGood === (health === 'well')) return { health, against: 0 };
  const isOver = against + 1 >= (health === 'well' ? fall : rise);
  if (!isOver) return { health, against: against + 1 };
  return { health: health === 'well' ? 'ill' : 'well', against: 0 };
}
