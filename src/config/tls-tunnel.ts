// The tunnels of `--tls-passthrough NAME=HOST:PORT`: TLS that only the upstream decrypts.
//
// Invariant: a name is one that a visitor can send as a server name: a host or `*.` before one,
// never an address, a path or the catch-all. Must not know: certificates, or who dials.

import { isIP } from 'node:net';
import { bracketed, readTarget } from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';
import { readHostPattern, showRawOptions, type TunnelSpec } from './tunnel.ts';
import {
  declaringAll,
  readRawOptions,
  shownWithoutKeys,
  splitUnquoted,
} from './upstream-options.ts';

const PREFIX = 'tls:';
const RIGHT = 'write NAME=HOST:PORT, such as example.com=127.0.0.1:443';

/** `example.com=127.0.0.1:443`. */
export const tlsTunnel: Kind<TunnelSpec> = {
  ...kindOf(
    'TLS upstream',
    'NAME=HOST:PORT',
    readTlsTunnel,
    (spec) => `${spec.label.slice(PREFIX.length)}${showRawOptions(spec)}`,
  ),
  shown: shownWithoutKeys,
};

function readTlsTunnel(whole: string): TunnelSpec | InvalidText {
  const [head = '', ...rest] = splitUnquoted(whole, ';');
  const options = readRawOptions(rest);
  if (options instanceof InvalidText) return options;
  const text = head.trim();
  const equals = text.indexOf('=');
  if (equals === -1) return new InvalidText(`has no "="; ${RIGHT}`);
  const pattern = readHostPattern(text.slice(0, equals));
  if (pattern instanceof InvalidText) return pattern;
  if (pattern === '*' || isIP(pattern) !== 0) {
    return new InvalidText(
      'has no server name before the "="; TLS names hosts alone: example.com or *.example.com',
    );
  }
  const address = text.slice(equals + 1);
  if (/^[a-z]+:\/\//i.test(address)) {
    return new InvalidText(`has a URL behind the "="; ${RIGHT}, without a scheme`);
  }
  if (address.startsWith('fileserver:')) {
    return new InvalidText('has a folder, which is served over HTTP; give it to --upstream');
  }
  const target = readTarget(address, undefined);
  if (target === undefined) {
    return new InvalidText(`has no valid upstream host and port; ${RIGHT}`);
  }
  const name = `${PREFIX}${pattern}`;
  const label = `${name}=${bracketed(target.host)}:${target.port}`;
  const upstream = { ...target, tls: false };
  return { name, kind: 'tls', upstream, label, ...declaringAll(options) };
}
