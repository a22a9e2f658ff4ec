// What a Service asks for: whether it is ours at all, and the tunnel that would serve it.
//
// Invariant: pure; an annotation of ours that is unknown or cannot be read is a problem and never
// left out, as it may be one that protects; one whose list of visitors cannot be kept is open to
// nobody, and a list that can be is read whatever else is wrong. Must not know: whether the exit
// node has room for it.

import { readNetworkAround, showNetwork } from '../base/network.ts';
import type { Transport } from '../base/port-name.ts';
import { TUNNEL_NETWORKS_MAX } from '../base/tunnel-options.ts';
import { InvalidText } from '../config/option.ts';
import { readTunnelName } from '../config/tunnel.ts';
import { GROUP, type ServiceObject, type ServicePort, type TunnelSpecFields } from './objects.ts';
import type { OperatorSettings } from './settings.ts';

export type BalancerReading =
  | { readonly is: 'foreign' }
  | WrongReading
  | { readonly is: 'unguarded'; readonly reason: string; readonly message: string }
  | { readonly is: 'ours'; readonly spec: TunnelSpecFields };

export interface WrongReading {
  readonly is: 'wrong';
  readonly reason: string;
  readonly message: string;
  /** Who may visit; everyone when empty. Undefined: it cannot be kept, if the Service is ours. */
  readonly allowIps: readonly string[] | undefined;
}

const PREFIX = `${GROUP}/`;
const ANNOTATIONS = [
  'manage',
  'exit-node',
  'hosts',
  'host-port',
  'ports',
  'proxy-protocol',
  'udp-proxy-protocol',
] as const;
type AnnotationName = (typeof ANNOTATIONS)[number];
const KNOWN = ANNOTATIONS.map((name) => PREFIX + name).join(', ');
/** Of Kubernetes itself, from before there was a field. */
const RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;
const TRUE = new Set(['true', '1']);
const FALSE = new Set(['false', '0']);

/** What is served, by what Kubernetes calls it. */
const TRANSPORTS: ReadonlyMap<string, Transport> = new Map([
  ['TCP', 'tcp'],
  ['UDP', 'udp'],
]);
const ENTRY = /^(\d{1,5})(?:=([a-z0-9-]{1,15}))?(?:\/(tcp|udp|TCP|UDP))?$/;

/** A port of the Service, and where visitors find it. */
interface OpenPort {
  readonly transport: Transport;
  readonly publicPort: number;
  readonly port: number;
}

/** Ends the reading of a part of a Service; seen by `attempt` alone. */
class WrongBalancer extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

export function readBalancer(service: ServiceObject, settings: OperatorSettings): BalancerReading {
  const ours = attempt(() => isOurs(service, settings));
  if (ours === false) return { is: 'foreign' };
  // Apart from the rest: nothing else that is wrong may let in whom it keeps out.
  const ranges = attempt(() => readRanges(service));
  const isUnkept = ranges instanceof WrongBalancer;
  if (ours !== true) return wrongReading(isUnkept ? ranges : ours, isUnkept ? undefined : ranges);
  if (isUnkept) return { is: 'unguarded', reason: ranges.reason, message: ranges.message };
  const spec = attempt(() => readSpec(service));
  if (spec instanceof WrongBalancer) return wrongReading(spec, ranges);
  return { is: 'ours', spec: { ...spec, ...(ranges.length === 0 ? {} : { allowIps: ranges }) } };
}

function attempt<T>(read: () => T): T | WrongBalancer {
  try {
    return read();
  } catch (error) {
    if (error instanceof WrongBalancer) return error;
    throw error;
  }
}

function wrongReading(
  { reason, message }: WrongBalancer,
  allowIps: WrongReading['allowIps'],
): WrongReading {
  return { is: 'wrong', reason, message, allowIps };
}

function isOurs(service: ServiceObject, settings: OperatorSettings): boolean {
  const { type, loadBalancerClass: found } = service.spec ?? {};
  if (type !== 'LoadBalancer') return false;
  const isClass = found === settings.loadBalancerClass;
  // Of another class: not ours, whatever is said elsewhere.
  if (found !== undefined && !isClass) return false;
  const manage = readManage(service, isClass || settings.services !== 'class');
  if (isClass || settings.services === 'all') return manage !== false;
  return settings.services === 'annotated' && manage === true;
}

