// The connections of a file server, for a drain that waits for those that have something to say.
//
//   fresh --request--> answering --all answers taken--> idle --request--> answering
//
// Invariant: once it drains, no idle one is left, and each answer says that it is the last. An
// answer is under way until the kernel has all of it: Node's own close() cuts those that have only
// been given to it, and leaves those that become idle later. Must not know: what is answered.

import type { Server, ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';

export class Connections {
  readonly #server: Server;
  /** The answers that are under way on each. */
  readonly #answers = new Map<Socket, number | 'fresh'>();
  #state: 'serving' | 'draining' = 'serving';

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#answers.set(socket, 'fresh');
      socket.once('close', () => this.#answers.delete(socket));
    });
    // Before whoever answers.
    server.prependListener('request', ({ socket }, response) => this.#begin(socket, response));
  }

  /** Takes no more connections; resolves when nothing is sent any more. */
  drain(): Promise<void> {
    this.#state = 'draining';
    return new Promise((resolve) => {
      NetServer.prototype.close.call(this.#server, () => resolve());
      for (const [socket, answers] of this.#answers) if (answers === 0) socket.destroySoon();
    });
  }

  #begin(socket: Socket, response: ServerResponse): void {
    const answers = this.#answers.get(socket);
    this.#answers.set(socket, typeof answers === 'number' ? answers + 1 : 1);
    if (this.#state === 'draining') response.setHeader('connection', 'close');
    response.once('close', () => this.#end(socket));
  }

  #end(socket: Socket): void {
    const answers = this.#answers.get(socket);
    if (typeof answers !== 'number') return;
    this.#answers.set(socket, answers - 1);
    if (this.#state === 'draining' && answers === 1) socket.destroySoon();
  }
}
