// One GET to a server for `sluiceway status`, and what its failure means.
//
// Invariant: the certificate is always verified, whatever the environment says; the answer is
// bounded in size and time, and what a proxy answers is not the server's. Must not
// know: what is asked for, or how it is shown.

import type { IncomingMessage } from 'node:http';
import { attemptsWithin } from '../../base/dial-attempts.ts';
import { describeDialFailure } from '../../base/dial-failure.ts';
import { SluicewayError } from '../../base/errors.ts';
import { http, https } from '../../base/http-modules.ts';
import type { Masked } from '../../base/masked.ts';
import { trustIn } from '../../base/own-authorities.ts';
import {
  createProxyAgent,
  describeProxyAnswer,
  identityBehindProxy,
} from '../../base/proxy-agent.ts';
import { describeTlsRefusal } from '../../base/tls-refusal.ts';
import type { DialTrust } from '../../client/server-trust.ts';
import { inWords } from '../output.ts';

/** Contract: exit code 4 after this long. */
const TIMEOUT_MS = 10_000;
/** Guess: room for ten thousand clients. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

export interface Question {
  readonly url: URL;
  readonly trust: DialTrust;
  readonly token?: Masked;
  readonly timeoutMs?: number;
}

/** The body of a 200; rejects with a SluicewayError for all else. */
export async function ask({
  url,
  trust,
  token,
  timeoutMs = TIMEOUT_MS,
}: Question): Promise<string> {
  const isTls = url.protocol === 'https:';
  const signal = AbortSignal.timeout(timeoutMs);
  const { proxy } = trust;
  let proxyStatus = 200;
  const onAnswer = (status: number): void => {
    proxyStatus = status;
  };
  const way =
    proxy === undefined
      ? {}
      : {
          agent: await createProxyAgent({ proxy, signal, onAnswer, timeoutMs }),
          ...identityBehindProxy(url.href),
        };
  const options = {
    headers: {
      accept: 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
    },
    signal,
    ...attemptsWithin(timeoutMs),
    // Said here because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise decide.
    ...(isTls ? { rejectUnauthorized: true } : {}),
    ...trustIn(trust.ca),
    ...trust.own,
    ...way,
  };
  return new Promise((resolve, reject) => {
    const request = (isTls ? https : http).request(url, options);
    const fail = (cause: Error): void => {
      reject(signal.aborted ? timedOut(url, timeoutMs, cause) : unreachable(url, cause, proxy));
    };
    request.on('error', fail);
    request.on('response', (response) => {
      response.on('error', fail);
      if (proxy !== undefined && proxyStatus !== 200) {
        response.resume();
        reject(unasked(url, describeProxyAnswer(proxy, proxyStatus)));
      } else if (response.statusCode === 200) {
        readText(response, resolve);
      } else {
        response.resume();
        reject(refusal(response.statusCode ?? 0, url));
      }
    });
    request.end();
  });
}

function readText(response: IncomingMessage, onText: (text: string) => void): void {
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (piece: string) => {
    text += piece;
    if (text.length > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too large'));
  });
  response.on('end', () => onText(text));
}

function refusal(statusCode: number, url: URL): SluicewayError {
  if (statusCode === 403) {
    const why = 'this wants a token with "admin: true" in its tokens file';
    return new SluicewayError('SLW_AUTH_REFUSED', `${url.host} answered 403: ${why}`);
  }
  if (statusCode === 401) {
    return new SluicewayError(
      'SLW_AUTH_REFUSED',
      `${url.host} refused the token; check that it is the one the server was started with`,
    );
  }
  return new SluicewayError('SLW_DIAL_FAILED', `${url.href} answered ${statusCode}, not 200`);
}

function timedOut(url: URL, timeoutMs: number, cause: Error): SluicewayError {
  const text = `${url.host} did not answer within ${inWords(timeoutMs)}`;
  return new SluicewayError('SLW_TIMEOUT', text, { cause });
}

function unreachable(url: URL, cause: Error, proxy: string | undefined): SluicewayError {
  const refused = describeTlsRefusal(cause);
  if (refused !== undefined) {
    return new SluicewayError('SLW_TLS_REFUSED', `${url.host}: ${refused}`, { cause });
  }
  return unasked(url, describeDialFailure(cause, url.href, proxy), cause);
}

function unasked(url: URL, why: string, cause?: Error): SluicewayError {
  return new SluicewayError('SLW_DIAL_FAILED', `cannot ask ${url.host}: ${why}`, { cause });
}
