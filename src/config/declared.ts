// What a client declares for its tunnels: by its own options for all, and by each for itself.
//
// Invariant: what a tunnel says itself wins, and raw bytes have only the options that are for them.
// Must not know: where an option came from, or what a server makes of it.

import { showNetwork } from '../base/network.ts';
import {
  isTunnelOption,
  TUNNEL_OPTION_NAMES,
  TUNNEL_OPTIONS,
  type TunnelOptions,
} from '../base/tunnel-options.ts';
import type { Values } from './schema.ts';
import type { TunnelSpec } from './tunnel.ts';

/** What the client's own options declare for each upstream that does not say otherwise. */
export function declaredDefaults(values: Partial<Values<'client'>>): TunnelOptions {
  const given = TUNNEL_OPTION_NAMES.map((name) => {
    const texts = [values[name] ?? []].flat();
    return [name, texts.map((one) => (typeof one === 'string' ? one : showNetwork(one)))] as const;
  });
  return Object.fromEntries(given.filter(([, texts]) => texts.length > 0));
}

/** All that is declared for a tunnel: by itself, and by `defaults`, of which raw bytes have one. */
export function declaredOf({ kind, options }: TunnelSpec, defaults: TunnelOptions): TunnelOptions {
  const forRaw = Object.fromEntries(
    Object.entries(defaults).filter(
      ([name]) => isTunnelOption(name) && TUNNEL_OPTIONS[name].isForRaw,
    ),
  );
  return { ...(kind === 'http' ? defaults : forRaw), ...options };
}
