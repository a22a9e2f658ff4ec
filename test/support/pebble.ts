// Pebble, the ACME test server, with a DNS server that sends every name to loopback.
//
// Owns both processes and their files. Invariant: ports are free ones; its roots are new with each
// start, as are accounts. Must not know: who orders.

import { writeFileSync } from 'node:fs';
import { get } from 'node:https';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { CERT, KEY } from '../config/tls-pair.ts';
import { freePort } from './free-port.ts';
import { startProcess, type TestProcess } from './process.ts';
import { requirePrograms, scratchFolder } from './programs.ts';

export interface PebbleOptions {
  /** Of 100 good nonces, how many are refused. */
  readonly nonceRejects?: number;
  /** Longest delay before a challenge is looked at. */
  readonly sleepSeconds?: number;
  readonly validitySeconds?: number;
}

export interface Pebble {
  readonly directory: string;
  /** Who signed Pebble's own certificate. */
  readonly caFile: string;
  readonly httpPort: number;
  readonly tlsPort: number;
  readonly dnsManagementPort: number;
  process: TestProcess;
  /** Again, after its process was ended; everything that it knew is gone. */
  restart(): Promise<void>;
  /** The root that its certificates lead to, PEM. */
  root(): Promise<string>;
}

/** Undefined: it is not installed, and the test is marked skipped. */
export async function startPebble(
  t: TestContext,
  options: PebbleOptions = {},
): Promise<Pebble | undefined> {
  const programs = requirePrograms(t, ['pebble', 'pebble-challtestsrv']);
  if (programs === undefined) return undefined;
  const folder = scratchFolder(t);
  const [port, managementPort, httpPort, tlsPort, dnsPort, dnsManagementPort] = [
    ...[await freePort(), await freePort(), await freePort()],
    ...[await freePort(), await freePort(), await freePort()],
  ] as [number, number, number, number, number, number];
  const file = (name: string, text: string): string => {
    const at = path.join(folder, name);
    writeFileSync(at, text);
    return at;
  };
  const caFile = file('pebble.crt', CERT);
  const config = file(
    'pebble.json',
    JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${managementPort}`,
        certificate: caFile,
        privateKey: file('pebble.key', KEY),
        httpPort,
        tlsPort,
        ocspResponderURL: '',
        externalAccountBindingRequired: false,
        certificateValidityPeriod: options.validitySeconds ?? 90 * 24 * 3600,
      },
    }),
  );
  await startDns(t, programs['pebble-challtestsrv'], dnsPort, dnsManagementPort);
  const start = async (): Promise<TestProcess> => {
    const pebble = startProcess(t, {
      name: 'pebble',
      command: programs.pebble,
      args: ['-config', config, '-dnsserver', `127.0.0.1:${dnsPort}`],
      env: {
        PATH: process.env.PATH,
        PEBBLE_WFE_NONCEREJECT: String(options.nonceRejects ?? 0),
        PEBBLE_VA_SLEEPTIME: String(options.sleepSeconds ?? 0),
        ...(options.sleepSeconds === undefined ? { PEBBLE_VA_NOSLEEP: '1' } : {}),
        PEBBLE_AUTHZREUSE: '0',
      },
    });
    await pebble.line('listening', (line) => line.includes('ACME directory available'));
    return pebble;
  };
  const pebble: Pebble = {
    directory: `https://localhost:${port}/dir`,
    caFile,
    httpPort,
    tlsPort,
    dnsManagementPort,
    process: await start(),
    root: () => fetchText(`https://localhost:${managementPort}/roots/0`),
    restart: async () => {
      pebble.process = await start();
    },
  };
  return pebble;
}

async function startDns(
  t: TestContext,
  command: string,
  port: number,
  managementPort: number,
): Promise<void> {
  const dns = startProcess(t, {
    name: 'challtestsrv',
    command,
    args: [
      ...['-dns01', `127.0.0.1:${port}`, '-management', `127.0.0.1:${managementPort}`],
      ...['-defaultIPv6', '', '-http01', '', '-https01', '', '-tlsalpn01', ''],
    ],
  });
  await dns.line('DNS', (line) => line.includes('Starting management server'));
}

function fetchText(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { ca: CERT, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece: string) => {
        text += piece;
      });
      answer.on('end', () => resolve(text));
    }).on('error', reject);
  });
}
