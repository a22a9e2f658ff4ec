// The Kubernetes objects that the operator reads and writes, as far as it knows their fields.
//
// Invariant: interfaces only; what a cluster sends has more fields, which are kept where an object
// is patched and ignored where it is read. Must not know: how objects travel, or what they mean
// for each other.

export const GROUP = 'sluiceway.dev';
export const TUNNEL_API = `${GROUP}/v1alpha1`;

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  /** Absent for what belongs to the whole cluster. */
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol?: string;
}

/** How one port of the Service fares at the address. */
export interface IngressPort {
  readonly port: number;
  readonly protocol: string;
  /** Why it is not to be had there. */
  readonly error?: string;
}

export interface IngressPoint {
  readonly ip?: string;
  readonly hostname?: string;
  readonly ipMode?: string;
  readonly ports?: readonly IngressPort[];
}

export interface ServiceObject extends KubeObject {
  readonly spec?: {
    readonly type?: string;
    readonly loadBalancerClass?: string;
    readonly loadBalancerSourceRanges?: readonly string[];
    readonly ports?: readonly ServicePort[];
  };
  readonly status?: {
    readonly loadBalancer?: { readonly ingress?: readonly IngressPoint[] };
    readonly conditions?: readonly Condition[];
  };
}

/** A port of a Service in the tunnel's own namespace: nobody publishes what is another's. */
export interface UpstreamRef {
  readonly name: string;
  readonly port: number;
}

export interface HostUpstream {
  readonly host: string;
  readonly path?: string;
  /** `tls`: not decrypted, found by the server name. */
  readonly scheme?: 'http' | 'https' | 'tls';
  readonly service: UpstreamRef;
}

/** Of TCP or of UDP, by the list that it is in. */
export interface PortUpstream {
  readonly publicPort: number;
  readonly service: UpstreamRef;
}

export interface TunnelSpecFields {
  /** Name of an ExitNode; the operator's default when left out. */
  readonly exitNode?: string;
  readonly upstreams?: readonly HostUpstream[];
  readonly tcp?: readonly PortUpstream[];
  readonly udp?: readonly PortUpstream[];
  /** Absent: everyone. An empty one is refused, also where an older definition has stored it. */
  readonly allowIps?: readonly string[];
  readonly proxyProtocol?: 'off' | 'v1' | 'v2';
  readonly udpProxyProtocol?: 'off' | 'v2';
  readonly client?: ClientSettings;
}

/** How the client of a tunnel runs. */
export interface ClientSettings {
  readonly replicas?: number;
  readonly resources?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly Readonly<Record<string, unknown>>[];
}

/** Names on an exit node: `tcp:80`, `udp:53`, `example.com/api`. */
export interface Holding {
  readonly exitNode: string;
  readonly claims: readonly string[];
}

export interface TunnelStatus {
  readonly observedGeneration?: number;
  /** The ExitNode in use, which differs from the spec's where each tunnel has one of its own. */
  readonly exitNode?: string;
  /** Names that this tunnel holds on its exit node. */
  readonly claims?: readonly string[];
  /** Held on others, until no client serves them there. */
  readonly leaving?: readonly Holding[];
  readonly addresses?: readonly string[];
  readonly endpoints?: readonly string[];
  readonly clientDeployment?: string;
  readonly conditions?: readonly Condition[];
}

export interface TunnelObject extends KubeObject {
  readonly spec: TunnelSpecFields;
  readonly status?: TunnelStatus;
}

/** What a machine of one's own is ordered by; the words are the provider's. */
export interface Provision {
  readonly provider: string;
  readonly region?: string;
  readonly plan?: string;
  readonly zone?: string;
  readonly image?: string;
  /** Secret in the operator's namespace, all keys of which go to the provider. */
  readonly credentialsSecret: string;
}

export interface ExitNodeSpecFields {
  readonly url?: string;
  readonly addresses?: readonly string[];
  readonly tokenSecret?: { readonly name: string; readonly key?: string };
  readonly caFingerprint?: string;
  readonly provision?: Provision;
  readonly allocation?: 'Shared' | 'PerTunnel';
  /** Absent: all. Empty is refused, too, and where it is stored stands for none. */
  readonly allowedNamespaces?: readonly string[];
  /**
   * What the exit node lets clients ask for, such as `1024-65535`. Absent: not known here, or of a
   * machine that is ordered those of `claims.ts`.
   */
  readonly tcpPorts?: readonly string[];
  /** The same; absent: as `tcpPorts`, which is what the exit node's own options do. */
  readonly udpPorts?: readonly string[];
}

export interface ExitNodeStatus {
  readonly observedGeneration?: number;
  readonly url?: string;
  readonly addresses?: readonly string[];
  /** Of the private CA that was seen first, and no other since. */
  readonly caFingerprint?: string;
  readonly tokenSecret?: { readonly name: string; readonly key: string };
  readonly machine?: { readonly id: string; readonly state: string; readonly since: string };
  readonly tunnels?: number;
  readonly conditions?: readonly Condition[];
}

export interface ExitNodeObject extends KubeObject {
  readonly spec: ExitNodeSpecFields;
  readonly status?: ExitNodeStatus;
}

export interface DeploymentObject extends KubeObject {
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly availableReplicas?: number;
    readonly updatedReplicas?: number;
    readonly conditions?: readonly DeploymentCondition[];
  };
}

export interface DeploymentCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastUpdateTime?: string;
  readonly lastTransitionTime?: string;
}

export interface SecretObject extends KubeObject {
  readonly type?: string;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}

export interface LeaseObject extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

/** `namespace/name`, or the name alone. */
export function keyOf({ metadata }: KubeObject): string {
  const { namespace, name } = metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}
