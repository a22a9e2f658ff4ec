// Objects that the definitions refuse, with what the API server says of each, and what they are
// made of.

import type { KubeObject } from '../../src/operator/objects.ts';

const FINGERPRINT = `sha256:${'a'.repeat(64)}`;
const WEB = { name: 'web', port: 80 };
export const MACHINE = { provider: 'ec2', credentialsSecret: 'cloud' };
export const URL_AND_TOKEN = { url: 'wss://a.example:8123', tokenSecret: { name: 'token' } };

export const tunnelOf = (spec: object): KubeObject & { readonly spec: object } => ({
  ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel', spec },
  metadata: { name: 'one', namespace: 'default' },
});
export const exitNodeOf = (spec: object): KubeObject & { readonly spec: object } => ({
  ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'ExitNode', spec },
  metadata: { name: 'one' },
});
export const tcp = (publicPort: number) => ({ publicPort, service: WEB });

export const REFUSED: readonly (readonly [string, KubeObject, RegExp])[] = [
  ['a tunnel of nothing', tunnelOf({}), /needs a port in tcp or udp, or a host in upstreams/],
  ['a tunnel of empty lists', tunnelOf({ tcp: [], udp: [], upstreams: [] }), /needs a port/],
  ['a port twice', tunnelOf({ tcp: [tcp(80), tcp(80)] }), /each publicPort is given once/],
  ['a UDP port twice', tunnelOf({ udp: [tcp(53), tcp(53)] }), /publicPort is given once/],
  ['port 0', tunnelOf({ tcp: [tcp(0)] }), /greater than or equal to 1/],
  ['UDP port 0', tunnelOf({ udp: [tcp(0)] }), /greater than or equal to 1/],
  [
    'a UDP Service elsewhere',
    tunnelOf({ udp: [{ publicPort: 53, service: { name: 'dns.other', port: 53 } }] }),
    /should match/,
  ],
  [
    'a PROXY header of version 1 before datagrams',
    tunnelOf({ udp: [tcp(53)], udpProxyProtocol: 'v1' }),
    /udpProxyProtocol: Unsupported value/,
  ],
  ['no range', exitNodeOf({ ...URL_AND_TOKEN, udpPorts: ['all'] }), /should match/],
  ['a host with a space', tunnelOf({ upstreams: [{ host: 'a b', service: WEB }] }), /should match/],
  [
    'a path of TLS',
    tunnelOf({ upstreams: [{ host: 'a.b', path: '/x', scheme: 'tls', service: WEB }] }),
    /only the name is read/,
  ],
  [
    'any host of TLS',
    tunnelOf({ upstreams: [{ host: '*', scheme: 'tls', service: WEB }] }),
    /passed through by a name/,
  ],
  [
    'a Service elsewhere',
    tunnelOf({ tcp: [{ publicPort: 80, service: { name: 'web.other', port: 80 } }] }),
    /should match/,
  ],
  ['no network', tunnelOf({ tcp: [tcp(80)], allowIps: ['192.0.2.0/33'] }), /write an IP address/],
  [
    'more networks than a client takes',
    tunnelOf({
      tcp: [tcp(80)],
      allowIps: Array.from({ length: 65 }, (_, at) => `10.0.${at}.0/24`),
    }),
    /allowIps: Too many: 65: must have at most 64 items/,
  ],
  [
    'an address of TLS',
    tunnelOf({ upstreams: [{ host: '192.0.2.1', scheme: 'tls', service: WEB }] }),
    /passed through by a name/,
  ],
  ['an empty list of visitors', tunnelOf({ tcp: [tcp(80)], allowIps: [] }), /at least 1 item/],
  [
    'an empty list of namespaces',
    exitNodeOf({ ...URL_AND_TOKEN, allowedNamespaces: [] }),
    /at least 1 item/,
  ],
  ['an empty list of ports', exitNodeOf({ provision: MACHINE, tcpPorts: [] }), /at least 1 item/],
  [
    'an empty list of UDP ports',
    exitNodeOf({ provision: MACHINE, tcpPorts: ['80'], udpPorts: [] }),
    /at least 1 item/,
  ],
  ['no replicas', tunnelOf({ tcp: [tcp(80)], client: { replicas: 0 } }), /greater than or equal/],
  [
    'no quantity',
    tunnelOf({ tcp: [tcp(80)], client: { resources: { limits: { memory: 'much' } } } }),
    /write a quantity/,
  ],
  ['an exit node of nothing', exitNodeOf({}), /give url for an exit node that is there/],
  ['both', exitNodeOf({ ...URL_AND_TOKEN, provision: MACHINE }), /give url for an exit node/],
  ['a URL without a token', exitNodeOf({ url: 'wss://a.example' }), /url needs tokenSecret/],
  [
    'a URL with a login',
    exitNodeOf({ ...URL_AND_TOKEN, url: 'wss://a:b@c.example' }),
    /should match/,
  ],
  ['http', exitNodeOf({ ...URL_AND_TOKEN, url: 'https://a.example' }), /should match/],
  [
    'one for each tunnel without a machine',
    exitNodeOf({ ...URL_AND_TOKEN, allocation: 'PerTunnel' }),
    /allocation PerTunnel needs provision/,
  ],
  [
    'a machine of a cloud that is not known',
    exitNodeOf({ provision: { ...MACHINE, provider: 'toaster' } }),
    /Unsupported value: \W+toaster/,
  ],
  [
    'a machine without credentials',
    exitNodeOf({ provision: { provider: 'ec2' } }),
    /credentialsSecret: Required value/,
  ],
  [
    'a region that leads elsewhere',
    exitNodeOf({ provision: { ...MACHINE, region: 'evil.example/' } }),
    /region in body should match/,
  ],
  [
    'a zone where there are regions',
    exitNodeOf({ provision: { ...MACHINE, zone: 'eu-central-1a' } }),
    /this provider has regions alone/,
  ],
  [
    'a zone and a region',
    exitNodeOf({ provision: { ...MACHINE, provider: 'gce', region: 'a', zone: 'b' } }),
    /give zone or region, not both/,
  ],
  [
    'a pin that pins nothing',
    exitNodeOf({ ...URL_AND_TOKEN, url: 'ws://a.example', caFingerprint: FINGERPRINT }),
    /caFingerprint is of an exit node/,
  ],
];
