// Requests on a target: by autocannon as fast as they are answered, or by Node's own client at a
// fixed rate and over TLS.
//
// Invariant: a certificate is always verified, which autocannon cannot do; an answer counts when it
// is complete and its status from 200 to 399: an interim one is none. Ceiling of one thread: some
// 30,000 requests a second by autocannon, 10,000 by Node's client. Must not know: rounds, reports.

import { Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import autocannon from 'autocannon';
import { dialsItself, type OutSince } from './autocannon-client.ts';
import { startPace } from './paced-line.ts';
import { headerLines, requestBytes, serverName } from './request-head.ts';
import type { Running, TargetLoad } from './running.ts';
import type { Tally } from './tally.ts';

/** A target that needs longer is as good as silent; what others' generators take. */
export const ANSWER_MS_MAX = 10_000;
/** It is stopped long before. */
const LONGEST_S = 3_600;

export function startRequests(load: TargetLoad, tally: Tally): Running {
  const isByNode = load.perSecond > 0 || load.url.protocol === 'https:';
  return isByNode ? startPacedRequests(load, tally) : startAutocannon(load, tally);
}

function startAutocannon(load: TargetLoad, tally: Tally): Running {
  const outs: OutSince[] = [];
  const options = { request: requestBytes(load), onBytes: (bytes: number) => tally.moved(bytes) };
  const instance = autocannon(
    {
      url: load.url.href,
      connections: load.connections,
      duration: LONGEST_S,
      timeout: ANSWER_MS_MAX / 1000,
      setupClient: (client) => outs.push(dialsItself(client, options)),
    },
    () => undefined,
  );
  const over = new Promise<void>((resolve) => instance.once('done', () => resolve()));
  instance.on('response', (_client, status, _bytes, ms) => {
    if (isWell(status)) tally.answeredIn(ms);
    else tally.failed(`status ${status}`);
  });
  instance.on('reqError', (error) => tally.failed(reasonOf(error)));
  return {
    tellOut: () => {
      for (const outSince of outs) {
        const sentMs = outSince();
        if (sentMs !== undefined) tally.out(sentMs, sentMs);
      }
    },
    stop: async () => {
      // Part of its public interface, and missing in its types.
      (instance as unknown as { stop(): void }).stop();
      await over;
    },
  };
}

function startPacedRequests(load: TargetLoad, tally: Tally): Running {
  const { connections, perSecond } = load;
  // One for each line: of an agent with many sockets Node takes the one that was used last.
  const onBytes = (bytes: number): void => tally.moved(bytes);
  const asks = Array.from({ length: connections }, () => asker(load, onBytes));
  const pace = startPace({
    ...{ connections, perSecond, tally },
    send: (index, line) => {
      asks[index]?.ask(
        (status) => {
          if (isWell(status)) line.answered();
          else line.failed(`status ${status}`);
        },
        (error) => line.failed(reasonOf(error)),
      );
    },
  });
  return {
    tellOut: pace.stop,
    stop: async () => {
      for (const ask of asks) ask.close();
    },
  };
}

/** Nobody has asked for another protocol (101). */
export function isWell(status: number): boolean {
  return status >= 200 && status < 400;
}

/** One request on a connection of its own: its status, or an error, such as of one without end. */
export async function probe(load: TargetLoad, withinMs = ANSWER_MS_MAX): Promise<number> {
  const ask = asker(load, () => undefined);
  const ended = Promise.withResolvers<number>();
  const timer = setTimeout(() => ended.reject(new SilentError()), withinMs);
  try {
    ask.ask(ended.resolve, ended.reject);
    return await ended.promise;
  } finally {
    clearTimeout(timer);
    ask.close();
  }
}

interface Asker {
  /** Calls exactly one of the two. */
  ask(onDone: (status: number) => void, onError: (error: Error) => void): void;
  close(): void;
}

/** Asks over one connection; bytes are told as they come, for an answer may take rounds. */
function asker(load: TargetLoad, onBytes: (bytes: number) => void): Asker {
  const { url, ca } = load;
  const isSecure = url.protocol === 'https:';
  const keep = { keepAlive: true, maxSockets: 1, noDelay: true };
  // Said here because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise decide.
  const agent = isSecure
    ? new TlsAgent({ ...keep, rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) })
    : new PlainAgent(keep);
  const options = {
    ...{ agent, timeout: ANSWER_MS_MAX },
    // Names and values in turn; Node joins what is in an object.
    headers: headerLines(load).flat(),
    ...(isSecure ? { servername: serverName(load) } : {}),
  };
  const start = isSecure ? tlsRequest : plainRequest;
  return {
    ask: (onDone, onError) => {
      let isTold = false;
      // A body that is cut is an error of the request and of the response.
      const tellOnce = (tell: () => void): void => {
        if (isTold) return;
        isTold = true;
        tell();
      };
      const fail = (error: Error): void => tellOnce(() => onError(error));
      const request = start(url, options, (response) => {
        response.on('data', (piece: Buffer) => onBytes(piece.length));
        response.on('error', fail);
        response.on('end', () => tellOnce(() => onDone(response.statusCode ?? 0)));
      });
      // Without a listener Node ends the connection, and tells nobody.
      request.on('upgrade', ({ statusCode = 0 }, socket) => {
        socket.destroy();
        tellOnce(() => onDone(statusCode));
      });
      request.on('timeout', () => request.destroy(new SilentError()));
      request.on('error', fail);
      request.end();
    },
    close: () => agent.destroy(),
  };
}

/** Nothing was heard for ANSWER_MS_MAX, or no end of what was. */
export class SilentError extends Error {
  constructor() {
    super(`no answer within ${ANSWER_MS_MAX / 1000} s`);
  }
}

/** The code where there is one: messages hold addresses and differ each time. */
export function reasonOf(error: Error & { readonly code?: string }): string {
  return error.code ?? error.message;
}
