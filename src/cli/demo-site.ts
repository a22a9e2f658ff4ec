// The sample site of the demonstration: one page, a live counter, and what the upstream received.
//
// Invariant: listens on loopback only, reflects headers escaped, and holds no more than
// LISTENERS_MAX event streams. Must not know: that a tunnel leads to it.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../base/clock.ts';
import { escapeHtml } from '../base/html.ts';
import { http } from '../base/http-modules.ts';

/** Event streams at once. Guess: many browsers' tabs. */
const LISTENERS_MAX = 100;
const TICK_MS = 1000;
/** Stands in the page, so that a check can tell it from an error page. */
export const SITE_MARK = 'This page came through a tunnel.';

export class DemoSite {
  readonly #server: Server;
  readonly #listeners = new Set<ServerResponse>();
  #ticks = 0;

  constructor() {
    this.#server = http.createServer((request, response) => this.#answer(request, response));
  }

  /** Listens and gives the port. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', () => {
        this.#tick();
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.url === '/events' && this.#listeners.size < LISTENERS_MAX) {
      this.#listeners.add(response);
      response.on('close', () => this.#listeners.delete(response));
      const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' };
      response.writeHead(200, headers).write(`data: ${this.#ticks}\n\n`);
    } else if (request.url === '/') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end(renderPage(request));
    } else {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('not on this site\n');
    }
  }

  #tick(): void {
    this.#ticks += 1;
    for (const listener of this.#listeners) {
      // A browser that does not read misses ticks instead of piling them up.
      if (listener.writableLength === 0) listener.write(`data: ${this.#ticks}\n\n`);
    }
    systemClock.after(TICK_MS, () => this.#tick());
  }
}

function renderPage(request: IncomingMessage): string {
  const rows = Object.entries(request.headers)
    .map(([name, value]) => `<tr><th>${escapeHtml(name)}<td>${escapeHtml(String(value))}`)
    .join('\n');
  return PAGE.replace('<!--headers-->', () => rows);
}

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sluiceway demo</title>
<style>
  :root { color-scheme: light dark; --ink: #1b2a33; --paper: #f4f7f8; --card: #fff;
    --line: #d5dfe3; --water: #0b7285; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #dbe7ec; --paper: #10181c; --card: #18242a; --line: #2b3b43; --water: #66d9e8; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: var(--ink);
    background: var(--paper); }
  main { max-width: 44rem; margin: 0 auto; padding: 3rem 1.25rem; }
  h1 { margin: 0; font-size: 2.25rem; letter-spacing: -0.02em; }
  h1 span { color: var(--water); }
  section { margin-top: 1.5rem; padding: 1.25rem 1.5rem; background: var(--card);
    border: 1px solid var(--line); border-radius: 0.75rem; }
  h2 { margin: 0 0 0.5rem; font-size: 1rem; }
  #count { font: 600 3rem/1.1 ui-monospace, monospace; color: var(--water); }
  .scroll { overflow-wrap: anywhere; }
  table { border-collapse: collapse; font: 0.85rem/1.5 ui-monospace, monospace; }
  th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; }
  th { font-weight: 600; white-space: nowrap; }
</style>
<main>
  <h1>It <span>flows</span>.</h1>
  <p>${SITE_MARK} Your request went to the exit node, down a WebSocket link to the client, and
  from there to this small site on another port.</p>
  <section>
    <h2>Live, as server-sent events</h2>
    <div id="count" role="status">…</div>
    <div>seconds since the site was started, one event each</div>
  </section>
  <section>
    <h2>What the site received</h2>
    <div class="scroll"><table>
<!--headers-->
    </table></div>
  </section>
</main>
<script>
  const count = document.querySelector('#count');
  new EventSource('/events').onmessage = (event) => { count.textContent = event.data; };
</script>
</html>
`;
