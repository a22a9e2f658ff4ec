// The tunnels that are ports: `--tcp PORT=HOST:PORT` and `--udp PORT=HOST:PORT`.
//
// Invariant: a public port is 1 to 65,535, and without an upstream the same one on localhost; what
// means nothing for a kind of tunnel is refused, never left out. Must not know: who dials, or what
// the exit node allows.

import type { Transport } from '../base/port-name.ts';
import { bracketed, PORT_MAX, readPort, readTarget } from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';
import {
  FOLDER,
  readUnixUpstream,
  showRawOptions,
  type TunnelSpec,
  type Upstream,
} from './tunnel.ts';
import {
  declaringAll,
  readRawOptions,
  shownWithoutKeys,
  splitUnquoted,
} from './upstream-options.ts';

const EXAMPLE = { tcp: '2222=127.0.0.1:22', udp: '5353=127.0.0.1:53' } as const;

/** `2222=127.0.0.1:22`; `2222` alone is the same port on localhost. */
export const tcpTunnel = portTunnel('tcp', 'TCP upstream');

/** `5353=127.0.0.1:53`; likewise. */
export const udpTunnel = portTunnel('udp', 'UDP upstream');

function portTunnel(transport: Transport, name: string): Kind<TunnelSpec> {
  const kind = kindOf(
    name,
    'PORT=HOST:PORT',
    (text) => readPortTunnel(transport, text),
    (spec) => `${spec.label.slice(transport.length + 1)}${showRawOptions(spec)}`,
  );
  return { ...kind, shown: shownWithoutKeys };
}

function readPortTunnel(transport: Transport, whole: string): TunnelSpec | InvalidText {
  const example = EXAMPLE[transport];
  const right = `write PORT=HOST:PORT, such as ${example}, or PORT for the same one here`;
  const [head = '', ...rest] = splitUnquoted(whole, ';');
  const options = readRawOptions(rest);
  if (options instanceof InvalidText) return options;
  if (transport === 'udp' && options.health !== undefined) {
    return new InvalidText('has a health check, and no answer of UDP says that nobody is there');
  }
  const text = head.trim();
  const equals = text.indexOf('=');
  const port = readPort(equals < 0 ? text : text.slice(0, equals));
  if (port === undefined || port === 0) {
    return new InvalidText(`has no public port of 1 to ${PORT_MAX}; ${right}`);
  }
  const upstream =
    equals < 0
      ? { host: 'localhost', port, tls: false }
      : readUpstream(transport, text.slice(equals + 1), right);
  if (upstream instanceof InvalidText) return upstream;
  const name = `${transport}:${port}`;
  const label = `${name}=${showUpstream(upstream)}`;
  return { name, kind: transport, upstream, label, ...declaringAll(options) };
}

function readUpstream(transport: Transport, text: string, right: string): Upstream | InvalidText {
  const socket = transport === 'tcp' ? readUnixUpstream(text) : undefined;
  if (socket !== undefined) return socket;
  if (text.startsWith(FOLDER)) {
    return new InvalidText('has a folder, which is served over HTTP; give it to --upstream');
  }
  const target = readTarget(text, undefined);
  if (target !== undefined) return { ...target, tls: false };
  return new InvalidText(`has no valid upstream host and port; ${right}`);
}

function showUpstream({ path, host, port }: Upstream): string {
  return path === undefined ? `${bracketed(host)}:${port}` : `unix:${path}`;
}
