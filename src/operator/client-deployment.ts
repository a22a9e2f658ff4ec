// The Deployment that runs the client of a tunnel.
//
// Invariant: pure, and the same for the same tunnel, so that nothing is rolled out for nothing; the
// pod can reach nothing of the cluster's API, writes nowhere, and its token is a file; what the
// client would not take is told before it runs. Must not know: whether it exists.

import { createHash } from 'node:crypto';
import { ConfigError } from '../base/errors.ts';
import { readNetworkAround, showNetwork } from '../base/network.ts';
import { podText } from '../base/pod-text.ts';
import { resolveConfig } from '../config/config.ts';
import {
  type DeploymentObject,
  GROUP,
  type HostUpstream,
  type TunnelObject,
  type UpstreamRef,
} from './objects.ts';
import { MANAGED_LABELS, type OperatorSettings } from './settings.ts';

/** Says whose client it is: a name may be longer than a label can be. */
export const TUNNEL_ANNOTATION = `${GROUP}/tunnel`;
/** Of all that is asked for: what is asked for no more is not missed otherwise. */
const SPEC_ANNOTATION = `${GROUP}/spec`;
const TUNNEL_LABEL = `${GROUP}/tunnel-uid`;
/** As in the image, which has no name for it. */
const USER_ID = 65_532;
const TOKEN_FOLDER = '/run/secrets/sluiceway';
/** Longer than the client takes to drain. */
const GRACE_SECONDS = 45;
/** Where probes ask the client, by the family that pods have; no Service leads there. */
const METRICS_PORT = 9124;
const NAME_LENGTH_MAX = 52;
const SPEC_DIGITS = 16;
/** No less than GKE Autopilot makes of it. */
const RESOURCES = {
  requests: { cpu: '50m', memory: '64Mi' },
  limits: { memory: '256Mi' },
};

const probe = (path: string) => ({ httpGet: { path, port: 'metrics' }, timeoutSeconds: 5 });
const PROBES = {
  // Half a second of CPU takes ten where a busy node gives 50m; small machines need a multiple.
  startupProbe: { ...probe('/healthz'), periodSeconds: 1, failureThreshold: 120 },
  livenessProbe: { ...probe('/healthz'), periodSeconds: 10 },
  readinessProbe: { ...probe('/readyz'), periodSeconds: 2, failureThreshold: 2 },
};

export interface ClientTarget {
  readonly url: string;
  readonly tokenSecret: { readonly name: string; readonly key: string };
  readonly caFingerprint?: string | undefined;
}

/** Within the 63 characters of the label that its pods get. */
export function deploymentName({ metadata }: TunnelObject): string {
  const hash = digestOf(metadata.uid ?? '', 8);
  const readable = `${metadata.namespace}-${metadata.name}`.replaceAll('.', '-');
  return `${readable.slice(0, NAME_LENGTH_MAX)}-${hash}`;
}

export function clientDeployment(
  tunnel: TunnelObject,
  target: ClientTarget,
  settings: OperatorSettings,
): DeploymentObject {
  const { namespace = '', name, uid = '' } = tunnel.metadata;
  const selector = { [TUNNEL_LABEL]: uid };
  const labels = { ...MANAGED_LABELS, 'app.kubernetes.io/name': 'sluiceway-client', ...selector };
  const annotations = { [TUNNEL_ANNOTATION]: `${namespace}/${name}` };
  const spec = {
    replicas: tunnel.spec.client?.replicas ?? 1,
    selector: { matchLabels: selector },
    // The next client is ready, and so serves, before the last one goes.
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    template: { metadata: { labels, annotations }, spec: podSpec(tunnel, target, settings) },
  };
  const digest = digestOf(JSON.stringify(spec), SPEC_DIGITS);
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: deploymentName(tunnel),
      namespace: settings.namespace,
      labels,
      annotations: { ...annotations, [SPEC_ANNOTATION]: digest },
    },
    spec,
  };
}

