// A Compose file for a server or a client: one service of the image, with as little as it needs.
//
// Invariant: secrets are files beside it that it names; the root is read-only and no capability is
// left; ports are those of the configuration. Must not know: which options there are.

import { ConfigError } from '../base/errors.ts';
import { showTarget } from '../base/target.ts';
import type { GivenConfig } from '../config/config.ts';
import { plainYaml } from './plain-yaml.ts';
import { type Plan, type PlannedFile, planDeployment } from './plan.ts';
import {
  type ExposedPort,
  PUBLISHED_PORTS_MAX,
  publishedByContainer,
  type Reach,
  reachOf,
} from './reach.ts';
import { shellWord } from './shell-word.ts';
import { refuseCommon, refuseOfContainer, socketFolders } from './socket-folders.ts';

export interface ComposeOptions {
  readonly name: string;
  readonly image: string;
}

/** Of the image: the state folder, who runs in it, and the program (docker/Dockerfile). */
export const IMAGE_STATE_FOLDER = '/var/lib/sluiceway';
export const IMAGE_USER = 65_532;
const IMAGE_PROGRAM = '/app/dist/cli/main.js';

export function composeFile(given: GivenConfig, { name, image }: ComposeOptions): string {
  const plan = planDeployment(given, { stateFolder: IMAGE_STATE_FOLDER, place: placeOf });
  const reach = publishedByContainer(reachOf(given));
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
    ...healthOf(plan, reach, given),
  };
  const secrets = Object.fromEntries(
    plan.files.filter(({ kind }) => kind !== 'folder').map((file) => [file.name, secretOf(file)]),
  );
  const body = {
    services: { [name]: service },
    ...(Object.keys(secrets).length === 0 ? {} : { secrets }),
    ...(reach.keepsState ? { volumes: { state: {} } } : {}),
  };
  return `${comments(plan, reach, name).join('\n')}\n${plainYaml(body)}`;
}

function placeOf(file: PlannedFile): string {
  return file.kind === 'folder' ? `/etc/sluiceway/${file.name}` : `/run/secrets/${file.name}`;
}

/** Compose takes a dollar sign for a variable. */
function escapeText(text: string): string {
  return text.replaceAll('$', '$$$$');
}

function networkOf({ ports, lowPortOptions }: Reach, usesHost: boolean) {
  if (usesHost) {
    refuseLowPorts(lowPortOptions);
    return { network_mode: 'host' };
  }
  return {
    ...(ports.length === 0 ? {} : { ports: ports.filter(({ port }) => port !== 0).map(publish) }),
    ...(lowPortOptions.length > 0 ? { sysctls: { 'net.ipv4.ip_unprivileged_port_start': 0 } } : {}),
  };
}

/** Docker sets nothing of the machine's network, and gives a capability to root alone. */
function refuseLowPorts(options: readonly string[]): void {
  if (options.length === 0) return;
  throw new ConfigError(
    [...new Set(options)].map(
      (name) =>
        `--${name}: a port below 1024 is for root alone on the machine's network, where this ` +
        'client has to be for what is on loopback; give one from 1024 on, or no loopback',
    ),
  );
}

function publish({ port, protocol }: ExposedPort): string {
  return `${port}:${port}${protocol === 'udp' ? '/udp' : ''}`;
}

function mountsOf({ files }: Plan, { keepsState, sockets }: Reach) {
  const folders = files.filter(({ kind }) => kind === 'folder');
  const ofContainer = refuseOfContainer([IMAGE_STATE_FOLDER, '/run/secrets']);
  const ofSockets = socketFolders(sockets, (one) => refuseCommon(one) ?? ofContainer(one));
  const volumes = [
    ...(keepsState ? [`state:${IMAGE_STATE_FOLDER}`] : []),
    ...folders.map((file) => mounted(relative(file), placeOf(file))),
    ...ofSockets.map((folder) => mounted(folder, escapeText(folder))),
  ];
  const names = files.filter(({ kind }) => kind !== 'folder').map(({ name }) => name);
  return {
    ...(volumes.length === 0 ? {} : { volumes }),
    ...(names.length === 0 ? {} : { secrets: names }),
  };
}

/**
 * In the long form: the short one ends a path at its first colon. Some versions make the short one
 * of it again unless it has what that cannot say, such as Docker's own default of propagation.
 */
function mounted(source: string, target: string) {
  const bind = { propagation: 'rprivate' };
  return { type: 'bind', source: escapeText(source), target, read_only: true, bind };
}

function secretOf(file: PlannedFile) {
  return { file: escapeText(relative(file)) };
}

/** Compose takes a path without a dot or slash for the name of a volume. */
function relative({ source, name, typedIn = name }: PlannedFile): string {
  const path = source ?? typedIn;
  return /^\.{0,2}\//.test(path) ? path : `./${path}`;
}

/**
 * The image's own check asks where a client and a server are by default: with other addresses it
 * would fail for ever, and so there is another, or none.
 */
function healthOf(plan: Plan, reach: Reach, given: GivenConfig) {
  const test = plan.command === 'server' ? serverTest(reach) : clientTest(plan, given);
  if (test === 'own') return {};
  if (test === 'none') return { healthcheck: { disable: true } };
  return {
    healthcheck: { test, interval: '30s', timeout: '5s', retries: 3, start_period: '20s' },
  };
}

type HealthTest = readonly string[] | 'own' | 'none';

/** The admin address answers without TLS. */
function serverTest({ admin }: Reach): HealthTest {
  if (admin === undefined) return 'none';
  const script = `fetch('http://${showTarget(admin)}/healthz').then((a)=>process.exit(a.ok?0:1),()=>process.exit(1))`;
  return ['CMD', 'node', '-e', script];
}

function clientTest({ args }: Plan, { options }: GivenConfig): HealthTest {
  const [, placed] = args.find(([flag]) => flag === '--status-dir') ?? [];
  // What the file of --config says stands as it is there.
  const folder = placed ?? options.find(({ name }) => name === 'status-dir')?.texts[0];
  if (folder === undefined) return 'own';
  if (folder === 'off') return 'none';
  const ask = ['status', '--local', '--ready', '--status-dir', escapeText(folder)];
  return ['CMD', 'node', IMAGE_PROGRAM, ...ask];
}

function comments({ files, variables }: Plan, reach: Reach, name: string): string[] {
  const typed = files.filter(({ text }) => text !== undefined);
  const chown = files.some(({ kind }) => kind === 'folder') ? 'chown -R' : 'chown';
  return [
    '# compose.yaml: docker compose up -d',
    '#',
    ...typed.map(
      (file) => `# ${relative(file)} holds the token that was given by value; it is not in here.`,
    ),
    ...(files.length === 0
      ? []
      : [
          `# User ${IMAGE_USER}, and no other, must be able to read its files:`,
          `#   ${chown} ${IMAGE_USER} ${files.map(relative).map(shellWord).join(' ')}`,
        ]),
    ...(variables.length === 0
      ? []
      : [
          `# ./${name}.env has a line for each of these variables:`,
          ...variables.map(({ variable }) => `#   ${variable}=…`),
        ]),
    ...(reach.sockets.length === 0
      ? []
      : [
          '# Folders of Unix sockets must be there first, and stay: new ones are not seen.',
          `# User ${IMAGE_USER} must be able to write to the sockets, or by group_add their group.`,
        ]),
    ...reach.openRanges.map(
      (of) =>
        `# Ports of ${of.toUpperCase()} tunnels are published one by one: ` +
        `give --${of}-ports with those you want, ${PUBLISHED_PORTS_MAX} at most.`,
    ),
  ];
}
