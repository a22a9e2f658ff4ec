// What the server on a machine of its own is told, and what it then is to those who dial it.
//
// Invariant: ports are those of a machine that does nothing else unless the server's own options
// say otherwise; variables of the machine that writes this are none of its options. Must not know:
// clouds, or who asks for the machine.

import { bracketed } from '../base/target.ts';
import { type GivenConfig, readGiven } from '../config/config.ts';
import { type ConfigInput, givenNames } from '../config/resolve.ts';
import { type CloudConfigOptions, cloudConfig } from '../deploy/cloud-config.ts';
import type { ControlTls } from './exit-node-reach.ts';
import { collectInput, type Flags } from './sources.ts';

export type ServerInput = ConfigInput<'server'>;
type Server = GivenConfig<'server'>;

const SERVICE = 'sluiceway';
const PORTS: Flags = { 'http-addr': '0.0.0.0:80', 'https-addr': '0.0.0.0:443' };

export function collectServer(flags: Flags, readFile: ServerInput['readFile']): ServerInput {
  const input = { ...collectInput('server', flags, {}), readFile };
  const names = givenNames(input);
  const ports = Object.entries(PORTS).filter(([name]) => !names.has(name));
  return adding(input, Object.fromEntries(ports));
}

export function adding(input: ServerInput, flags: Flags): ServerInput {
  return { ...input, flags: { ...input.flags, ...flags } };
}

export type UserDataOptions = Omit<CloudConfigOptions, 'name'>;

/** For cloud-init; with the name of the certificate, where the address is known beforehand. */
export function userDataOf(
  given: Server,
  address: string | undefined,
  options: UserDataOptions,
): string {
  const input = address === undefined ? given : withAddress(given, address);
  return cloudConfig(input, { ...options, name: SERVICE }).text;
}

function withAddress(given: Server, address: string): Server {
  const name = 'auto-tls-san';
  if (tlsOf(given) !== 'private' || given.options.some((one) => one.name === name)) return given;
  const flags = { [name]: address, token: 'any-token' };
  const asked = readGiven(collectInput('server', flags, {}));
  const added = asked.options.filter((one) => one.name === name);
  return { ...given, options: [...given.options, ...added] };
}

export function tlsOf({ config }: Server): ControlTls {
  if (config.autoTls !== undefined) return 'private';
  return config.tlsCert === undefined ? 'none' : 'own';
}

export function urlOf(given: Server, address: string): string {
  const scheme = tlsOf(given) === 'none' ? 'ws' : 'wss';
  const { port } = given.config.controlAddr;
  return `${scheme}://${bracketed(address)}:${port}/connect`;
}
