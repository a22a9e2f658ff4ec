// Visitors that come at a steady rate, half of them on connections that are kept.
//
// Invariant: each request ends as a success or in `failures`, with the reason. Must not know: who
// answers.

import http from 'node:http';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

export interface LoadOptions {
  readonly port: number;
  readonly host: string;
  readonly everyMs: number;
}

export class RequestLoad {
  readonly failures: string[] = [];
  sent = 0;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
  readonly #timer: NodeJS.Timeout;
  readonly #running = new Set<Promise<void>>();

  constructor(t: TestContext, { port, host, everyMs }: LoadOptions) {
    undoAfter(t, () => this.stop());
    this.#timer = setInterval(() => {
      this.sent += 1;
      const run = this.#get({ port, host }, this.sent % 2 === 0 ? this.#agent : false).catch(
        (error: unknown) => void this.failures.push(String(error)),
      );
      this.#running.add(run);
      void run.then(() => this.#running.delete(run));
    }, everyMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#running);
    this.#agent.destroy();
  }

  #get(to: { port: number; host: string }, agent: http.Agent | false): Promise<void> {
    return new Promise((resolve, reject) => {
      const options = {
        ...{ host: '127.0.0.1', port: to.port, agent, path: `/${this.sent}` },
        headers: { host: to.host },
      };
      const request = http.get(options, (response) => {
        response.resume();
        response.once('error', reject);
        response.once('end', () => {
          if (response.statusCode === 200 && response.complete) resolve();
          else reject(new Error(`status ${response.statusCode}`));
        });
      });
      request.once('error', (error) =>
        reject(new Error(`${agent === false ? 'new' : 'kept'} ${error.message}`)),
      );
    });
  }
}
