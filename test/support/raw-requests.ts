// Requests as the exit node writes them, taken apart by hand: a third opinion beside our parser and
// llhttp, without a line in common with either.
//
// Knows one spelling only, that of our own heads, and calls everything else a fault. Invariant:
// after a fault nothing more is read. Must not know: who sends, or what an answer looks like.

export interface RawRequest {
  readonly method: string;
  readonly target: string;
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

export interface RequestSink {
  onHead(request: RawRequest): void;
  /** The body is whole. */
  onEnd(request: RawRequest): void;
  onFault(fault: string): void;
}

const HEAD_END = '\r\n\r\n';
const LINE = /^([A-Z-]+) ([!-~]+) HTTP\/1\.1$/u;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)$/u;
const CHUNK_SIZE = /^[0-9A-Fa-f]+$/u;

export class RequestReader {
  readonly #sink: RequestSink;
  #text = '';
  #request: RawRequest | undefined;
  /** Bytes of the body to come; 'chunks' while their framing is read. */
  #left: number | 'chunks' = 0;
  #isFaulty = false;

  constructor(sink: RequestSink) {
    this.#sink = sink;
  }

  push(piece: Buffer): void {
    this.#text += piece.toString('latin1');
    while (!this.#isFaulty && this.#step()) {
      // Until more is needed.
    }
  }

  #step(): boolean {
    if (this.#request === undefined) return this.#readHead();
    return this.#left === 'chunks' ? this.#readChunk() : this.#readLength(this.#left);
  }

  #readHead(): boolean {
    const end = this.#text.indexOf(HEAD_END);
    if (end === -1) return false;
    const [first = '', ...lines] = this.#text.slice(0, end).split('\r\n');
    this.#text = this.#text.slice(end + HEAD_END.length);
    const [, method, target] = LINE.exec(first) ?? [];
    if (method === undefined || target === undefined) return this.#fail(`request line ${first}`);
    const fields = new Map<string, string[]>();
    for (const line of lines) {
      const [, name, value] = FIELD.exec(line) ?? [];
      if (name === undefined || value === undefined) return this.#fail(`field ${line}`);
      const key = name.toLowerCase();
      fields.set(key, [...(fields.get(key) ?? []), value]);
    }
    this.#request = { method, target, fields };
    this.#sink.onHead(this.#request);
    return this.#readFraming(fields);
  }

  #readFraming(fields: ReadonlyMap<string, readonly string[]>): boolean {
    const hosts = fields.get('host')?.length;
    if (hosts !== 1) return this.#fail(`${hosts} Host fields`);
    const lengths = fields.get('content-length') ?? [];
    const codings = fields.get('transfer-encoding') ?? [];
    if (lengths.length + codings.length > 1) return this.#fail('two framings');
    if (codings.length === 1 && codings[0] !== 'chunked') return this.#fail(`coding ${codings[0]}`);
    const length = lengths[0] ?? '0';
    if (!/^(?:0|[1-9][0-9]*)$/u.test(length)) return this.#fail(`length ${length}`);
    this.#left = codings.length === 1 ? 'chunks' : Number(length);
    return true;
  }

  #readLength(left: number): boolean {
    if (this.#text.length < left) return false;
    this.#text = this.#text.slice(left);
    return this.#end();
  }

  #readChunk(): boolean {
    const end = this.#text.indexOf('\r\n');
    if (end === -1) return false;
    const size = this.#text.slice(0, end);
    if (!CHUNK_SIZE.test(size)) return this.#fail(`chunk size ${size}`);
    const bytes = Number.parseInt(size, 16);
    if (bytes === 0) return this.#readTrailers(end + 2);
    const after = end + 2 + bytes;
    if (this.#text.length < after + 2) return false;
    if (this.#text.slice(after, after + 2) !== '\r\n') return this.#fail('no CRLF after a chunk');
    this.#text = this.#text.slice(after + 2);
    return true;
  }

  #readTrailers(start: number): boolean {
    if (this.#text.startsWith('\r\n', start)) {
      this.#text = this.#text.slice(start + 2);
      return this.#end();
    }
    const end = this.#text.indexOf(HEAD_END, start);
    if (end === -1) return false;
    const lines = this.#text.slice(start, end).split('\r\n');
    this.#text = this.#text.slice(end + HEAD_END.length);
    const bad = lines.find((line) => !FIELD.test(line));
    return bad === undefined ? this.#end() : this.#fail(`trailer ${bad}`);
  }

  #end(): boolean {
    const request = this.#request;
    this.#request = undefined;
    if (request !== undefined) this.#sink.onEnd(request);
    return true;
  }

  #fail(fault: string): boolean {
    this.#isFaulty = true;
    this.#sink.onFault(fault);
    return false;
  }
}