function readManage(service: ServiceObject, isAsked: boolean): boolean | undefined {
  const text = annotation(service, 'manage');
  if (text === undefined || !isAsked) return undefined;
  if (TRUE.has(text.toLowerCase())) return true;
  if (FALSE.has(text.toLowerCase())) return false;
  throw wrong('manage', text, 'is not a boolean; write true or false');
}

function readSpec(service: ServiceObject): TunnelSpecFields {
  refuseUnknown(service);
  const hosts = listOf(annotation(service, 'hosts'));
  const mapping = annotation(service, 'ports');
  const { ports = [] } = service.spec ?? {};
  const { name } = service.metadata;
  const exitNode = readExitNode(annotation(service, 'exit-node'));
  const proxyProtocol = readVersion(service, 'proxy-protocol', ['v1', 'v2', 'off']);
  const udpProxyProtocol = readVersion(service, 'udp-proxy-protocol', ['v2', 'off']);
  const open =
    mapping !== undefined
      ? readPorts(mapping, ports)
      : hosts === undefined
        ? ports.map((one) => openPort(one, one.port))
        : [];
  if (hosts === undefined && open.length === 0) {
    throw new WrongBalancer('InvalidPorts', 'the Service has no port to make public');
  }
  const upstreams = (hosts ?? []).map((text) => ({
    ...readHost(text),
    // Written out, as the API would fill it in.
    scheme: 'http' as const,
    service: { name, port: hostPort(annotation(service, 'host-port'), ports) },
  }));
  return {
    ...(exitNode === undefined ? {} : { exitNode }),
    ...(upstreams.length === 0 ? {} : { upstreams }),
    ...portsOf('tcp', open, name),
    ...portsOf('udp', open, name),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    ...(udpProxyProtocol === undefined ? {} : { udpProxyProtocol }),
  };
}

/** As the controllers of clouds do: by the annotation where the field is empty. */
function readRanges({ spec, metadata }: ServiceObject): readonly string[] {
  const { loadBalancerSourceRanges: field = [] } = spec ?? {};
  const texts = field.length > 0 ? field : (metadata.annotations?.[RANGES] ?? '').split(',');
  const given = texts.map((text) => text.trim()).filter((text) => text !== '');
  const networks = [...new Set(given.map(readRange))];
  if (networks.length <= TUNNEL_NETWORKS_MAX) return networks;
  throw new WrongBalancer(
    'InvalidSpec',
    `loadBalancerSourceRanges: ${networks.length} networks are too many; ` +
      `give at most ${TUNNEL_NETWORKS_MAX}`,
  );
}

/** Kubernetes takes an address of the network for all of it, and `010` for 10. */
function readRange(text: string): string {
  const network = readNetworkAround(withoutZeros(text));
  if (typeof network !== 'string') return showNetwork(network);
  const message = `loadBalancerSourceRanges: '${text.slice(0, 80)}' ${network}`;
  throw new WrongBalancer('InvalidSpec', message);
}

/** `010.0.0.0/08` as `10.0.0.0/8`; of IPv6 zeros mean nothing. */
function withoutZeros(text: string): string {
  if (text.includes(':')) return text;
  const [address = '', ...bits] = text.split('/');
  const numbers = (part: string): string => (/^\d+$/.test(part) ? String(BigInt(part)) : part);
  return [address.split('.').map(numbers).join('.'), ...bits.map(numbers)].join('/');
}

function portsOf(wanted: Transport, open: readonly OpenPort[], name: string) {
  const found = open.filter(({ transport }) => transport === wanted);
  if (found.length === 0) return {};
  const list = found.map(({ publicPort, port }) => ({ publicPort, service: { name, port } }));
  return { [wanted]: list };
}

