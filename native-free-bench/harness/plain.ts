// The sides without a tunnel: the service itself, directly, behind two plain relays, or nginx.
//
// Must not know: what is measured.

import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Children, findProgram, freePort, untilListens } from './children.ts';
import type { Origins, Side } from './side.ts';

/** As long as the answer of the harness's own origin. */
const PAGE = 'x'.repeat(128);

export function startOrigins(children: Children): Promise<Origins> {
  return children.fork<Origins>('origin.ts', []);
}

export function directSide({ raw, http }: Origins): Side {
  const ports = { raw, http, byHost: http };
  return { name: 'direct', version: '', ports, pids: { server: [], client: [] } };
}

export async function startRelays(children: Children, origins: Origins): Promise<Side> {
  const targets = [origins.raw, origins.http];
  const first = await children.fork<Relay>('relay.ts', targets);
  const second = await children.fork<Relay>('relay.ts', first.ports);
  const [raw = 0, http = 0] = second.ports;
  return {
    name: 'relays',
    version: process.version,
    ports: { raw, http, byHost: http },
    pids: { server: [second.pid], client: [first.pid] },
  };
}

interface Relay {
  readonly pid: number;
  readonly ports: readonly number[];
}

/** Puts every connection to `port` at a distance of `roundTripMs`; gives the port to dial. */
export function startDelay(children: Children, port: number, roundTripMs: number): Promise<number> {
  return children.fork<number>('delay.ts', [port, roundTripMs]);
}

export interface Nginx {
  readonly port: number;
  readonly version: string;
}

/**
 * Debian's nginx with one small page, kept-alive connections without a limit, no compression. One
 * process, for a worker would outlive a master that is killed.
 */
export async function startNginx(children: Children): Promise<Nginx | undefined> {
  const command = findProgram('nginx', '');
  if (command === undefined) return undefined;
  const folder = children.folder();
  const port = await freePort();
  mkdirSync(path.join(folder, 'www'));
  writeFileSync(path.join(folder, 'www/index.html'), PAGE);
  writeFileSync(
    path.join(folder, 'nginx.conf'),
    nginxConfiguration(folder, pageServer(folder, port)),
  );
  const child = children.run(command, ['-p', folder, '-c', path.join(folder, 'nginx.conf')]);
  await untilListens(port, child);
  const asked = children.run(command, ['-v']);
  await new Promise((resolve) => asked.process.once('close', resolve));
  return { port, version: /nginx\/(\S+)/.exec(asked.output())?.[1] ?? '' };
}

/** The same as a reverse proxy that ends TLS before `originPort`. */
export async function startSecureNginx(
  children: Children,
  { cert, key }: { readonly cert: string; readonly key: string },
  originPort: number,
): Promise<Side | undefined> {
  const command = findProgram('nginx', '');
  if (command === undefined) return undefined;
  const folder = children.folder();
  const port = await freePort();
  const servers = `
  upstream origin { server 127.0.0.1:${originPort}; keepalive 128; }
  ssl_certificate ${cert};
  ssl_certificate_key ${key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
    }
  }`;
  const file = path.join(folder, 'nginx.conf');
  writeFileSync(file, nginxConfiguration(folder, servers));
  const child = children.run(command, ['-p', folder, '-c', file]);
  await untilListens(port, child);
  return {
    name: 'nginx',
    version: '',
    ports: { https: port },
    pids: { server: [child.pid], client: [] },
  };
}

function nginxConfiguration(folder: string, servers: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/tmp-${name};`)
    .join(' ');
  return `
daemon off;
master_process off;
user ${os.userInfo().username};
pid ${folder}/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
  access_log off;
  gzip off;
  keepalive_requests 1000000000;
  open_file_cache max=16;
  ${temporary}
  ${servers}
}
`;
}

function pageServer(folder: string, port: number): string {
  return `server { listen 127.0.0.1:${port} backlog=4096; root ${folder}/www; }`;
}