function digestOf(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

function podSpec(tunnel: TunnelObject, target: ClientTarget, settings: OperatorSettings): object {
  const { resources = RESOURCES, nodeSelector, tolerations } = tunnel.spec.client ?? {};
  const { name: secretName, key } = target.tokenSecret;
  const { clientImagePullSecrets: pullSecrets } = settings;
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: GRACE_SECONDS,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER_ID,
      runAsGroup: USER_ID,
      fsGroup: USER_ID,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(pullSecrets.length === 0
      ? {}
      : { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
    ...(tolerations === undefined ? {} : { tolerations: tolerations.map(withoutEmpty) }),
    containers: [
      {
        name: 'client',
        image: settings.clientImage,
        args: clientArgs(tunnel, target).map(podText),
        ports: [{ name: 'metrics', containerPort: METRICS_PORT, protocol: 'TCP' }],
        ...PROBES,
        resources,
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [{ name: 'token', mountPath: TOKEN_FOLDER, readOnly: true }],
      },
    ],
    volumes: [
      {
        name: 'token',
        secret: { secretName, items: [{ key, path: 'token' }], defaultMode: 0o440 },
      },
    ],
  };
}

/** The API server drops what says nothing, and no list would ever be the same. */
function withoutEmpty(toleration: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(toleration).filter(([, value]) => value !== ''));
}

/** Stands for one that is not known yet, or was not given by those who made the tunnel. */
const ANY_TARGET: ClientTarget = {
  url: 'wss://127.0.0.1',
  tokenSecret: { name: 'any', key: 'any' },
};
const ANY_TOKEN = 'x'.repeat(64);

/**
 * Why the client of this tunnel would end with code 2 as soon as it starts: while the one before it
 * went on, without the allow list that nobody could read.
 */
export function clientProblem(tunnel: TunnelObject): string | undefined {
  // Of a definition that did not refuse it yet: no flag would be no list.
  if (tunnel.spec.allowIps?.length === 0) {
    return 'spec.allowIps is empty, and nobody would be kept out; give an entry, or leave it out';
  }
  const flags: Record<string, readonly string[]> = {};
  for (const [name, value] of clientFlags(tunnel, ANY_TARGET)) {
    flags[name] = [...(flags[name] ?? []), value];
  }
  try {
    resolveConfig({
      ...{ command: 'client', flags, env: {}, readFile: () => ANY_TOKEN },
      defaults: { cores: 1, logFormat: 'json' },
    });
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.join('; ').replaceAll(' (flag)', '');
    throw error;
  }
}

function clientArgs(tunnel: TunnelObject, target: ClientTarget): readonly string[] {
  return ['client', ...clientFlags(tunnel, target).map(([name, value]) => `--${name}=${value}`)];
}

type Flag = readonly [name: string, value: string];

function clientFlags(tunnel: TunnelObject, target: ClientTarget): readonly Flag[] {
  const { spec, metadata } = tunnel;
  const { tcp = [], udp = [], upstreams = [], allowIps = [], proxyProtocol = 'off' } = spec;
  const { udpProxyProtocol = 'off' } = spec;
  const at = ({ name, port }: UpstreamRef): string => `${name}.${metadata.namespace}.svc:${port}`;
  const isRaw = tcp.length > 0 || upstreams.some(({ scheme }) => scheme === 'tls');
  return [
    ['url', target.url],
    ['token-file', `${TOKEN_FOLDER}/token`],
    ...flagIf(target.caFingerprint !== undefined, 'auto-tls-fingerprint', target.caFingerprint),
    ...tcp.map(({ publicPort, service }): Flag => ['tcp', `${publicPort}=${at(service)}`]),
    ...udp.map(({ publicPort, service }): Flag => ['udp', `${publicPort}=${at(service)}`]),
    ...upstreams.map((upstream) => upstreamFlag(upstream, at(upstream.service))),
    ...allowIps.map((text): Flag => ['allow-ips', networkText(text)]),
    ...flagIf(proxyProtocol !== 'off' && isRaw, 'proxy-protocol', proxyProtocol),
    ...flagIf(udpProxyProtocol !== 'off' && udp.length > 0, 'udp-proxy-protocol', udpProxyProtocol),
    ['metrics-addr', `[::]:${METRICS_PORT}`],
    ['status-dir', 'off'],
    ['log-format', 'json'],
  ];
}

function flagIf(isGiven: boolean, name: string, value = ''): readonly Flag[] {
  return isGiven ? [[name, value]] : [];
}

/** In Kubernetes an address of a network stands for all of it; the client takes no such text. */
function networkText(text: string): string {
  const read = readNetworkAround(text);
  return typeof read === 'string' ? text : text.includes('/') ? showNetwork(read) : text;
}

function upstreamFlag({ host, path = '', scheme = 'http' }: HostUpstream, target: string): Flag {
  return scheme === 'tls'
    ? ['tls-passthrough', `${host}=${target}`]
    : ['upstream', `${host}${path}=${scheme}://${target}`];
}