function refuseUnknown({ metadata }: ServiceObject): void {
  const known: readonly string[] = ANNOTATIONS;
  for (const key of Object.keys(metadata.annotations ?? {})) {
    if (!key.startsWith(PREFIX) || known.includes(key.slice(PREFIX.length))) continue;
    throw new WrongBalancer(
      'InvalidAnnotation',
      `annotation ${key} is unknown; there are ${KNOWN}`,
    );
  }
}

function readExitNode(text: string | undefined): string | undefined {
  if (text === undefined || NAME.test(text)) return text;
  throw wrong('exit-node', text, 'is no name of an ExitNode');
}

function readVersion<Version extends string>(
  service: ServiceObject,
  name: AnnotationName,
  versions: readonly Version[],
): Version | undefined {
  const text = annotation(service, name);
  const found = versions.find((one) => one === text);
  if (text === undefined || found !== undefined) return found;
  throw wrong(name, text, `is none of ${versions.join(', ')}`);
}

function readHost(text: string): { readonly host: string; readonly path?: string } {
  const name = readTunnelName(text);
  if (name instanceof InvalidText) throw wrong('hosts', text, name.message);
  const slash = name.indexOf('/');
  return slash < 0 ? { host: name } : { host: name.slice(0, slash), path: name.slice(slash) };
}

/** The port that answers HTTP: as said, else the one that is called so, 80, or the first. */
function hostPort(text: string | undefined, all: readonly ServicePort[]): number {
  const ports = all.filter((one) => protocolOf(one) === 'TCP');
  if (ports.length === 0) {
    throw new WrongBalancer('InvalidPorts', 'the Service has no TCP port that answers for hosts');
  }
  const found =
    text === undefined
      ? (ports.find(({ name }) => name === 'http') ??
        ports.find(({ port }) => port === 80) ??
        ports[0])
      : ports.find(({ name, port }) => name === text || String(port) === text);
  if (found === undefined) throw wrong('host-port', text ?? '', 'is no TCP port of the Service');
  return found.port;
}

/**
 * `8080=80, 443, 5353=53/udp`: public port, and the Service's own where that is another; a number
 * that the Service has of both protocols is both, unless one is said.
 */
function readPorts(text: string, ports: readonly ServicePort[]): readonly OpenPort[] {
  const seen = new Set<string>();
  return (listOf(text) ?? []).flatMap((entry) => {
    const [, left = '', right = left, protocol] = ENTRY.exec(entry) ?? [];
    const publicPort = Number(left);
    if (publicPort < 1 || publicPort > 65_535) {
      throw wrong('ports', entry, 'is no port; write 8080=80, 80 for the same one, or 53/udp');
    }
    const found = ports
      .filter(({ name, port }) => name === right || String(port) === right)
      .filter((one) => protocol === undefined || protocolOf(one) === protocol.toUpperCase())
      .map((one) => openPort(one, publicPort));
    if (found.length === 0) throw wrong('ports', entry, 'names no port of the Service');
    for (const { transport } of found) {
      const name = `${transport}:${publicPort}`;
      if (seen.has(name)) throw wrong('ports', entry, 'is given twice');
      seen.add(name);
    }
    return found;
  });
}

function openPort(one: ServicePort, publicPort: number): OpenPort {
  const protocol = protocolOf(one);
  const transport = TRANSPORTS.get(protocol);
  if (transport !== undefined) return { transport, publicPort, port: one.port };
  throw new WrongBalancer(
    'UnsupportedProtocol',
    `port ${one.port} is ${protocol}, and only TCP and UDP are served; annotation ${PREFIX}ports ` +
      'names the ports to make public',
  );
}

/** As Kubernetes fills it in. */
export function protocolOf({ protocol = 'TCP' }: ServicePort): string {
  return protocol;
}

function listOf(text: string | undefined): readonly string[] | undefined {
  return text
    ?.split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

function annotation({ metadata }: ServiceObject, name: AnnotationName): string | undefined {
  return metadata.annotations?.[PREFIX + name]?.trim();
}

function wrong(name: AnnotationName, text: string, message: string): WrongBalancer {
  return new WrongBalancer(
    'InvalidAnnotation',
    `annotation ${PREFIX}${name}: '${text.slice(0, 80)}' ${message}`,
  );
}
