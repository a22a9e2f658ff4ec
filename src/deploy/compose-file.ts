// A Compose file for a server or a client: one service of the image, with as little as it needs.
//
// Invariant: secrets are files beside it that it names; the root is read-only and no capability is
// left; ports are those of the configuration. Must not know: which options there are.

import { stringify } from 'yaml';
import type { GivenConfig } from '../config/config.ts';
import { type Plan, type PlannedFile, planDeployment } from './plan.ts';
import { type ExposedPort, publishable, type Reach, reachOf } from './reach.ts';

export interface ComposeOptions {
  readonly name: string;
  readonly image: string;
}

/** Of the image: the state folder, and who runs in it (docker/Dockerfile). */
export const IMAGE_STATE_FOLDER = '/var/lib/sluiceway';
export const IMAGE_USER = 65_532;

export function composeFile(given: GivenConfig, { name, image }: ComposeOptions): string {
  const plan = planDeployment(given, { stateFolder: IMAGE_STATE_FOLDER, place: placeOf });
  const reach = publishable(reachOf(given));
  const usesHost = plan.command === 'client' && reach.usesLoopback;
  const service = {
    image,
    command: [plan.command, ...plan.args.flat()].map(escapeText),
    init: true,
    read_only: true,
    cap_drop: ['ALL'],
    security_opt: ['no-new-privileges:true'],
    ulimits: { nofile: 1_048_576 },
    restart: 'unless-stopped',
    stop_grace_period: `${reach.stopSeconds}s`,
    ...networkOf(reach, usesHost),
    ...(plan.variables.length === 0 ? {} : { env_file: [`./${name}.env`] }),
    ...mountsOf(plan, reach),
    ...healthOf(plan, reach),
  };
  const secrets = Object.fromEntries(
    plan.files.filter(({ kind }) => kind !== 'folder').map((file) => [file.name, secretOf(file)]),
  );
  const body = {
    services: { [name]: service },
    ...(Object.keys(secrets).length === 0 ? {} : { secrets }),
    ...(reach.keepsState ? { volumes: { state: {} } } : {}),
  };
  return `${comments(plan, reach, name).join('\n')}\n${stringify(body, { lineWidth: 0 })}`;
}

function placeOf(file: PlannedFile): string {
  return file.kind === 'folder' ? `/etc/sluiceway/${file.name}` : `/run/secrets/${file.name}`;
}

/** Compose takes a dollar sign for a variable. */
function escapeText(text: string): string {
  return text.replaceAll('$', '$$$$');
}

function networkOf({ ports, needsLowPorts }: Reach, usesHost: boolean) {
  if (usesHost) return { network_mode: 'host' };
  return {
    ...(ports.length === 0 ? {} : { ports: ports.filter(({ port }) => port !== 0).map(publish) }),
    ...(needsLowPorts ? { sysctls: { 'net.ipv4.ip_unprivileged_port_start': 0 } } : {}),
  };
}

function publish({ port, protocol }: ExposedPort): string {
  return `${port}:${port}${protocol === 'udp' ? '/udp' : ''}`;
}

function mountsOf({ files }: Plan, { keepsState }: Reach) {
  const folders = files.filter(({ kind }) => kind === 'folder');
  const volumes = [
    ...(keepsState ? [`state:${IMAGE_STATE_FOLDER}`] : []),
    ...folders.map((file) => `${escapeText(relative(file))}:${placeOf(file)}:ro`),
  ];
  const names = files.filter(({ kind }) => kind !== 'folder').map(({ name }) => name);
  return {
    ...(volumes.length === 0 ? {} : { volumes }),
    ...(names.length === 0 ? {} : { secrets: names }),
  };
}

function secretOf(file: PlannedFile) {
  return { file: escapeText(relative(file)) };
}

/** Compose takes a path without a dot or slash for the name of a volume. */
function relative({ source, name }: PlannedFile): string {
  const path = source ?? name;
  return /^\.{0,2}\//.test(path) ? path : `./${path}`;
}

/** The admin address answers without TLS. */
function healthOf({ command }: Plan, { adminPort }: Reach) {
  if (command !== 'server' || adminPort === undefined || adminPort === 0) return {};
  const script = `fetch('http://127.0.0.1:${adminPort}/healthz').then((a)=>process.exit(a.ok?0:1),()=>process.exit(1))`;
  return {
    healthcheck: {
      test: ['CMD', 'node', '-e', script],
      interval: '30s',
      timeout: '5s',
      retries: 3,
      start_period: '20s',
    },
  };
}

function comments({ files, variables }: Plan, reach: Reach, name: string): string[] {
  const typed = files.filter(({ text }) => text !== undefined);
  return [
    '# compose.yaml: docker compose up -d',
    '#',
    ...typed.map(
      (file) => `# ./${file.name} holds the token that was given by value; it is not in here.`,
    ),
    ...(files.length === 0
      ? []
      : [
          `# User ${IMAGE_USER}, and no other, must be able to read its files:`,
          `#   chown ${IMAGE_USER} ${files.map(relative).join(' ')}`,
        ]),
    ...(variables.length === 0
      ? []
      : [
          `# ./${name}.env has a line for each of these variables:`,
          ...variables.map(({ variable }) => `#   ${variable}=…`),
        ]),
    ...(reach.hasOpenRange
      ? ['# Ports of TCP tunnels are published one by one: give --tcp-ports with those you want.']
      : []),
  ];
}
