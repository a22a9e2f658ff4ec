// What a client offers to serve, as far as it can be judged by itself: its name, and its options.
//
// Invariant: pure; what comes out can be served by an exit node of this configuration, by whoever
// may. Must not know: links, who else serves the name, or whether a port is open.

import { SluicewayError } from '../base/errors.ts';
import type { PortName } from '../base/port-name.ts';
import { readOffered, type TunnelOptions } from '../base/tunnel-options.ts';
import { providerOf } from '../base/visitor-login.ts';
import type { TunnelRequest } from '../bridge/exit-messages.ts';
import { checkTunnelName, isHttpTunnel, isPassthrough } from './tunnel-name.ts';

/** What this exit node has. */
export interface OfferRules {
  readonly isPortAllowed: (port: PortName) => boolean;
  /** Is there a port on which TLS can be passed through? */
  readonly hasHttps: boolean;
  /** Can visitors log in at this provider? Absent: at none. */
  readonly hasLoginProvider?: (name: string) => boolean;
}

export interface ReadOffer {
  /** The port that it names, undefined for a host. */
  readonly port: PortName | undefined;
  readonly options: TunnelOptions | undefined;
}

/** Raises a SluicewayError; `checkPort` is for later, once it is known that its client may ask. */
export function readOffer(offer: TunnelRequest, rules: OfferRules): ReadOffer {
  const { name } = offer;
  const port = checkTunnelName(name);
  const options = readOffered(offer.options ?? [], isHttpTunnel(name));
  checkProviders(options, rules);
  if (isPassthrough(name) && !rules.hasHttps) throw new SluicewayError('SLW_TUNNEL_NO_HTTPS');
  return { port, options };
}

export function checkPort(port: PortName, { isPortAllowed }: OfferRules): void {
  if (isPortAllowed(port)) return;
  const detail = `port is outside --${port.transport}-ports: ${port.port}`;
  throw new SluicewayError('SLW_TUNNEL_PORT_NOT_ALLOWED', detail);
}

/** A login that nobody could pass is refused now, and not to each visitor. */
function checkProviders(options: TunnelOptions | undefined, rules: OfferRules): void {
  const names = new Set(options?.['visitor-login']?.flatMap((text) => providerOf(text) ?? []));
  for (const name of names) {
    if (rules.hasLoginProvider?.(name) === true) continue;
    const wrong = `login names the provider ${name}, which this exit node does not have`;
    throw new SluicewayError('SLW_TUNNEL_OPTION', wrong);
  }
}
