// `sluiceway demo`: a server, a client and a sample site on this machine, to see it work.
//
// Invariant: everything listens on loopback, on ports the system chose; the token is made for this
// run and travels by the environment, never by argv; whatever was started is ended again, however
// the demonstration ends. Must not know: how a tunnel works.

import { randomBytes } from 'node:crypto';
import { systemClock } from '../../base/clock.ts';
import { http } from '../../base/http-modules.ts';
import { Masked } from '../../base/masked.ts';
import { readBuildInfo } from '../build-info.ts';
import { Child } from '../child.ts';
import { DemoSite, SITE_MARK } from '../demo-site.ts';
import { EXIT } from '../exit-codes.ts';
import { answer, complain, exitAnswered } from '../output.ts';
import { askForText } from './status.ts';

const HOST = 'demo.localhost';
const LOOPBACK = '127.0.0.1';
/** For everything to be up. Guess: many times what a slow machine takes. */
const START_MS_MAX = 30_000;

/** Everything is on this machine, and plain. */
const NO_TLS = { autoTls: 'off', fingerprints: [], knownServers: '' } as const;

interface Demo {
  readonly children: Child[];
  readonly site: DemoSite;
}

interface Started {
  readonly controlPort: number;
  readonly httpPort: number;
  readonly adminPort: number;
  readonly token: string;
}

export async function runDemo({ check }: { readonly check: boolean }): Promise<never> {
  const demo: Demo = { children: [], site: new DemoSite() };
  let exitCode: number = EXIT.ok;
  try {
    const interrupted = nextInterrupt();
    const started = await within(start(demo), interrupted);
    if (started !== undefined) {
      answer(await describe(started));
      if (check) await checkSite(started.httpPort);
      else await Promise.race([interrupted, ...demo.children.map(({ ended }) => ended)]);
    }
  } catch (error) {
    exitCode = EXIT.failure;
    complain(error instanceof Error ? error.message : String(error));
  }
  // A client that outlives its server would log that it lost it.
  for (const child of demo.children.reverse()) await child.stop();
  demo.site.close();
  return exitAnswered(exitCode);
}

async function start({ children, site }: Demo): Promise<Started> {
  const token = randomBytes(24).toString('base64url');
  const env = childEnvironment(token);
  const sitePort = await site.listen();
  const server = new Child({
    name: 'server',
    env,
    args: [
      ...['server', '--log-format', 'json', '--shards', '2', '--tcp-addr', LOOPBACK],
      ...['--control-addr', `${LOOPBACK}:0`, '--http-addr', `${LOOPBACK}:0`],
      ...['--admin-addr', `${LOOPBACK}:0`, '--drain-delay', '0s', '--drain-timeout', '1s'],
    ],
  });
  children.push(server);
  const [controlPort, httpPort, adminPort] = await Promise.all([
    listeningPort(server, 'control'),
    listeningPort(server, 'http'),
    listeningPort(server, 'admin'),
  ]);
  const client = new Child({
    name: 'client',
    env,
    args: [
      ...['client', '--log-format', 'json', '--url', `ws://${LOOPBACK}:${controlPort}`],
      ...['--upstream', `${HOST}=http://${LOOPBACK}:${sitePort}`, '--drain-timeout', '1s'],
    ],
  });
  children.push(client);
  await client.line((line) => line.includes(HOST) && line.includes(' -> '));
  return { controlPort, httpPort, adminPort, token };
}

/** Ours without what would configure the children, plus the token. */
function childEnvironment(token: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICEWAY_'));
  return { ...Object.fromEntries(own), SLUICEWAY_TOKEN: token };
}

async function listeningPort(server: Child, name: string): Promise<number> {
  const line = await server.line(
    (text) => text.includes('"msg":"listening"') && text.includes(`"name":"${name}"`),
  );
  return Number(/"address":"[^"]*:(\d+)"/.exec(line)?.[1]);
}

async function describe({ controlPort, httpPort, adminPort, token }: Started): Promise<string> {
  const url = `ws://${LOOPBACK}:${controlPort}/connect`;
  const status = await askForText(
    {
      url,
      token: new Masked(token),
      trust: NO_TLS,
      json: false,
      watch: false,
      local: false,
      ready: false,
      adminAddr: 'off',
      watchIntervalMs: 2000,
      wide: false,
    },
    readBuildInfo(),
  );
  const site = `http://${HOST}:${httpPort}`;
  return [
    'A server, a client and a sample site are running on this machine.',
    '',
    `  open   ${site}`,
    `  or     curl ${site}`,
    `  watch  http://${LOOPBACK}:${adminPort}`,
    '',
    status,
    'Stop with Ctrl-C.',
  ].join('\n');
}

/** Fetches the page through the tunnel, as a visitor would. */
function checkSite(port: number): Promise<void> {
  const options = { host: LOOPBACK, port, headers: { host: `${HOST}:${port}` }, agent: false };
  return new Promise((resolve, reject) => {
    const request = http.get(options, (response) => {
      let page = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        page += piece;
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200 && page.includes(SITE_MARK)) resolve();
        else reject(new Error(`the tunnel answered ${response.statusCode}, not with the site`));
      });
    });
    request.setTimeout(START_MS_MAX, () => request.destroy(new Error('the tunnel is silent')));
    request.on('error', reject);
  });
}

function nextInterrupt(): Promise<void> {
  return new Promise((resolve) => {
    // SIGHUP: the terminal was closed, and nobody is there to stop what was started.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => resolve());
    }
  });
}

/** What `work` gives, undefined when interrupted before, or an error when it takes too long. */
function within<T>(work: Promise<T>, interrupted: Promise<void>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(START_MS_MAX, () =>
      reject(new Error('the demonstration was not up in time')),
    );
    interrupted.then(() => resolve(undefined), reject);
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}
