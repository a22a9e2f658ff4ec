// How much of its memory the process has in use, as the rooms of this thread see it.
//
// Invariant: a level of PRESSURE, which only whoever hears it from control sets; each level holds
// what the lower ones do. Must not know: how memory is measured, or what the levels do.

/**
 * `HIGH`: windows stop growing. `SEVERE`: answers end their connections. `FULL`: no visitor is let
 * in (design: reliability 4.2).
 */
export const PRESSURE = { NONE: 0, HIGH: 1, SEVERE: 2, FULL: 3 } as const;

export type Pressure = (typeof PRESSURE)[keyof typeof PRESSURE];

export const memoryPressure: { level: Pressure } = { level: PRESSURE.NONE };
