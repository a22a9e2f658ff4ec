// Connections of one of Node's HTTP servers, and who of them is closed with the listener.
//
//   come --request--> asking --answered--> idle --request--> asking …       upgraded: not here
//   the listener closes: idle ones are closed at once, all others after CALLER_MS_MAX
//
// Node closes those that have just come as well, whose request may be on its way: their callers
// would see a reset, for which a client backs off and a balancer takes the whole server for dead.
//
// Invariant: whoever was accepted is answered, unless it says nothing for too long; nobody outlives
// the listener for long. Must not know: what is asked, or why the listener closes.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from './clock.ts';

/** For a handshake, a head, and an answer, 10 s each: Node looks at no time any more. */
export const CALLER_MS_MAX = 30_000;

/** With TLS a connection is there when it has shaken hands. */
type Arrival = 'connection' | 'secureConnection';

export class HttpCallers {
  readonly #server: Server;
  /** With the answer to what each asked last; undefined: it has asked nothing yet. */
  readonly #answers = new Map<Socket, ServerResponse | undefined>();

  constructor(server: Server, arrival: Arrival, clock: Clock) {
    this.#server = server;
    server.on(arrival, (socket: Socket) => {
      this.#answers.set(socket, undefined);
      socket.once('close', () => this.#answers.delete(socket));
    });
    server.on('request', (request, response) => this.#onRequest(request, response));
    // Node calls it as the listener closes.
    server.closeIdleConnections = () => {
      this.#close((answer) => answer?.writableFinished === true);
      clock.after(CALLER_MS_MAX, () => this.#close(() => true));
    };
  }

  /**
   * It is no caller any more. Told, and not heard: with a listener for upgrades Node answers none
   * of them by itself.
   */
  onUpgrade({ socket }: IncomingMessage): void {
    this.#answers.delete(socket);
  }

  #onRequest({ socket }: IncomingMessage, response: ServerResponse): void {
    this.#answers.set(socket, response);
    // What it asks next is for whoever listens then.
    if (!this.#server.listening) response.setHeader('connection', 'close');
  }

  #close(isOver: (answer: ServerResponse | undefined) => boolean): void {
    for (const [socket, answer] of [...this.#answers]) if (isOver(answer)) socket.destroy();
  }
}
