// A systemd unit for a server or a client: no privilege that it does not need, no secret in it.
//
// Invariant: secrets come by LoadCredential and EnvironmentFile, from files that root alone reads;
// what stands in the unit means to systemd what was given, whatever characters it holds. Must not
// know: which options there are.

import { dirname, normalize } from 'node:path';
import type { GivenConfig } from '../config/config.ts';
import {
  isPlain,
  type Plan,
  type PlannedFile,
  planDeployment,
  type SecretVariable,
} from './plan.ts';
import { type Reach, reachOf } from './reach.ts';
import { pathWord } from './shell-word.ts';
import { refuseCommon, socketFolders } from './socket-folders.ts';

export interface UnitOptions {
  /** Of the unit, its folders and its group. */
  readonly name: string;
  /** What runs sluiceway: a program, or Node and its script. */
  readonly program: readonly string[];
  /** True: all files lie in /etc/NAME, wherever they were when they were named. */
  readonly ownFolder?: boolean;
  /** One more, which need not be there. */
  readonly environmentFile?: string;
}

/** A unit, and what it needs beside it. */
export interface PlannedUnit {
  readonly text: string;
  readonly files: readonly {
    readonly file: PlannedFile;
    readonly path: string;
    /** Read by the group of the service; else by root alone. */
    readonly isShared: boolean;
  }[];
  readonly variables: readonly SecretVariable[];
}

/**
 * What is as large as a buffer that sockets read into goes back to the system when it is freed: by
 * itself glibc raises its threshold above that, and keeps it (docs/operating/tuning.md). Between
 * Node's blocks of 64 KiB, which come and go all the time, and `base/read-pool.ts`'s.
 */
const ENVIRONMENT = 'GLIBC_TUNABLES=glibc.malloc.mmap_threshold=65600';

/** Some end a line as a line feed does. */
const CONTROL = /[\x01-\x1f\x7f]/g;

/** Set by systemd 247 and later in a service with credentials. */
const CREDENTIALS = `\${CREDENTIALS_DIRECTORY}`;

/** The unit, with what to do with it as a comment on top. */
export function systemdUnit(given: GivenConfig, options: UnitOptions): string {
  const plan = planOf(given, options);
  const lines = [...installation(plan, options), ...unitLines(plan, reachOf(given), options)];
  return `${lines.join('\n')}\n`;
}

export function planUnit(given: GivenConfig, options: UnitOptions): PlannedUnit {
  const plan = planOf(given, options);
  const files = plan.files.map((file) => ({
    file,
    path: pathOf(file, options),
    isShared: !isCredential(file),
  }));
  const text = `${unitLines(plan, reachOf(given), options).join('\n')}\n`;
  return { text, files, variables: plan.variables };
}

