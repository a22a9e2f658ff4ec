// The admin address: opens it, with the dashboard and the endpoints behind it.
//
// Invariant: a socket of a predecessor is used before one is opened; with a predecessor it opens
// last, and that it can is known first. Must not know: how requests are answered.

import { systemClock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { InspectSettings } from '../base/inspection.ts';
import type { Logger } from '../base/log.ts';
import type { ServerConfig } from '../config/config.ts';
import type { AccessControl } from './access.ts';
import { type AdminPort, openAdminPort } from './admin-port.ts';
import type { Answers } from './answers.ts';
import { Dashboard } from './dashboard.ts';
import type { Inheritance } from './inheritance.ts';
import { RequestInspector } from './inspector.ts';
import { claimPort } from './ports.ts';
import type { Readings } from './readings.ts';

export interface AdminOptions {
  readonly address: ServerConfig['adminAddr'];
  readonly inheritance: Inheritance | undefined;
  readonly access: AccessControl;
  readonly readings: Readings;
  readonly answers: Answers;
  readonly bridges: ConstructorParameters<typeof RequestInspector>[0]['bridges'];
  readonly inspect: () => InspectSettings;
  readonly log: Logger;
}

/** Rejects with a SluicewayError when an address that no predecessor had cannot be opened. */
export async function claimAdmin(
  address: ServerConfig['adminAddr'],
  inheritance: Inheritance,
): Promise<void> {
  if (address === 'off' || inheritance.has({ name: 'admin', ...address })) return;
  try {
    await claimPort(address.host, address.port);
  } catch (cause) {
    const detail = `--admin-addr: ${(cause as Error).message}`;
    throw new SluicewayError('SLW_LISTEN_FAILED', detail, { cause });
  }
}

/** Undefined where there is none. */
export async function openAdmin(options: AdminOptions): Promise<AdminPort | undefined> {
  const { address, inheritance, access, readings, answers, bridges, inspect, log } = options;
  if (address === 'off') return undefined;
  const dashboard = new Dashboard({
    judge: (attempt) => access.judge(attempt),
    mayLook: (holder) => access.mayLook(holder),
    look: () => readings.look(),
    inspector: new RequestInspector({ bridges, settings: inspect }),
    clock: systemClock,
    log,
  });
  const inherited = inheritance?.takeOne({ name: 'admin', ...address });
  const admin = await openAdminPort({ ...address, answers, dashboard, log, inherited });
  log.info({ name: 'admin', address: `${address.host}:${admin.port}` }, 'listening');
  return admin;
}
