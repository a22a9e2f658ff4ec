// How a connection goes through a proxy: agents for Node's requests, one a dial.
//
// Invariant: what a proxy answers is never taken for an answer of the server behind it: `onAnswer`
// has the status of a CONNECT first; a dial that is given up leaves nothing behind. Must not know:
// which proxy is to be taken, or what is said to the server.

import type { Agent } from 'node:http';

export interface ProxyOptions {
  /** `http://`, `https://` or `socks5h://`, maybe with a login. */
  readonly proxy: string;
  /** Ends the connection to the proxy while it is being made. */
  readonly signal: AbortSignal;
  /** The status of the answer to CONNECT; SOCKS has none. */
  readonly onAnswer?: (status: number) => void;
}

/** Most have no proxy, and the agents weigh 4 MB: they are loaded when they are needed. */
export async function createProxyAgent(options: ProxyOptions): Promise<Agent> {
  const { proxy, signal, onAnswer } = options;
  if (proxy.startsWith('socks')) {
    const { SocksProxyAgent } = await import('socks-proxy-agent');
    // A dial by SOCKS ends by itself after 30 s: its socket takes no signal.
    return new SocksProxyAgent(proxy);
  }
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  const agent = new HttpsProxyAgent(proxy, { signal });
  if (onAnswer !== undefined) {
    agent.on('proxyConnect', ({ statusCode }: { readonly statusCode: number }) => {
      onAnswer(statusCode);
    });
  }
  return agent;
}

/** For people: where it is, without its login. */
export function describeProxy(proxy: string): string {
  const { protocol, host } = new URL(proxy);
  return `${protocol}//${host}`;
}

/** What a CONNECT that was refused asks of whoever runs the client. */
export function describeProxyAnswer(proxy: string, status: number): string {
  const what = `the proxy ${describeProxy(proxy)} answered ${status}`;
  if (status === 407) return `${what}: give it a login, http://USER:PASSWORD@HOST:PORT`;
  if (status === 403) return `${what}: it lets nobody through to this host and port`;
  return `${what}: can it reach the server?`;
}
