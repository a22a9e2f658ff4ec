// A visitor with cookies who goes where it is sent, as a browser does, and tells each step.
//
// Invariant: every host is on loopback, and has its own cookies; nothing is followed that a test
// does not ask for. Must not know: what is visited.

import http from 'node:http';

const STEPS_MAX = 20;

export interface Step {
  readonly url: string;
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly setCookies: readonly string[];
  readonly body: string;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const AS_BROWSER = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

export class CookieVisitor {
  /** By host, without the port, as browsers have them. */
  readonly cookies = new Map<string, Map<string, string>>();

  /** One request, as a browser that follows a link unless it says otherwise. */
  async ask(url: string, { method = 'GET', headers = AS_BROWSER, body = '' }: Ask = {}) {
    const { hostname, port, host, pathname, search } = new URL(url);
    const jar = this.cookies.get(hostname) ?? new Map<string, string>();
    this.cookies.set(hostname, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const step = await new Promise<Step>((resolve, reject) => {
      const request = http.request(
        {
          ...{ host: '127.0.0.1', port, method, path: `${pathname}${search}`, agent: false },
          headers: { ...headers, host, ...(cookie === '' ? {} : { cookie }) },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (piece: string) => {
            text += piece;
          });
          response.on('error', reject);
          response.on('end', () => {
            const { statusCode: status = 0, headers: got } = response;
            const setCookies = got['set-cookie'] ?? [];
            resolve({ url, status, headers: got, setCookies, body: text });
          });
        },
      );
      request.on('error', reject);
      request.end(body);
    });
    for (const line of step.setCookies) keep(jar, line);
    return step;
  }

  /** Asks, and follows redirects until `isThere`, or until there is none. */
  async follow(
    url: string,
    isThere: (url: string) => boolean = () => false,
    ask: Ask = {},
  ): Promise<Step> {
    let step = await this.ask(url, ask);
    for (let count = 0; count < STEPS_MAX; count += 1) {
      const { location } = step.headers;
      if (location === undefined) return step;
      const next = new URL(location, step.url).href;
      if (isThere(next)) return { ...step, url: next };
      step = await this.ask(next);
    }
    throw new Error(`led around in circles, to ${step.url} at last`);
  }

  /** Logs in by name in the form of oidc-provider; `isThere` ends the way. */
  async logIn(form: Step, name: string, isThere?: (url: string) => boolean): Promise<Step> {
    return this.follow(form.url, isThere, {
      method: 'POST',
      headers: { ...AS_BROWSER, 'content-type': 'application/x-www-form-urlencoded' },
      body: `prompt=login&login=${name}&password=any`,
    });
  }
}

function keep(jar: Map<string, string>, line: string): void {
  const [pair = '', ...attributes] = line.split(';');
  const equals = pair.indexOf('=');
  const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
  const isGone = attributes.some((one) => /^\s*max-age=0$/iu.test(one)) || /1970/u.test(line);
  if (isGone) jar.delete(name);
  else jar.set(name, value);
}
