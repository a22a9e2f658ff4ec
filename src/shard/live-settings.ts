// Takes over new settings in a running shard: times and limits, rates, lists, the log level.
//
// Invariant: control sends only what may change, so that the rest of what it sends is as it was; a
// rate that stays as it was keeps its memory of who has used it up; who is no longer allowed is
// cut, in one walk over the connections. Must not know: where settings come from.

import type { Clock } from '../base/clock.ts';
import { withoutPort } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';
import type { LiveSettings, ShardSettings } from '../bridge/shard-task.ts';
import type { AllowLists } from './allow-lists.ts';
import type { ExitLinks } from './exit-links.ts';
import type { Forwards } from './forwards.ts';
import type { HttpIngress } from './ingress-http.ts';
import type { UdpIngress } from './ingress-udp.ts';
import type { Inspector } from './inspector.ts';
import type { Limit } from './limited.ts';
import type { Listeners } from './listeners.ts';
import { createRequestGate } from './request-gate.ts';
import type { ShardRouter } from './router.ts';
import { createTunnelLimits } from './tunnel-limits.ts';
import type { LedgerLimits } from './visitor-ledger.ts';

export interface LiveParts {
  /** Read by their owners each time they are needed, and so changed in place. */
  readonly settings: ShardSettings;
  readonly limits: VisitorLimits;
  readonly ledgerLimits: LedgerLimits;
  readonly lists: AllowLists;
  readonly listeners: Listeners;
  readonly links: ExitLinks;
  readonly router: ShardRouter;
  readonly http: HttpIngress;
  readonly udp: UdpIngress;
  readonly inspector: Inspector;
  readonly forwards: Forwards;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onLimited: (limit: Limit, times?: number) => void;
}

const GATE_RATES = [
  'requestsPerSecondMax',
  'addressRequestsPerSecondMax',
  'tunnelRequestsPerSecondMax',
] as const;
const TUNNEL_RATES = [
  'tunnelConnectionsMax',
  'tunnelBytesInPerSecondMax',
  'tunnelBytesOutPerSecondMax',
] as const;

export function applySettings(parts: LiveParts, live: LiveSettings): void {
  const { settings, limits, inspect } = live;
  const { log, clock, onLimited, http, router, inspector } = parts;
  const before = { ...parts.limits };
  const differs = (name: keyof VisitorLimits): boolean => before[name] !== limits[name];
  Object.assign(parts.settings, settings);
  Object.assign(parts.limits, limits);
  const { visitorConnectionsMax } = settings;
  const { connectionsPerAddressMax, addressConnectionsPerSecondMax } = limits;
  const ofAddress = { connectionsPerAddressMax, addressConnectionsPerSecondMax };
  Object.assign(parts.ledgerLimits, { visitorConnectionsMax, ...ofAddress });
  log.level = settings.logLevel;
  http.setBodyLimit(limits.requestBodyBytesMax);
  if (GATE_RATES.some(differs)) http.setGate(createRequestGate(limits, onLimited));
  if (TUNNEL_RATES.some(differs)) router.setLimits(createTunnelLimits(limits, clock, onLimited));
  inspector.apply(inspect);
  http.setInspector(inspector.isOn ? inspector : undefined);
  parts.lists.replace(settings);
  parts.forwards.replace(settings.clientForwarding ?? []);
  cutDenied(parts);
}

function cutDenied({ lists, listeners, links, udp, log }: LiveParts): void {
  const cut = listeners.cutDenied((socket) => {
    const isDenied = lists.isDenied(socket);
    if (isDenied) lists.deny('visitors');
    return isDenied;
  });
  for (const { remoteAddress, session } of links.list()) {
    if (lists.allowsClient(withoutPort(remoteAddress))) continue;
    lists.deny('clients');
    session.close('SLW_LINK_ENDED');
  }
  log.debug({ visitors: cut + udp.cutDenied() }, 'settings taken over');
}
