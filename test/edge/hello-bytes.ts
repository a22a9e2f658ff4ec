// ClientHellos made to order, right and wrong, for the tests of whoever reads them.

export interface HelloParts {
  readonly version?: number;
  readonly sessionBytes?: number;
  readonly suites?: Buffer;
  readonly compressions?: Buffer;
  /** Undefined: the body ends before them. */
  readonly extensions?: readonly Buffer[] | undefined;
}

export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

/** `bytes` behind their length. */
export function block(size: 1 | 2, bytes: Buffer): Buffer {
  const length = size === 1 ? Buffer.from([bytes.length]) : u16(bytes.length);
  return Buffer.concat([length, bytes]);
}

export function extension(type: number, body: Buffer): Buffer {
  return Buffer.concat([u16(type), block(2, body)]);
}

/** The extension `server_name` with one name of type `type`. */
export function serverName(name: string | Buffer, type = 0): Buffer {
  return extension(0, block(2, nameEntry(name, type)));
}

export function nameEntry(name: string | Buffer, type = 0): Buffer {
  return Buffer.concat([Buffer.from([type]), block(2, Buffer.from(name as string, 'latin1'))]);
}

export function alpn(...protocols: readonly string[]): Buffer {
  const list = protocols.map((protocol) => block(1, Buffer.from(protocol)));
  return extension(16, block(2, Buffer.concat(list)));
}

export function helloBody(parts: HelloParts = {}): Buffer {
  const { version = 0x0303, sessionBytes = 32, suites = Buffer.from([0x13, 0x01]) } = parts;
  const { compressions = Buffer.from([0]) } = parts;
  const extensions = 'extensions' in parts ? parts.extensions : [serverName('a.example')];
  return Buffer.concat([
    u16(version),
    Buffer.alloc(32, 7),
    block(1, Buffer.alloc(sessionBytes, 9)),
    block(2, suites),
    block(1, compressions),
    ...(extensions === undefined ? [] : [block(2, Buffer.concat(extensions))]),
  ]);
}

/** A handshake message of `type`. */
export function message(body: Buffer, type = 1, length = body.length): Buffer {
  return Buffer.concat([Buffer.from([type, length >> 16]), u16(length & 0xffff), body]);
}

export function record(bytes: Buffer, type = 22, version = 0x0301): Buffer {
  return Buffer.concat([Buffer.from([type]), u16(version), block(2, bytes)]);
}

/** `bytes` cut over records of at most `size`. */
export function records(bytes: Buffer, size: number): Buffer {
  const cut: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) cut.push(record(bytes.subarray(at, at + size)));
  return Buffer.concat(cut);
}

/** A whole hello in one record. */
export function hello(parts: HelloParts = {}): Buffer {
  return record(message(helloBody(parts)));
}
