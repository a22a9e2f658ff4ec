// Options of links, streams and timeouts that hold for all that a process carries.
//
// Invariant: each has a bound; a client has the server's defaults for what it cannot set itself.
// Must not know: who holds to them.

import { type Kind, type Option, one, type ValuesOf } from './option.ts';
import { type Bounds, duration, integer, size } from './quantity.ts';
import { UDP_FLOW_OPTIONS, UDP_IDLE_OPTION } from './udp.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const DAY_MS = 86_400_000;

/** Worker threads at most. Guess: above it the mesh of ports between shards outgrows its use. */
export const SHARDS_MAX = 64;

/** One millisecond up to a day: what a network timeout may sensibly be. */
export const TIMEOUT: Bounds = { min: 1, max: DAY_MS };

export const SHARED_TUNING = {
  'window-initial': tuning(size({ min: 4 * KIB, max: GIB }), '256KiB', 'credit of a new stream'),
  'window-max': tuning(size({ min: 4 * KIB, max: GIB }), '8MiB', 'credit a stream may grow to'),
  'session-memory-max': tuning(
    size({ min: 64 * KIB, max: GIB }),
    '64MiB',
    'payload bytes held for one link at most',
  ),
  'frame-max': tuning(
    size({ min: 4 * KIB, max: 256 * KIB }),
    '256KiB',
    'largest payload of a frame',
  ),
  'streams-per-link-max': tuning(
    integer({ min: 1, max: 1_000_000 }),
    '10000',
    'streams that the other side may have open on one link',
  ),
  'upstream-connect-timeout': tuning(duration(TIMEOUT), '10s', 'time to reach an upstream'),
  'tcp-idle-timeout': tuning(
    duration({ min: 1, max: 7 * DAY_MS, offWord: 'off' }),
    'off',
    'ends a TCP or upgraded connection without a byte either way',
  ),
  ...UDP_IDLE_OPTION,
  'half-close-timeout': tuning(
    duration({ min: 1, max: 7 * DAY_MS }),
    '1h',
    'ends a connection of which one direction has been closed for so long',
  ),
  'link-ping-interval': tuning(duration(TIMEOUT), '10s', 'time between pings on a link'),
  'link-dead-after': tuning(
    duration(TIMEOUT),
    '30s',
    'a link from which nothing was heard for so long is closed',
  ),
};

export const SERVER_TUNING = {
  'visitor-connections-max': tuning(
    integer({ min: 1, max: 10_000_000, autoWord: 'auto' }),
    'auto',
    'visitor connections at once; auto is half of the open-file limit',
  ),
  ...UDP_FLOW_OPTIONS,
  'header-timeout': tuning(duration(TIMEOUT), '10s', 'time to receive the head of a request'),
  'body-idle-timeout': tuning(duration(TIMEOUT), '60s', 'longest gap inside a request body'),
  'keep-alive-timeout': tuning(
    duration(TIMEOUT),
    '75s',
    'how long an idle visitor connection is kept',
  ),
  'upstream-response-timeout': tuning(duration(TIMEOUT), '60s', 'time to the head of a response'),
};

/** Neighbours of which the first, times `factor`, must not exceed the second. */
export const RELATIONS = [
  { lower: 'window-initial', factor: 1, upper: 'window-max' },
  { lower: 'window-max', factor: 1, upper: 'session-memory-max' },
  { lower: 'link-ping-interval', factor: 2, upper: 'link-dead-after' },
] as const;

export interface Tuning {
  readonly windowInitialBytes: number;
  readonly windowMaxBytes: number;
  readonly sessionMemoryMaxBytes: number;
  readonly frameMaxBytes: number;
  readonly streamsPerLinkMax: number;
  readonly upstreamConnectTimeoutMs: number;
  /** 0 is off. */
  readonly tcpIdleTimeoutMs: number;
  readonly udpIdleTimeoutMs: number;
  readonly halfCloseTimeoutMs: number;
  readonly linkPingIntervalMs: number;
  readonly linkDeadAfterMs: number;
  // The client cannot set those below and has their defaults.
  /** 0 is half of the open-file limit, which the caller knows. */
  readonly visitorConnectionsMax: number;
  readonly udpFlowsMax: number;
  /** 0 is off. */
  readonly udpFlowsPerAddressMax: number;
  readonly udpNewFlowsPerSecondMax: number;
  readonly headerTimeoutMs: number;
  readonly bodyIdleTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly upstreamResponseTimeoutMs: number;
}

type SharedValues = ValuesOf<typeof SHARED_TUNING>;
type ServerValues = SharedValues & ValuesOf<typeof SERVER_TUNING>;

export function buildServerTuning(values: ServerValues): Tuning {
  return {
    ...buildSharedTuning(values),
    visitorConnectionsMax: values['visitor-connections-max'],
    udpFlowsMax: values['udp-flows-max'],
    udpFlowsPerAddressMax: values['udp-flows-per-ip-max'],
    udpNewFlowsPerSecondMax: values['udp-new-flows-per-second-max'],
    headerTimeoutMs: values['header-timeout'],
    bodyIdleTimeoutMs: values['body-idle-timeout'],
    keepAliveTimeoutMs: values['keep-alive-timeout'],
    upstreamResponseTimeoutMs: values['upstream-response-timeout'],
  };
}

export function buildClientTuning(values: SharedValues): Tuning {
  return {
    ...buildSharedTuning(values),
    visitorConnectionsMax: serverDefault('visitor-connections-max'),
    udpFlowsMax: serverDefault('udp-flows-max'),
    udpFlowsPerAddressMax: serverDefault('udp-flows-per-ip-max'),
    udpNewFlowsPerSecondMax: serverDefault('udp-new-flows-per-second-max'),
    headerTimeoutMs: serverDefault('header-timeout'),
    bodyIdleTimeoutMs: serverDefault('body-idle-timeout'),
    keepAliveTimeoutMs: serverDefault('keep-alive-timeout'),
    upstreamResponseTimeoutMs: serverDefault('upstream-response-timeout'),
  };
}

function buildSharedTuning(values: SharedValues) {
  return {
    windowInitialBytes: values['window-initial'],
    windowMaxBytes: values['window-max'],
    sessionMemoryMaxBytes: values['session-memory-max'],
    frameMaxBytes: values['frame-max'],
    streamsPerLinkMax: values['streams-per-link-max'],
    upstreamConnectTimeoutMs: values['upstream-connect-timeout'],
    tcpIdleTimeoutMs: values['tcp-idle-timeout'],
    udpIdleTimeoutMs: values['udp-idle-timeout'],
    halfCloseTimeoutMs: values['half-close-timeout'],
    linkPingIntervalMs: values['link-ping-interval'],
    linkDeadAfterMs: values['link-dead-after'],
  };
}

function serverDefault(name: keyof typeof SERVER_TUNING): number {
  const option = SERVER_TUNING[name];
  const parsed = option.parse([option.defaultText]);
  return parsed.ok ? parsed.value : 0;
}

function tuning(kind: Kind<number>, value: string, help: string): Option<number> {
  return one(kind, { default: value, help, isTuning: true });
}
