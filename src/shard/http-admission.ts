// What becomes of a request before it is carried: which tunnel it is for, and whether it may.
//
//   challenge? --> allow lists --> rates --> right name? --> redirect? --> a login's own path?
//     --> a tunnel? --> a client? --> logged in?
//
// Invariant: the first that says no, or answers, has the last word; nothing of a login passes over
// plain HTTP where HTTPS is asked for; while a tunnel has no client, who would say what it asks
// for, nobody is let in; a request of the exit node's own is never a tunnel's. Must not know:
// sockets, and how anything is answered.

import type { ErrorCode } from '../base/errors.ts';
import { mayHoldOwnCookie } from '../http/cookie.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import type { LoginGain } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorOf } from '../http/trusted-forwarding.ts';
import type { HttpContext } from './http-context.ts';
import type { FrontAnswer } from './http-front.ts';
import type { LoginAnswer } from './login-answers.ts';
import { type Verdict, VisitorGate } from './visitor-gate.ts';

/** To the tunnel; or why not; or what the exit node answers itself, at once or when it knows. */
export type Admission = undefined | ErrorCode | FrontAnswer | Promise<LoginAnswer>;

export class HttpAdmission {
  /** Whose the request at hand is; undefined: nobody's, or the exit node's own. */
  tunnel: string | undefined;
  readonly #context: HttpContext;
  readonly #origin: VisitorOrigin;
  readonly #serverName: string | undefined;
  /** Made when a login, or a cookie of the exit node, first matters. */
  #gate: VisitorGate | undefined;

  /** `serverName`: of the TLS handshake; the Host of every request must be the same. */
  constructor(context: HttpContext, origin: VisitorOrigin, serverName: string | undefined) {
    this.#context = context;
    this.#origin = origin;
    this.#serverName = serverName;
  }

  /** What the request at hand gains and loses by a login. */
  get gain(): LoginGain | undefined {
    return this.#gate?.gain;
  }

  /** Where nothing is said, there is a tunnel. */
  judge(head: RequestParser, nowMs: number): Admission {
    const { router, gate, front } = this.#context;
    const challenge = front?.answerChallenge(head, this.#origin);
    const isMisdirected = this.#serverName !== undefined && head.host !== this.#serverName;
    const isOurs = isMisdirected || challenge !== undefined;
    const tunnel = isOurs ? undefined : router.matchHost(head.host, head);
    this.tunnel = tunnel;
    if (challenge !== undefined) return challenge;
    const visitor = visitorOf(head, this.#origin);
    const refusal = this.#denial(visitor, tunnel) ?? gate?.refusal(visitor, tunnel, nowMs);
    if (refusal !== undefined) return refusal;
    if (isMisdirected) return 'SLW_HTTP_MISDIRECTED';
    const away = tunnel === undefined ? undefined : front?.redirect(head, this.#origin);
    return away ?? this.#loginAnswer(head, tunnel);
  }

  /** Of a request that is sent again: whoever serves the tunnel by now may ask for more. */
  judgeAgain(head: RequestParser): ErrorCode | undefined {
    const { tunnel } = this;
    if (tunnel === undefined) return 'SLW_HTTP_NO_TUNNEL';
    const verdict =
      this.#denial(visitorOf(head, this.#origin), tunnel) ?? this.#verdict(head, tunnel);
    // Too late to send it anywhere else.
    return typeof verdict === 'object' ? 'SLW_HTTP_LOGIN_BROWSER' : verdict;
  }

  /** By the exit node's list, if a trusted proxy came for the visitor, and by the tunnel's. */
  #denial(visitor: string, tunnel: string | undefined): ErrorCode | undefined {
    const { lists, router } = this.#context;
    // Any other visitor was judged when it came.
    const isListed = this.#origin.trusted === undefined || lists?.allowsVisitor(visitor) !== false;
    if (isListed && (tunnel === undefined || router.admits(tunnel, visitor))) return undefined;
    lists?.deny(isListed ? 'tunnels' : 'visitors');
    return 'SLW_HTTP_DENIED';
  }

  /** Is the request about a login, or does it have to wait for one? */
  #loginAnswer(head: RequestParser, tunnel: string | undefined): Admission {
    const { logins } = this.#context;
    const answer = logins?.answer(head, this.#origin);
    if (answer !== undefined) {
      this.tunnel = undefined;
      return answer;
    }
    if (tunnel === undefined) return 'SLW_HTTP_NO_TUNNEL';
    if (!this.#context.router.isServed(tunnel)) return 'SLW_STREAM_NO_LINK';
    const verdict = this.#verdict(head, tunnel);
    if (verdict === undefined || typeof verdict === 'string') return verdict;
    if (logins === undefined) return 'SLW_HTTP_LOGIN_UNAVAILABLE';
    return logins.begin(head, this.#origin, { ...verdict, tunnel });
  }

  #verdict(head: RequestParser, tunnel: string): Verdict {
    const logins = this.#context.router.loginsOf(tunnel);
    if (this.#gate === undefined) {
      if (logins === undefined && !mayHoldOwnCookie(head)) return undefined;
      this.#gate = new VisitorGate(this.#context, this.#origin);
    }
    return this.#gate.judge(head, tunnel, logins);
  }
}
