// How a connection goes through a proxy: agents for Node's requests, one a dial.
//
// Invariant: what a proxy answers is never taken for an answer of the server behind it: `onAnswer`
// has the status of a CONNECT first; a dial that is given up leaves nothing behind; a certificate
// is that of the server and never of the proxy's name, and one of the proxy's that is refused is
// said to be the proxy's. Must not know: which proxy is to be taken, or what is said to the server.

import type { Agent } from 'node:http';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { attemptsWithin } from './dial-attempts.ts';
import { SluicewayError } from './errors.ts';
import { unbracketed } from './ip.ts';
import { describeTlsRefusal } from './tls-refusal.ts';

export interface ProxyOptions {
  /** `http://`, `https://` or `socks5h://`, maybe with a login. */
  readonly proxy: string;
  /** Ends the connection to the proxy while it is being made. */
  readonly signal: AbortSignal;
  /** After which it will. */
  readonly timeoutMs: number;
  /** The status of the answer to CONNECT; SOCKS has none. */
  readonly onAnswer?: (status: number) => void;
}

/** Most have no proxy, and the agents weigh 4 MB: they are loaded when they are needed. */
export async function createProxyAgent(options: ProxyOptions): Promise<Agent> {
  const { proxy, signal, onAnswer } = options;
  const attempts = attemptsWithin(options.timeoutMs);
  if (proxy.startsWith('socks')) {
    const { SocksProxyAgent } = await import('socks-proxy-agent');
    // A dial by SOCKS ends by itself after 30 s: its socket takes no signal.
    const agent = new SocksProxyAgent(proxy, { socketOptions: attempts });
    // It keeps the brackets of an IPv6 address, and would look that up as a name.
    agent.proxy.host = unbracketed(new URL(proxy).hostname);
    return agent;
  }
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  const agent = new HttpsProxyAgent(proxy, { signal, ...attempts });
  const connect = agent.connect.bind(agent);
  // It ends with the answer to CONNECT: what fails in it is never the server's TLS.
  agent.connect = (request, target) =>
    connect(request, target).catch((cause: Error) => {
      throw ofTheProxy(proxy, cause);
    });
  if (onAnswer !== undefined) {
    agent.on('proxyConnect', ({ statusCode }: { readonly statusCode: number }) => {
      onAnswer(statusCode);
    });
  }
  return agent;
}

/** Told apart here, as a certificate of the server's is refused by the same codes. */
function ofTheProxy(proxy: string, cause: NodeJS.ErrnoException): Error {
  if (describeTlsRefusal(cause) === undefined) return cause;
  const detail =
    `the certificate of the proxy ${describeProxy(proxy)} is refused here (${cause.code}): check ` +
    'its name and dates, and give its CA to Node by NODE_EXTRA_CA_CERTS';
  return new SluicewayError('SLW_DIAL_FAILED', detail, { cause });
}

/**
 * For the TLS of a request through an agent. An IP address is no server name, and the agents leave
 * out the host: Node would compare the certificate with the name of the proxy, or `localhost`.
 */
export function identityBehindProxy(url: string) {
  const host = unbracketed(new URL(url).hostname);
  return {
    checkServerIdentity: (_name: string, cert: PeerCertificate) => checkServerIdentity(host, cert),
  };
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
