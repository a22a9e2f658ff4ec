// From the operator's settings to the options of a session: one place for links and mesh.
//
// Invariant: every session of a shard has the same limits; the mesh, within one process, is never
// declared dead for silence. Must not know: what a session carries.

import { type Clock, systemClock } from '../base/clock.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import type { Link } from '../link/link.ts';
import { Session, type SessionEvents } from '../mux/session.ts';
import type { SessionLimits } from '../wire/limits.ts';

/** Beyond the dial itself, for the way there and back (design: 10 s for "no client answered"). */
const OPEN_SLACK_MS = 5000;
/** A message port does not die in silence: it closes. */
const MESH_DEAD_MS = Number.MAX_SAFE_INTEGER;

export interface SessionRequest {
  readonly link: Link;
  readonly events: SessionEvents;
  readonly settings: ShardSettings;
  readonly opens: 'odd' | 'even';
  readonly clock?: Clock;
}

export function createSession(request: SessionRequest): Session {
  const { link, events, settings, opens } = request;
  return new Session({
    link,
    events,
    opens,
    clock: request.clock ?? systemClock,
    limits: sessionLimits(settings),
    keepalive: {
      pingIntervalMs: settings.linkPingIntervalMs,
      deadAfterMs: link.kind === 'port' ? MESH_DEAD_MS : settings.linkDeadAfterMs,
      random: Math.random,
    },
    openTimeoutMs: settings.upstreamConnectTimeoutMs + OPEN_SLACK_MS,
  });
}

function sessionLimits(settings: ShardSettings): SessionLimits {
  return {
    frameBytes: settings.frameMaxBytes,
    streams: settings.streamsPerLinkMax,
    windowInitialBytes: settings.windowInitialBytes,
    windowMaxBytes: settings.windowMaxBytes,
    memoryBytes: settings.sessionMemoryMaxBytes,
  };
}
