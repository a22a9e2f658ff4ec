// The tunnels a client asks for, and those of `--upstream NAME=URL`.
//
// Invariant: a name is lower-case ASCII of [a-z0-9._-], `*`, or `*.` before such a name, exactly
// as the exit node will compare it with a visitor's Host; an upstream has a host and a port and
// nothing else, because paths and queries are the visitor's. Must not know: who dials.

import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { readPathPrefix } from '../base/path-prefix.ts';
import { bracketed, HOST_LENGTH_MAX, readHostName, readTarget } from '../base/target.ts';
import type { TunnelOptions } from '../base/tunnel-options.ts';
import type { HealthCheck } from './health-check.ts';
import { InvalidText, type Kind, kindOf, type MapPairs } from './option.ts';
import {
  declaringAll,
  type FileKey,
  quoteValue,
  readUpstreamOptions,
  shownWithoutKeys,
  showUpstreamOptions,
  splitUnquoted,
  type UpstreamFiles,
  type UpstreamTls,
  withFileAt,
} from './upstream-options.ts';
import type { LoginSpec } from './visitor-login.ts';

export interface Upstream {
  /** Of a Unix socket; then host and port mean nothing. */
  readonly path?: string;
  /** To be served by the client itself; then host and port mean nothing either. */
  readonly folder?: string;
  readonly files?: UpstreamFiles;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** How its certificate is verified, where that is not as usual. */
  readonly verify?: UpstreamTls;
}

export interface TunnelSpec {
  /** `example.com`, `*.example.com`, `*`, one of them with a path; `tcp:2222`, `udp:5353`,
   * `tls:a.example`. */
  readonly name: string;
  readonly kind: 'http' | 'tcp' | 'udp' | 'tls';
  readonly upstream: Upstream;
  /** Name and upstream as status and logs show them: `example.com=http://127.0.0.1:3000`. */
  readonly label: string;
  /** What the exit node shall do for it; absent for nothing. */
  readonly options?: TunnelOptions;
  /** Absent: as the client's own option says. */
  readonly health?: HealthCheck;
  /** What visitors must show; absent: as the client's own options say. */
  readonly logins?: LoginSpec;
}

const UNIX = 'unix:';
export const FOLDER = 'fileserver:';
/** Of a folder's path. Guess: what Linux takes at once. */
const FOLDER_LENGTH_MAX = 4095;
/** What Linux has room for (`sun_path`, with its end). */
const SOCKET_PATH_BYTES_MAX = 107;
const HTTP_PORT = 80;
const HTTPS_PORT = 443;
const UPSTREAM_RIGHT = 'write NAME=http://HOST:PORT, such as example.com=http://127.0.0.1:3000';

/** `example.com=http://127.0.0.1:3000`; without a name it is the catch-all `*`. */
export const httpTunnel: Kind<TunnelSpec> = {
  ...kindOf('upstream', 'NAME=URL', readHttpTunnel, showHttpTunnel),
  textOfMap,
  shown: shownWithoutKeys,
};

function readHttpTunnel(text: string): TunnelSpec | InvalidText {
  const [head = '', ...rest] = splitUnquoted(text, ';');
  const spec = readNameAndUpstream(head.trim());
  if (spec instanceof InvalidText) return spec;
  const extras = readUpstreamOptions(rest);
  if (extras instanceof InvalidText) return extras;
  const { tls, files } = extras;
  const isVerifiedAsUsual = Object.keys(tls).length === 0;
  if (!isVerifiedAsUsual && !spec.upstream.tls) {
    return new InvalidText('has a key of TLS and an upstream without; write https://');
  }
  if (files !== undefined && spec.upstream.folder === undefined) {
    return new InvalidText('has listing or hidden, which are for fileserver:/PATH alone');
  }
  const more = {
    ...(isVerifiedAsUsual ? {} : { verify: tls }),
    ...(files === undefined ? {} : { files }),
  };
  return { ...spec, upstream: { ...spec.upstream, ...more }, ...declaringAll(extras) };
}

/** The same text, which was read before, with each file and folder of it where `place` has it. */
export function withFilesAt(
  text: string,
  place: (role: FileKey | 'folder', path: string) => string,
): string {
  const [head = '', ...pieces] = splitUnquoted(text, ';');
  const spec = readNameAndUpstream(head.trim());
  const { folder } = spec instanceof InvalidText ? {} : spec.upstream;
  const placed =
    folder === undefined
      ? head
      : `${head.trim().slice(0, -folder.length)}${place('folder', folder)}`;
  return [placed, ...pieces.map((piece) => withFileAt(piece, place))].join(';');
}

function healthOf({ health }: Pick<TunnelSpec, 'health'>): { readonly health?: HealthCheck } {
  return health === undefined ? {} : { health };
}

/** What stands behind an upstream whose bytes are not read. */
export function showRawOptions({ options = {}, ...spec }: TunnelSpec): string {
  return showUpstreamOptions({ declared: options, tls: {}, ...healthOf(spec) });
}

function showHttpTunnel({ label, options = {}, upstream, ...spec }: TunnelSpec): string {
  const { logins } = spec;
  const shown = {
    ...{ declared: options, tls: upstream.verify ?? {} },
    ...(upstream.files === undefined ? {} : { files: upstream.files }),
    ...healthOf(spec),
    ...(logins === undefined ? {} : { logins }),
  };
  return `${label}${showUpstreamOptions(shown)}`;
}

