// A file server that listens: on a TCP address or a Unix socket, until it is stopped.
//
// Invariant: rejects with SLW_LISTEN_FAILED, and why; after `stop` no connection is left. Must not
// know: what is served.

import type { Server } from 'node:http';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';

export type Place =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly name: string };

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use',
  EADDRNOTAVAIL: 'is no address of this machine',
  EACCES: 'needs more rights; ports below 1024 often do',
};

/** Gives the port; 0 for a Unix socket. */
export function listen(server: Server, place: Place): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const shown = 'path' in place ? place.path : place.name;
      const why = REASONS[cause.code ?? ''] ?? `cannot be listened on: ${cause.message}`;
      const code: ErrorCode = 'SLW_LISTEN_FAILED';
      reject(new SluicewayError(code, `${shown} ${why}`, { cause }));
    });
    server.listen('path' in place ? { path: place.path } : place, () => {
      server.removeAllListeners('error');
      server.on('error', () => {
        // Out of descriptors: who comes now is not served.
      });
      const at = server.address();
      resolve(at !== null && typeof at === 'object' ? at.port : 0);
    });
  });
}

export function stop(server: Server): void {
  server.close();
  server.closeAllConnections();
}
