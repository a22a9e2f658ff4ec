// Memory for heads that are written: slices cut one after the other from a larger buffer.
//
// Invariant: a slice is never written again once it was taken; a new slab is zeroed, so nothing
// old can leak into a message. A slab lives as long as its last slice. Must not know: heads.

/** Some hundred heads. Guess: small, because a slice that waits keeps its whole slab. */
const SLAB_BYTES = 64 * 1024;

export class Slab {
  #bytes = Buffer.alloc(SLAB_BYTES);
  #start = 0;
  #end = 0;

  /** Begins a slice with room for `bytes`; more is a bug of the caller. */
  reserve(bytes: number): void {
    if (this.#start + bytes > this.#bytes.length) {
      this.#bytes = Buffer.alloc(Math.max(SLAB_BYTES, bytes));
      this.#start = 0;
    }
    this.#end = this.#start;
  }

  /** Appends `source[start, end)` to the slice. */
  append(source: Buffer, start: number, end: number): void {
    source.copy(this.#bytes, this.#end, start, end);
    this.#end += end - start;
  }

  /** The same of text whose letters are octets. */
  appendText(text: string): void {
    this.#bytes.write(text, this.#end, 'latin1');
    this.#end += text.length;
  }

  /** The slice is complete and belongs to the caller. */
  take(): Buffer {
    const slice = this.#bytes.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return slice;
  }
}