function unitLines(plan: Plan, reach: Reach, options: UnitOptions): string[] {
  const { name } = options;
  const isServer = plan.command === 'server';
  return [
    '[Unit]',
    `Description=sluiceway ${isServer ? 'exit node' : 'client'}`,
    'Wants=network-online.target',
    'After=network-online.target',
    '# Started again for ever.',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=exec',
    ...execStart(plan, options),
    ...(isServer ? ['ExecReload=/bin/kill -HUP $MAINPID'] : []),
    ...sourcesOf(plan, options),
    ...(isServer ? [] : [`RuntimeDirectory=${name}`, 'RuntimeDirectoryMode=0700']),
    `StateDirectory=${name}`,
    'StateDirectoryMode=0700',
    'Restart=always',
    'RestartSec=2',
    '# Wrong options do not become right by themselves.',
    'RestartPreventExitStatus=2',
    isServer
      ? '# Longer than --drain-delay and --drain-timeout together.'
      : '# Longer than --drain-timeout.',
    `TimeoutStopSec=${reach.stopSeconds}`,
    'KillMode=mixed',
    'LimitNOFILE=1048576',
    `Environment=${ENVIRONMENT}`,
    ...hardening(reach),
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
}

function planOf(given: GivenConfig, options: UnitOptions): Plan {
  return planDeployment(given, {
    stateFolder: `/var/lib/${options.name}`,
    place: (file) => (isCredential(file) ? `${CREDENTIALS}/${file.name}` : pathOf(file, options)),
  });
}

/**
 * Who reads the other files. Not the name of the service: systemd takes that for the user it makes,
 * and refuses it when it is a group already.
 */
export function groupOf(name: string): string {
  return `${name}-files`;
}

/** Others are read again when they change, which copies of systemd would not. */
function isCredential({ role }: PlannedFile): boolean {
  return role === 'token-file';
}

function pathOf(file: PlannedFile, { name, ownFolder }: UnitOptions): string {
  const { source } = file;
  const isSeen = ownFolder !== true && source !== undefined && isPlain(source);
  const stays = isSeen && (!isCredential(file) || isLoadable(source));
  return stays ? source : `/etc/${name}/${file.name}`;
}

/** A path of LoadCredential is the rest of its line, and one with `..` or `//` is ignored. */
function isLoadable(path: string): boolean {
  return normalize(path) === path && !/[\s\\]$/.test(path);
}

/** The comment on top: what root has to put where. */
function installation(plan: Plan, options: UnitOptions): string[] {
  const { name } = options;
  const shared = plan.files.filter((file) => !isCredential(file));
  const steps = [
    ...(shared.length === 0 ? [] : [`groupadd --system ${groupOf(name)}`]),
    ...plan.files.map((file) => stepOf(file, options)),
    ...(plan.variables.length === 0 ? [] : [environmentStep(plan, name)]),
    'systemctl daemon-reload',
    `systemctl enable --now ${name}`,
  ];
  const isTyped = plan.files.some(({ text }) => text !== undefined);
  return [
    `# /etc/systemd/system/${name}.service, for systemd 247 or later. As root:`,
    '#',
    ...steps.map((step) => `#   ${step}`),
    ...(isTyped
      ? ['# A token that was given by value is not in here: /dev/stdin is where it is typed.']
      : []),
    ...(plan.variables.length === 0
      ? []
      : [`# In ${name}.env: ${plan.variables.map(({ variable }) => `${variable}=…`).join(', ')}`]),
  ];
}

function stepOf(file: PlannedFile, options: UnitOptions): string {
  const group = groupOf(options.name);
  const target = pathOf(file, options);
  const from = file.text === undefined ? (file.source ?? file.name) : '/dev/stdin';
  const to = pathWord(target);
  if (isCredential(file)) {
    return `install -D -m 600 ${pathWord(from === target ? file.name : from)} ${to}`;
  }
  const isOpen = file.kind === 'folder' ? '' : ',o=';
  const share = `chgrp -R ${group} ${to} && chmod -R g+rX${isOpen} ${to}`;
  if (from === target) return share;
  if (file.kind !== 'folder') return `install -D -m 640 -g ${group} ${pathWord(from)} ${to}`;
  // Unlike mkdir, install makes a folder that others may enter, whatever root's umask is.
  return `install -d ${pathWord(dirname(target))} && cp -r ${pathWord(from)} ${to} && ${share}`;
}

function environmentStep(plan: Plan, name: string): string {
  const count = plan.variables.length === 1 ? 'the variable' : 'the variables';
  return `install -D -m 600 ${name}.env /etc/${name}/${name}.env    # ${count} below`;
}

function execStart({ command, args }: Plan, { program }: UnitOptions): string[] {
  const words = [...program, command].map(quoteWord).join(' ');
  const lines = [words, ...args.map((argument) => `  ${argument.map(quoteWord).join(' ')}`)];
  return [`ExecStart=${lines.join(' \\\n')}`];
}

function sourcesOf(plan: Plan, options: UnitOptions): string[] {
  const { name, environmentFile } = options;
  const credentials = plan.files.filter(isCredential);
  const shared = plan.files.filter((file) => !isCredential(file));
  return [
    ...(credentials.length === 0
      ? []
      : ['# A file of root; the service sees a copy of its own, made when it starts.']),
    ...credentials.map(
      (file) => `LoadCredential=${file.name}:${pathOf(file, options).replaceAll('%', '%%')}`,
    ),
    ...(shared.length === 0
      ? []
      : [
          '# Reads its other files by this group, also when they change.',
          `SupplementaryGroups=${groupOf(name)}`,
        ]),
    ...(plan.variables.length === 0 ? [] : [`EnvironmentFile=/etc/${name}/${name}.env`]),
    ...(environmentFile === undefined ? [] : [`EnvironmentFile=-${environmentFile}`]),
  ];
}

/** What the service would not see; and who may connect, which is not known here. */
function socketLines({ sockets }: Reach, folders: readonly string[]): string[] {
  if (sockets.length === 0) return [];
  return [
    '# Where not everyone may write to a Unix socket: SupplementaryGroups= with its group.',
    ...(folders.length === 0
      ? []
      : ['# Folders of sockets must be there first, and stay: new ones are not seen.']),
    ...folders.map((folder) => `BindReadOnlyPaths=${quotePath(folder)}`),
  ];
}

/** One path of systemd.exec(5), whose words end at a colon too. */
function quotePath(path: string): string {
  const escaped = path.replace(/["'\\:]/g, '\\$&').replaceAll('%', '%%');
  return /^[^\s\\]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function hardening(reach: Reach): string[] {
  const { lowPortOptions, sockets } = reach;
  const hidden = sockets.filter((socket) => !isPlain(socket));
  const folders = socketFolders(hidden, refuseCommon);
  const seesHomes = folders.some((folder) => !/^\/(?:var\/)?tmp\//.test(folder));
  const needsLowPorts = lowPortOptions.length > 0;
  const ports = needsLowPorts
    ? [
        '# For ports below 1024.',
        'AmbientCapabilities=CAP_NET_BIND_SERVICE',
        'CapabilityBoundingSet=CAP_NET_BIND_SERVICE',
      ]
    : ['CapabilityBoundingSet=', 'PrivateUsers=yes'];
  return [
    'DynamicUser=yes',
    ...ports,
    'NoNewPrivileges=yes',
    'ProtectSystem=strict',
    // Nothing can be put into what `yes` has there.
    `ProtectHome=${seesHomes ? 'tmpfs' : 'yes'}`,
    'PrivateTmp=yes',
    ...socketLines(reach, folders),
    'PrivateDevices=yes',
    'ProtectClock=yes',
    'ProtectControlGroups=yes',
    'ProtectHostname=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
    'ProtectProc=invisible',
    'LockPersonality=yes',
    'RemoveIPC=yes',
    '# AF_NETLINK lists the addresses of the machine.',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service',
    'SystemCallFilter=~@privileged @resources',
    'SystemCallErrorNumber=EPERM',
    'UMask=0077',
    '# Not MemoryDenyWriteExecute: V8 compiles while it runs.',
  ];
}

/** One word of a command line of systemd.service(5). */
function quoteWord(text: string): string {
  const isCredential = text.startsWith(`${CREDENTIALS}/`);
  const own = isCredential ? text.slice(CREDENTIALS.length) : text;
  const escaped = own
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replace(CONTROL, ([one = '']) => `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`)
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$');
  const word = `${isCredential ? CREDENTIALS : ''}${escaped}`;
  return /^[A-Za-z0-9_@%+=:,./${}\-*[\]]+$/.test(word) ? word : `"${word}"`;
}
