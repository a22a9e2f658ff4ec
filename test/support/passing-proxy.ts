// A proxy that lets everybody through: CONNECT, or SOCKS 5 without a login, by the first byte; over
// TLS where it is given a pair.
//
// Invariant: it has gone when the test has, and its connections with it. Must not know: what is
// said through it.

import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import tls from 'node:tls';
import { undoAfter } from './cleanup.ts';

const SOCKS_VERSION = 5;
const ANSWER = { connect: 'HTTP/1.1 200 OK\r\n\r\n', noLogin: '\x05\x00' };
const SOCKS_CONNECTED = Buffer.from([SOCKS_VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0]);

export interface PassingProxyOptions {
  /** Where it listens; on 127.0.0.1 when left out. */
  readonly host?: string;
  /** Given: it speaks TLS. */
  readonly pair?: { readonly cert: string; readonly key: string };
}

/** Its port. It goes to `port` on 127.0.0.1, whatever it is asked for. */
export async function startPassingProxy(
  t: TestContext,
  port: number,
  { host = '127.0.0.1', pair }: PassingProxyOptions = {},
): Promise<number> {
  const onConnection = (near: net.Socket): void => {
    const far = net.connect(port, '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
      undoAfter(t, () => void one.destroy());
    }
    void greet(near).then(
      () => near.pipe(far).pipe(near),
      () => near.destroy(),
    );
  };
  const proxy =
    pair === undefined ? net.createServer(onConnection) : tls.createServer(pair, onConnection);
  proxy.listen(0, host);
  await once(proxy, 'listening');
  undoAfter(t, () => void proxy.close());
  return (proxy.address() as net.AddressInfo).port;
}

/** What is asked for comes in one piece: its clients wait for each answer. */
async function greet(near: net.Socket): Promise<void> {
  const [first] = (await once(near, 'data')) as [Buffer];
  if (first[0] !== SOCKS_VERSION) {
    near.write(ANSWER.connect);
    return;
  }
  near.write(ANSWER.noLogin, 'latin1');
  await once(near, 'data');
  near.write(SOCKS_CONNECTED);
}
