// What a shard tells control of its links: one row a link, and how many of their streams wait.
//
// Invariant: reads only; nothing is counted here. Must not know: which role the shard has.

import type { LinkSample, ShardSample } from '../bridge/shard-sample.ts';
import type { Session } from '../mux/session.ts';
import type { StreamMeter } from '../mux/stream.ts';

export interface LinkGauge {
  readonly key: string;
  readonly session: Session;
  readonly meter: StreamMeter;
}

export function sampleLinks(gauges: readonly LinkGauge[]): Pick<ShardSample, 'links' | 'stalled'> {
  const stalled = { held: 0, waiting: 0 };
  const links = gauges.map(({ key, session, meter }): LinkSample => {
    const { held, waiting } = session.countStalled();
    stalled.held += held;
    stalled.waiting += waiting;
    return {
      link: key,
      streams: session.streamsCount,
      bytesIn: meter.bytesIn,
      bytesOut: meter.bytesOut,
      roundTripMs: session.roundTripMs,
      queuedBytes: session.queuedBytes,
    };
  });
  return { links, stalled };
}
