// The control messages: what their maps hold, and the check of each before anything acts on it.
//
//   client                      server
//     HELLO  ------------------>        versions, features, client id, instance, limits
//            <------------------ WELCOME  version, features, node, shard, shards, limits
//     REGISTER ---------------->        tunnels
//            <------------------ REGISTERED  one result a tunnel
//            <------------------ OPEN (open.ts) ...
//
// Invariant: a message that was read fits its interface; unknown keys are ignored, so that later
// versions can add to it. Must not know: what a tunnel is for, or who may serve it.

import type { OfferedOptions } from '../base/tunnel-options.ts';
import { type BodyMap, type BodyValue, decodeBody, encodeBody } from './body.ts';
import {
  asInteger,
  asMap,
  asText,
  integer,
  invalid,
  LIST_LENGTH_MAX,
  list,
  text,
} from './fields.ts';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, REGISTER_TUNNELS_MAX } from './limits.ts';

/** Protocol versions that we speak, best first. */
export const VERSIONS: readonly number[] = [1];
/** Tunnels of datagrams. */
export const UDP_FEATURE = 'udp';
/** Features that we offer: one is active when both sides name it. */
export const FEATURES: readonly string[] = [UDP_FEATURE];

/** A text of a tunnel's option, such as a header field. */
const OPTION_TEXT_LENGTH_MAX = 4096;
/** The longest that a server may ask clients to wait. Guess. */
const SPREAD_MS_MAX = 600_000;
/** Shards of a server, far above the cores of any machine (guess). */
const SHARDS_MAX = 1024;

export interface PeerLimits {
  /** Largest DATA payload that the sender of this message accepts. */
  readonly frame: number;
  /** Streams that its peer may have open at once. */
  readonly streams: number;
  /** Credit that its peer has on a stream it opens, before OPENED. */
  readonly credit: number;
}

export interface Hello {
  readonly versions: readonly number[];
  readonly features: readonly string[];
  readonly client: string;
  readonly instance: string;
  readonly agent: string;
  readonly limits: PeerLimits;
}

export interface Welcome {
  readonly version: number;
  readonly features: readonly string[];
  readonly node: string;
  readonly shard: number;
  readonly shards: number;
  readonly agent: string;
  readonly limits: PeerLimits;
  /** Milliseconds within which clients should come back when they have lost the server. */
  readonly spread?: number;
}

export interface TunnelOffer {
  /** `example.com`, `*.example.com` or `*`, maybe with a path; `tcp:2222`; `udp:5353`;
   * `tls:example.com`. */
  readonly name: string;
  /** As status shows it: `example.com=http://127.0.0.1:3000`. */
  readonly label: string;
  /** What the exit node shall do for it; undefined for nothing. */
  readonly options?: OfferedOptions | undefined;
}

export interface Register {
  readonly call: number;
  readonly tunnels: readonly TunnelOffer[];
}

export interface TunnelResult {
  readonly name: string;
  /** Empty when accepted, else a stable code (docs/errors.md). */
  readonly code: string;
  /** For people. */
  readonly reason: string;
  /** How visitors reach an HTTP tunnel, where it is `https`: with a certificate for its name. */
  readonly scheme?: string | undefined;
}

export interface Registered {
  readonly call: number;
  readonly results: readonly TunnelResult[];
}

export interface Unregister {
  readonly names: readonly string[];
}

export const encodeHello = (hello: Hello): Uint8Array => encodeBody(hello);
export const encodeWelcome = (welcome: Welcome): Uint8Array => encodeBody(welcome);
export const encodeRegistered = (registered: Registered): Uint8Array => encodeBody(registered);
export const encodeUnregister = (unregister: Unregister): Uint8Array => encodeBody(unregister);
export function encodeRegister({ call, tunnels }: Register): Uint8Array {
  return encodeBody({ call, tunnels: tunnels.map(encodeOffer) });
}

function encodeOffer({ options, ...offer }: TunnelOffer): object {
  return options === undefined ? offer : { ...offer, options: Object.fromEntries(options) };
}

export function decodeHello(bytes: Uint8Array): Hello {
  const map = decodeBody(bytes);
  return {
    versions: list(map, 'versions').map((item) => asInteger(item, 'versions', 1, 255)),
    features: list(map, 'features').map((item) => asText(item, 'features')),
    client: text(map, 'client'),
    instance: text(map, 'instance'),
    agent: text(map, 'agent'),
    limits: readLimits(map),
  };
}

export function decodeWelcome(bytes: Uint8Array): Welcome {
  const map = decodeBody(bytes);
  const shards = integer(map, 'shards', 1, SHARDS_MAX);
  return {
    version: integer(map, 'version', 1, 255),
    features: list(map, 'features').map((item) => asText(item, 'features')),
    node: text(map, 'node'),
    shard: integer(map, 'shard', 0, shards - 1),
    shards,
    agent: text(map, 'agent'),
    limits: readLimits(map),
    ...(map.has('spread') ? { spread: integer(map, 'spread', 0, SPREAD_MS_MAX) } : {}),
  };
}

export function decodeRegister(bytes: Uint8Array): Register {
  const map = decodeBody(bytes);
  const tunnels = list(map, 'tunnels');
  if (tunnels.length > REGISTER_TUNNELS_MAX) throw invalid('tunnels', 'too many');
  return {
    call: integer(map, 'call', 0, 0xffff_ffff),
    tunnels: tunnels.map((item) => {
      const offer = asMap(item, 'tunnels');
      const options = readOptions(offer);
      const named = { name: text(offer, 'name'), label: text(offer, 'label') };
      return options === undefined ? named : { ...named, options };
    }),
  };
}

/**
 * Texts by key. What has another type is of a later version and has no texts here: whoever reads
 * it refuses the tunnel, and the link lives on.
 */
function readOptions(offer: BodyMap): OfferedOptions | undefined {
  if (!offer.has('options')) return undefined;
  const map = asMap(offer.get('options'), 'options');
  if (map.size > LIST_LENGTH_MAX) throw invalid('options', 'too many');
  return [...map].map(([key, value]) => {
    const items = Array.isArray(value) && value.length <= LIST_LENGTH_MAX ? value : [];
    const texts = items.filter((item) => isOptionText(item));
    return [key, texts.length === items.length ? texts : []] as const;
  });
}

function isOptionText(item: BodyValue): item is string {
  return typeof item === 'string' && item.length <= OPTION_TEXT_LENGTH_MAX;
}

export function decodeRegistered(bytes: Uint8Array): Registered {
  const map = decodeBody(bytes);
  return {
    call: integer(map, 'call', 0, 0xffff_ffff),
    results: list(map, 'results').map((item) => {
      const result = asMap(item, 'results');
      return {
        name: text(result, 'name'),
        code: text(result, 'code'),
        reason: text(result, 'reason'),
        ...(result.has('scheme') ? { scheme: text(result, 'scheme') } : {}),
      };
    }),
  };
}

export function decodeUnregister(bytes: Uint8Array): Unregister {
  return { names: list(decodeBody(bytes), 'names').map((item) => asText(item, 'names')) };
}

function readLimits(map: BodyMap): PeerLimits {
  const limits = asMap(map.get('limits'), 'limits');
  return {
    frame: integer(limits, 'frame', FRAME_BYTES_MIN, FRAME_BYTES_MAX),
    streams: integer(limits, 'streams', 0, 0x7fff_ffff),
    credit: integer(limits, 'credit', 0, 0x7fff_ffff),
  };
}
