// Which of the connections of a load stood still while it was counted.
//
// A rate is of all of them together: one that hangs beside others that move would not show in it.
//
// Invariant: of a socket it is what the kernel gave and took that counts, so that one that is slow
// does not stand still; one that a short round found in a pause is given STILL_MS_MIN. Must not
// know: loads, rates.

import type { Socket } from 'node:net';
import { takenBytesOf } from '../../src/link/write-handle.ts';

/** A pause for less is one of a busy machine; a guess, and the same as of `sluiceway bench`. */
const STILL_MS_MIN = 1_000;
const LOOK_MS = 20;
/** In an error message; a guess. */
const NAMES_MAX = 5;

/** One connection, or one place that has one after the other. */
export interface Lane {
  readonly name: string;
  /** Grows as long as anything happens. */
  moved(): number;
}

/** Where one connection comes after the other. */
export interface Place {
  /** The one that is there. */
  socket?: Socket;
  /** Those that were there before, and are done. */
  ended: number;
}

export function laneOf(socket: Socket, index: number): Lane {
  return {
    name: nameOf(index, socket),
    moved: () => socket.bytesRead + takenBytesOf(socket),
  };
}

export function laneOfPlace(place: Place, index: number): Lane {
  return {
    get name(): string {
      return nameOf(index, place.socket);
    },
    moved: () => place.ended,
  };
}

/** With the port by which the other side knows it. */
function nameOf(index: number, socket: Socket | undefined): string {
  const port = socket?.localPort;
  return `number ${index + 1}${port === undefined ? '' : ` from port ${port}`}`;
}

/** Begins to watch; the function that it gives throws, with their names, when some stood still. */
export function watchLanes(lanes: readonly Lane[]): () => Promise<void> {
  const fromMs = performance.now();
  const before = lanes.map((lane) => lane.moved());
  return async () => {
    for (;;) {
      const still = lanes.filter((lane, index) => lane.moved() === before[index]);
      if (still.length === 0) return;
      const leftMs = STILL_MS_MIN - (performance.now() - fromMs);
      if (leftMs <= 0) throw new Error(`${still.length} of ${lanes.length} ${toldOf(still)}`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_MS, leftMs)));
    }
  };
}

function toldOf(still: readonly Lane[]): string {
  const names = still.slice(0, NAMES_MAX).map(({ name }) => name);
  const more = still.length - names.length;
  const others = more > 0 ? [`${more} more`] : [];
  return `connections stood still: ${[...names, ...others].join(', ')}`;
}
