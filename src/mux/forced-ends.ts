// Streams that this side ends though neither of their ends asked for it: at the memory's limit,
// for want of an answer, with the link.
//
// Invariant: each stream's own sink is told once, and after the stream has let go of what it held,
// so that a sink may open another in its place. Must not know: frames, or when it is time.

import type { ErrorCode } from '../base/errors.ts';
import type { SessionMemory } from '../wire/flow.ts';
import type { Stream } from './stream.ts';
import type { StreamTable } from './stream-table.ts';

/** At the memory limit the streams that took nothing for the longest pay, not the link. */
export function resetStalest(streams: StreamTable, memory: SessionMemory): void {
  for (const stream of streams.stalest()) {
    if (!memory.isFull) return;
    // Empty by now when its sink ended together with an earlier one.
    if (stream.window.heldBytes === 0) continue;
    reset(stream, 'SLW_STREAM_MEMORY');
  }
}

/** Streams of ours that wait for OPENED since `sinceMs`, or for longer. */
export function resetUnanswered(streams: StreamTable, sinceMs: number): void {
  for (const stream of streams.opening) {
    // The order is that of opening, so the first young one ends the search.
    if (stream.progressMs > sinceMs) return;
    reset(stream, 'SLW_STREAM_OPEN_TIMEOUT');
  }
}

/** Ends all without a word to the peer. */
export function dropAll(streams: StreamTable, code: ErrorCode): void {
  for (const stream of [...streams.values()]) {
    const { sink, isEnded } = stream;
    stream.drop(code);
    if (!isEnded) sink.onReset(code);
  }
}

function reset(stream: Stream, code: ErrorCode): void {
  const { sink } = stream;
  stream.reset(code);
  sink.onReset(code);
}
