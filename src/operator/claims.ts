// Which names a tunnel wants on its exit node, and who has them already.
//
// Invariant: pure; a name has one holder on an exit node: who holds it keeps it, whatever others
// ask for later, and of two that both say so the older one does. Must not know: how a claim is
// written down.

import { type PortName, readPortName, type Transport } from '../base/port-name.ts';
import type { PortRange } from '../base/target.ts';
import { portRange } from '../config/address.ts';
import { InvalidText } from '../config/option.ts';
import { readTunnelName } from '../config/tunnel.ts';
import { heldOn } from './holdings.ts';
import {
  type ExitNodeObject,
  type ExitNodeSpecFields,
  keyOf,
  type TunnelObject,
  type TunnelSpecFields,
} from './objects.ts';

export interface ClaimProblem {
  readonly reason: string;
  readonly message: string;
}

/** What a new machine lets clients ask for, as a server does of itself. */
const MACHINE_PORTS: readonly string[] = ['1024-65535'];
/** Passed through undecrypted, found by server name. */
const TLS = 'tls:';

/** Names as the exit node knows them; a problem when one of them is none. */
export function claimsOf(spec: TunnelSpecFields): readonly string[] | ClaimProblem {
  const names = [...portNames('tcp', spec.tcp), ...portNames('udp', spec.udp)];
  for (const { host, path = '', scheme } of spec.upstreams ?? []) {
    const name = readTunnelName(`${host}${path}`);
    if (name instanceof InvalidText) {
      return { reason: 'InvalidHost', message: `'${host}${path}' ${name.message}` };
    }
    if (scheme !== 'tls') names.push(name);
    else if (path === '' && host !== '*') names.push(`${TLS}${name}`);
    else return { reason: 'InvalidHost', message: `'${host}${path}': of TLS only a name is read` };
  }
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    return { reason: 'InvalidSpec', message: `${showClaim(twice)} is asked for twice` };
  }
  if (names.length === 0) {
    return { reason: 'InvalidSpec', message: 'the tunnel has neither a host nor a port' };
  }
  return names;
}

function portNames(transport: Transport, ports: TunnelSpecFields[Transport] = []): string[] {
  return ports.map(({ publicPort }) => `${transport}:${publicPort}`);
}

export interface ClaimContext {
  readonly tunnel: TunnelObject;
  readonly exitNode: ExitNodeObject;
  /** Every other tunnel, on whatever exit node. */
  readonly others: readonly TunnelObject[];
}

/** Why the tunnel cannot have all of these names; undefined when it can. */
export function claimProblem(
  names: readonly string[],
  { tunnel, exitNode, others }: ClaimContext,
): ClaimProblem | undefined {
  const own = ownName(exitNode);
  const { name: node } = exitNode.metadata;
  const mine = heldOn(tunnel, node);
  // One that is being deleted is among them, until its client has ended.
  const rivals = others
    .map((other) => ({ other, held: heldOn(other, node) }))
    .filter(({ held }) => held.length > 0);
  for (const name of names) {
    if (name === own) return taken(name, `by the exit node ${node} itself`);
    const port = readPortName(name);
    const outside = port === undefined ? undefined : rangeProblem(port, exitNode);
    if (outside !== undefined) return outside;
    const holder = rivals.find(({ other, held }) => {
      // Both say that they hold it: a lost race, which the older one wins on both sides.
      const mayTake = mine.includes(name) && ageOf(tunnel) < ageOf(other);
      return held.includes(name) && !mayTake;
    });
    if (holder !== undefined) return taken(name, `by tunnel ${keyOf(holder.other)}`);
  }
  return undefined;
}

/** What its clients may ask for; empty when that is not known. */
export function portsOf({ spec }: ExitNodeObject, transport: Transport): readonly string[] {
  const said = saidPorts(spec, transport);
  return said.length === 0 && spec.provision !== undefined ? MACHINE_PORTS : said;
}

/** As its object has them: UDP ports are those of TCP unless they are there themselves. */
export function saidPorts(spec: ExitNodeSpecFields, transport: Transport): readonly string[] {
  const { tcpPorts = [], udpPorts = tcpPorts } = spec;
  return transport === 'udp' ? udpPorts : tcpPorts;
}

function taken(name: string, by: string): ClaimProblem {
  const reason = readPortName(name) === undefined ? 'HostTaken' : 'PortTaken';
  return { reason, message: `${showClaim(name)} is taken ${by}` };
}

function ageOf({ metadata }: TunnelObject): string {
  return `${metadata.creationTimestamp ?? ''} ${metadata.uid ?? ''}`;
}

/** Of the port for links, which is one of TCP. */
function ownName({ spec, status }: ExitNodeObject): string | undefined {
  const url = spec.url ?? status?.url;
  if (url === undefined || !URL.canParse(url)) return undefined;
  const { port, protocol } = new URL(url);
  return `tcp:${port === '' ? (protocol === 'wss:' ? 443 : 80) : port}`;
}

function rangeProblem(
  { transport, port }: PortName,
  exitNode: ExitNodeObject,
): ClaimProblem | undefined {
  const texts = portsOf(exitNode, transport);
  const ranges = readRanges(texts);
  if (ranges === undefined || isWithin(port, ranges)) return undefined;
  const shown = showClaim(`${transport}:${port}`);
  const { name } = exitNode.metadata;
  const message = `${shown} is outside of ${texts.join(', ')}, which ${name} allows`;
  return { reason: 'PortNotAllowed', message };
}

function readRanges(texts: readonly string[]): readonly PortRange[] | undefined {
  if (texts.length === 0) return undefined;
  return texts.map((text) => {
    const read = portRange.read(text);
    // The definition of the kind lets nothing else in; none is the safe reading.
    return read instanceof InvalidText ? { first: 0, last: -1 } : read;
  });
}

function isWithin(port: number, ranges: readonly PortRange[]): boolean {
  return ranges.some(({ first, last }) => port >= first && port <= last);
}

function showClaim(name: string): string {
  const port = readPortName(name);
  if (port === undefined) return `host ${name.replace(TLS, '')}`;
  return `${port.transport.toUpperCase()} port ${port.port}`;
}
