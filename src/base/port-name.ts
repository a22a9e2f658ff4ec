// Names of tunnels that are ports: `tcp:2222` and `udp:5353`.
//
// Invariant: TCP and UDP ports are two sets, so that one number may be a tunnel in each; a number
// is written in one way only. Must not know: who may have which port.

export type Transport = 'tcp' | 'udp';

export interface PortName {
  readonly transport: Transport;
  readonly port: number;
}

const PORT_NAME = /^(tcp|udp):([1-9][0-9]{0,4})$/;
const PORT_MAX = 65_535;
const UDP = 'udp:';

/** Undefined for any other text. */
export function readPortName(name: string): PortName | undefined {
  const match = PORT_NAME.exec(name);
  const port = Number(match?.[2]);
  return match === null || port > PORT_MAX ? undefined : { transport: match[1] as Transport, port };
}

/** Is it meant for one, of whatever number? */
export function isPortName(name: string): boolean {
  return name.startsWith('tcp:') || isUdpTunnel(name);
}

/** A tunnel of datagrams. */
export function isUdpTunnel(name: string): boolean {
  return name.startsWith(UDP);
}
