// Are ports free, and can several threads share one?
//
// Invariant: a port is claimed for a moment without SO_REUSEPORT before shards share it, because
// with that option a second exit node would silently take half of the visitors. Must not know:
// what a port is for.

import { createSocket } from 'node:dgram';
import { createServer, isIP, type ListenOptions } from 'node:net';
import { SluicewayError } from '../base/errors.ts';
import type { Transport } from '../base/port-name.ts';

/** Does this platform spread connections over sockets that share a port? */
export function supportsReusePort(): Promise<boolean> {
  return tryListen({ host: '127.0.0.1', port: 0, reusePort: true }).then(
    () => true,
    () => false,
  );
}

/** Rejects with a SluicewayError when another program has the port. Port 0 is always free. */
export async function claimPort(
  host: string,
  port: number,
  transport: Transport = 'tcp',
): Promise<void> {
  if (port === 0) return;
  try {
    await (transport === 'tcp' ? tryListen({ host, port }) : tryBind(host, port));
  } catch (cause) {
    throw claimFailure(`${host}:${port}`, cause as NodeJS.ErrnoException);
  }
}

function tryListen(options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(options, () => server.close(() => resolve()));
  });
}

function tryBind(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: host, port, exclusive: true }, () => socket.close(() => resolve()));
  });
}

export function isTaken(error: unknown): boolean {
  return error instanceof SluicewayError && error.code === 'SLW_TUNNEL_PORT_TAKEN';
}

function claimFailure(where: string, cause: NodeJS.ErrnoException): SluicewayError {
  if (cause.code === 'EADDRINUSE') {
    const detail = `${where} is in use by another program`;
    return new SluicewayError('SLW_TUNNEL_PORT_TAKEN', detail, { cause });
  }
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    const detail = `no permission to listen on ${where}`;
    return new SluicewayError('SLW_TUNNEL_PORT_DENIED', detail, { cause });
  }
  return new SluicewayError('SLW_LISTEN_FAILED', `cannot listen on ${where}: ${cause.message}`, {
    cause,
  });
}
