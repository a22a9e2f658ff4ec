// The Deployment that runs the client of a tunnel.
//
// Invariant: pure, and the same for the same tunnel, so that nothing is rolled out for nothing; the
// pod can reach nothing of the cluster's API, writes nowhere, and its token is a file. Must not
// know: whether it exists.

import { createHash } from 'node:crypto';
import { podText } from '../base/pod-text.ts';
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
/** Where probes ask the client; no Service leads there. */
const METRICS_PORT = 9124;
const NAME_LENGTH_MAX = 52;
const SPEC_DIGITS = 16;
const RESOURCES = {
  requests: { cpu: '25m', memory: '64Mi' },
  limits: { memory: '256Mi' },
};

const probe = (path: string) => ({ httpGet: { path, port: 'metrics' }, timeoutSeconds: 5 });
const PROBES = {
  livenessProbe: { ...probe('/healthz'), initialDelaySeconds: 10, periodSeconds: 10 },
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

function clientArgs(tunnel: TunnelObject, target: ClientTarget): readonly string[] {
  const { spec, metadata } = tunnel;
  const { tcp = [], udp = [], upstreams = [], allowIps = [], proxyProtocol = 'off' } = spec;
  const { udpProxyProtocol = 'off' } = spec;
  const at = ({ name, port }: UpstreamRef): string => `${name}.${metadata.namespace}.svc:${port}`;
  const isRaw = tcp.length > 0 || upstreams.some(({ scheme }) => scheme === 'tls');
  return [
    'client',
    `--url=${target.url}`,
    `--token-file=${TOKEN_FOLDER}/token`,
    ...(target.caFingerprint === undefined
      ? []
      : [`--auto-tls-fingerprint=${target.caFingerprint}`]),
    ...tcp.map(({ publicPort, service }) => `--tcp=${publicPort}=${at(service)}`),
    ...udp.map(({ publicPort, service }) => `--udp=${publicPort}=${at(service)}`),
    ...upstreams.map((upstream) => upstreamArg(upstream, at(upstream.service))),
    ...allowIps.map((network) => `--allow-ips=${network}`),
    ...(proxyProtocol === 'off' || !isRaw ? [] : [`--proxy-protocol=${proxyProtocol}`]),
    ...(udpProxyProtocol === 'off' || udp.length === 0
      ? []
      : [`--udp-proxy-protocol=${udpProxyProtocol}`]),
    `--metrics-addr=0.0.0.0:${METRICS_PORT}`,
    '--status-dir=off',
    '--log-format=json',
  ];
}

function upstreamArg({ host, path = '', scheme = 'http' }: HostUpstream, target: string): string {
  return scheme === 'tls'
    ? `--tls-passthrough=${host}=${target}`
    : `--upstream=${host}${path}=${scheme}://${target}`;
}