/** `{ name, url, KEY: VALUE, … }` of the file, as the text that says the same. */
function textOfMap(pairs: MapPairs): string | InvalidText {
  if (!pairs.some(([key]) => key === 'url')) {
    return new InvalidText(
      'is a map without a url; write name, url and further keys, or put a text with ": " in quotes',
    );
  }
  const one = (wanted: string): string | undefined =>
    pairs.find(([key]) => key === wanted)?.[1].join();
  const name = one('name');
  // What a template left empty was not meant for every host.
  if (name === '') return new InvalidText('has an empty name; give one, or leave it out for all');
  // A text would take one that begins as an upstream for the upstream, and so for every host.
  const named = name === undefined ? undefined : readTunnelName(name);
  if (named instanceof InvalidText) return named;
  const head = name === undefined ? one('url') : `${name}=${one('url')}`;
  const rest = pairs
    .filter(([key]) => key !== 'name' && key !== 'url')
    .flatMap(([key, values]) => values.map((value) => `;${key}=${quoteValue(value)}`));
  return `${head}${rest.join('')}`;
}

function readNameAndUpstream(text: string): TunnelSpec | InvalidText {
  const equals = text.indexOf('=');
  const isBare = equals < 0 || /^(?:https?:\/\/|unix:|fileserver:)/i.test(text);
  const name = isBare ? '*' : readTunnelName(text.slice(0, equals));
  if (name instanceof InvalidText) return name;
  const upstream = readHttpUpstream(isBare ? text : text.slice(equals + 1));
  if (upstream instanceof InvalidText) return upstream;
  return { name, kind: 'http', upstream, label: `${name}=${showHttpUpstream(upstream)}` };
}

/** A host pattern, with or without a path. */
export function readTunnelName(text: string): string | InvalidText {
  const slash = text.indexOf('/');
  const pattern = readHostPattern(slash === -1 ? text : text.slice(0, slash));
  if (pattern instanceof InvalidText || slash === -1) return pattern;
  const prefix = readPathPrefix(text.slice(slash));
  if (typeof prefix === 'string') return `${pattern}${prefix}`;
  return new InvalidText(`has a path before the "=" that ${prefix.reason}`);
}

export function readHostPattern(text: string): string | InvalidText {
  if (text === '*') return text;
  if (text.includes(':')) {
    return new InvalidText('has a ":" before the "="; write a host name without a port');
  }
  const isWildcard = text.startsWith('*.');
  const bare = isWildcard ? text.slice(2) : text;
  const name = !isWildcard && isIP(bare) === 4 ? bare : readHostName(bare);
  if (name === undefined || text.length > HOST_LENGTH_MAX) {
    return new InvalidText(
      'has no valid host name before the "="; write letters a-z, digits, ".", "_" and "-" ' +
        '(international names in their xn-- form), "*." before a name, or "*"',
    );
  }
  return isWildcard ? `*.${name}` : name;
}

/** `unix:/run/app.sock`; undefined for another kind of upstream. */
export function readUnixUpstream(text: string): Upstream | InvalidText | undefined {
  if (!text.startsWith(UNIX)) return undefined;
  const rest = text.slice(UNIX.length);
  // The form of a URL, `unix:///run/app.sock`.
  const path = rest.startsWith('///') ? rest.slice(2) : rest;
  const isRight =
    isAbsolute(path) &&
    !/[\0-\x1f\x7f]/.test(path) &&
    Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX;
  if (isRight) return { path, host: '', port: 0, tls: false };
  return new InvalidText(
    `has no valid path of a Unix socket; write unix:/PATH, at most ${SOCKET_PATH_BYTES_MAX} bytes`,
  );
}

/** `fileserver:/srv/site`; undefined for another kind of upstream. */
function readFolderUpstream(text: string): Upstream | InvalidText | undefined {
  if (!text.startsWith(FOLDER)) return undefined;
  const rest = text.slice(FOLDER.length);
  const folder = rest.startsWith('///') ? rest.slice(2) : rest;
  const isRight =
    folder !== '' && !/[\0-\x1f\x7f]/.test(folder) && folder.length <= FOLDER_LENGTH_MAX;
  if (isRight) return { folder, host: '', port: 0, tls: false };
  return new InvalidText('has no valid path of a folder; write fileserver:/PATH');
}

function readHttpUpstream(text: string): Upstream | InvalidText {
  const local = readUnixUpstream(text) ?? readFolderUpstream(text);
  if (local !== undefined) return local;
  const match = /^(?:([A-Za-z][A-Za-z0-9+.-]*):\/\/)?([^/?#]*)(.*)$/.exec(text);
  const scheme = match?.[1]?.toLowerCase();
  const authority = match?.[2] ?? '';
  if (match === null || (scheme !== undefined && scheme !== 'http' && scheme !== 'https')) {
    return new InvalidText(`has an upstream that is neither http nor https; ${UPSTREAM_RIGHT}`);
  }
  if (match[3] !== '' && match[3] !== '/') {
    return new InvalidText(
      'has a path in its upstream; paths are passed on as the visitor sent them, write none',
    );
  }
  if (authority.includes('@')) {
    return new InvalidText('has credentials in its upstream; write none');
  }
  const tls = scheme === 'https';
  const portless = scheme === undefined ? undefined : tls ? HTTPS_PORT : HTTP_PORT;
  const target = readTarget(authority, portless);
  return target === undefined
    ? new InvalidText(`has no valid upstream host and port; ${UPSTREAM_RIGHT}`)
    : { ...target, tls };
}

/** As a URL. */
export function showHttpUpstream(upstream: Upstream): string {
  if (upstream.folder !== undefined) return `${FOLDER}${upstream.folder}`;
  if (upstream.path !== undefined) return `${UNIX}${upstream.path}`;
  const defaultPort = upstream.tls ? HTTPS_PORT : HTTP_PORT;
  const port = upstream.port === defaultPort ? '' : `:${upstream.port}`;
  return `${upstream.tls ? 'https' : 'http'}://${bracketed(upstream.host)}${port}`;
}
