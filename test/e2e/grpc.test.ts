// A real gRPC call through a TCP tunnel: @grpc/grpc-js on both sides, with HTTP/2 between them that
// nobody on the way reads. Unary, bidirectional streaming, trailers, status codes and deadlines.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import {
  Client,
  credentials,
  type Deadline,
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { sha256 } from '../support/digest.ts';
import { tcpTunnel } from '../support/tunnel.ts';

const CALL_MS = 20_000;
const MESSAGES = 500;
const BIG_BYTES = 3 * 1024 * 1024;
const same = (bytes: Buffer): Buffer => bytes;
const SHAPE = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
} as const;
const PATHS = {
  echo: '/test.Echo/Echo',
  hang: '/test.Echo/Hang',
  chat: '/test.Echo/Chat',
} as const;

const echo: handleUnaryCall<Buffer, Buffer> = (call, answer) => {
  const trailer = new Metadata();
  trailer.set('x-digest', sha256(call.request));
  trailer.set('x-note', String(call.metadata.get('x-note')[0] ?? ''));
  if (call.request.length > 0) answer(null, call.request, trailer);
  else answer({ code: status.FAILED_PRECONDITION, details: 'nothing to echo', metadata: trailer });
};

const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (message: Buffer) => call.write(Buffer.concat([Buffer.from('re: '), message])));
  call.on('end', () => call.end());
};

async function startGrpc(t: TestContext): Promise<{ port: number; cancelled: Promise<void> }> {
  const cancelled = Promise.withResolvers<void>();
  const server = new Server();
  const hang: handleUnaryCall<Buffer, Buffer> = (call) => {
    call.on('cancelled', () => cancelled.resolve());
  };
  server.addService(
    {
      echo: { path: PATHS.echo, requestStream: false, responseStream: false, ...SHAPE },
      hang: { path: PATHS.hang, requestStream: false, responseStream: false, ...SHAPE },
      chat: { path: PATHS.chat, requestStream: true, responseStream: true, ...SHAPE },
    },
    { echo, hang, chat },
  );
  undoAfter(t, () => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { port, cancelled: cancelled.promise };
}

interface Reply {
  readonly error: ServiceError | null;
  readonly body: Buffer | undefined;
  readonly trailers: Metadata;
}

/** One unary call, with the status that comes behind its body. */
function ask(client: Client, path: string, body: Buffer, deadline?: Deadline): Promise<Reply> {
  const metadata = new Metadata();
  metadata.set('x-note', 'noted');
  return new Promise((resolve) => {
    let reply: Omit<Reply, 'trailers'> | undefined;
    let trailers: Metadata | undefined;
    const settle = (): void => {
      if (reply !== undefined && trailers !== undefined) resolve({ ...reply, trailers });
    };
    const options = deadline === undefined ? {} : { deadline };
    client
      .makeUnaryRequest<Buffer, Buffer>(path, same, same, body, metadata, options, (error, got) => {
        reply = { error, body: got };
        settle();
      })
      .on('status', (ended) => {
        trailers = ended.metadata;
        settle();
      });
  });
}

test('gRPC works through a TCP tunnel', async (t) => {
  const upstream = await startGrpc(t);
  const port = await tcpTunnel(t, upstream.port);
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.enable_http_proxy': 0,
  });
  undoAfter(t, () => client.close());

  await t.test('a unary call has its answer and its trailers', async () => {
    for (const body of [Buffer.from('hello'), Buffer.alloc(BIG_BYTES, 'x')]) {
      const reply = await within(CALL_MS, 'an answer', ask(client, PATHS.echo, body));
      assert.equal(reply.error, null);
      assert.equal(sha256(reply.body ?? Buffer.alloc(0)), sha256(body));
      assert.deepEqual(reply.trailers.get('x-digest'), [sha256(body)]);
      assert.deepEqual(reply.trailers.get('x-note'), ['noted']);
    }
  });

  await t.test('a status without a body comes with its trailers', async () => {
    const reply = await within(CALL_MS, 'an answer', ask(client, PATHS.echo, Buffer.alloc(0)));
    assert.equal(reply.error?.code, status.FAILED_PRECONDITION);
    assert.equal(reply.error.details, 'nothing to echo');
    assert.deepEqual(reply.trailers.get('x-note'), ['noted']);
  });

  await t.test('both directions stream at the same time, in order', async () => {
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(PATHS.chat, same, same);
    const ended = once(call, 'status');
    for (let index = 0; index < MESSAGES; index += 1) {
      const answered = once(call, 'data') as Promise<[Buffer]>;
      call.write(Buffer.from(`message ${index}`));
      const [answer] = await within(CALL_MS, `answer ${index}`, answered);
      assert.equal(answer.toString(), `re: message ${index}`);
    }
    call.end();
    const [{ code }] = (await within(CALL_MS, 'the status', ended)) as [{ code: number }];
    assert.equal(code, status.OK);
  });

  await t.test('a deadline ends the call on both sides', async () => {
    const deadline = Date.now() + 300;
    const call = ask(client, PATHS.hang, Buffer.from('wait'), deadline);
    const reply = await within(CALL_MS, 'the deadline', call);
    assert.equal(reply.error?.code, status.DEADLINE_EXCEEDED);
    await within(CALL_MS, 'the server sees the cancellation', upstream.cancelled);
  });
});
