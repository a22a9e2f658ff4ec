// From the operator's settings to the options of a session: one place for links and mesh.
//
// Invariant: every link of a shard has the same limits; the mesh, within one process, is never
// given up for silence or for what was not read, and none of the clients that it carries can use it
// up for the others. Must not know: what a session carries.

import { type Clock, systemClock } from '../base/clock.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import type { Link } from '../link/link.ts';
import { Session } from '../mux/session.ts';
import type { SessionEvents } from '../mux/session-options.ts';
import type { SessionLimits } from '../wire/limits.ts';

/** Beyond the dial itself, for the way there and back (design: 10 s for "no client answered"). */
const OPEN_SLACK_MS = 5000;
/** A message port does not die in silence: it closes. */
const MESH_DEAD_MS = Number.MAX_SAFE_INTEGER;
/** Of all clients of two shards, answered or not; what one may have its link's session holds it to,
 * in the far shard. Guess: more than a process has descriptors for visitors. */
const MESH_STREAMS_MAX = 1 << 20;
/** In a second, from ourselves: each visitor whom a link has no room for is an OPEN without an
 * effect here. Guess: more than a shard can accept. */
const MESH_IDLE_FRAMES_MAX = 1 << 20;
/** What waits is bounded where it is made: DATA by congestion, OPEN by `Mesh.canOpen`, all else by
 * the streams there are. A port that is given up does not come back before a shard does. */
const MESH_QUEUE_BYTES_MAX = Number.MAX_SAFE_INTEGER;
const MESH_BOUNDS = {
  streamsOpeningMax: MESH_STREAMS_MAX,
  idleFramesMax: MESH_IDLE_FRAMES_MAX,
  queueBytesMax: MESH_QUEUE_BYTES_MAX,
};

export interface SessionRequest {
  readonly link: Link;
  readonly events: SessionEvents;
  readonly settings: ShardSettings;
  readonly opens: 'odd' | 'even';
  readonly clock?: Clock;
  /** Where our ids begin, for tests of their end. */
  readonly firstId?: number | undefined;
}

export function createSession(request: SessionRequest): Session {
  const { link, events, settings, opens, firstId } = request;
  const isMesh = link.kind === 'port';
  return new Session({
    link,
    events,
    opens,
    clock: request.clock ?? systemClock,
    limits: sessionLimits(settings, isMesh ? MESH_STREAMS_MAX : settings.streamsPerLinkMax),
    keepalive: {
      pingIntervalMs: settings.linkPingIntervalMs,
      deadAfterMs: isMesh ? MESH_DEAD_MS : settings.linkDeadAfterMs,
      random: Math.random,
    },
    openTimeoutMs: settings.upstreamConnectTimeoutMs + OPEN_SLACK_MS,
    ...(isMesh ? MESH_BOUNDS : {}),
    ...(firstId === undefined ? {} : { firstId }),
  });
}

function sessionLimits(settings: ShardSettings, streams: number): SessionLimits {
  return {
    frameBytes: settings.frameMaxBytes,
    streams,
    windowInitialBytes: settings.windowInitialBytes,
    windowMaxBytes: settings.windowMaxBytes,
    memoryBytes: settings.sessionMemoryMaxBytes,
  };
}
