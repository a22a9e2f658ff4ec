// Manifests for Kubernetes: a Deployment, a Service for a server, and a claim for what is kept.
//
// Invariant: the pod passes the `restricted` standard of Pod Security; secrets are in one Secret
// that the manifests name and do not hold; probes ask where the configuration answers, and a client
// that was given no place for them gets one. Must not know: how to reach a cluster.

import { ConfigError } from '../base/errors.ts';
import { podText } from '../base/pod-text.ts';
import type { GivenConfig } from '../config/config.ts';
import { IMAGE_STATE_FOLDER, IMAGE_USER } from './compose-file.ts';
import { plainYaml } from './plain-yaml.ts';
import { type Argument, type Plan, type PlannedFile, planDeployment } from './plan.ts';
import { PUBLISHED_PORTS_MAX, publishedByContainer, type Reach, reachOf } from './reach.ts';
import { shellWord } from './shell-word.ts';
import { OWN_FOLDER, refuseOfContainer, socketFolders } from './socket-folders.ts';

export interface ManifestOptions {
  readonly name: string;
  readonly image: string;
  /** Absent: that of the context. */
  readonly namespace?: string;
}

const FILES_FOLDER = '/etc/sluiceway';
const READ_BY_GROUP = 0o440;
const METRICS_PORT = 9124;
/** Pods may have addresses of either family alone. */
const METRICS: Argument = ['--metrics-addr', `[::]:${METRICS_PORT}`];

export function kubernetesManifests(given: GivenConfig, options: ManifestOptions): string {
  const planned = planDeployment(given, { stateFolder: IMAGE_STATE_FOLDER, place: placeOf });
  const reach = publishedByContainer(reachOf(given));
  const isAsked = canBeAsked(given);
  if (isAsked) keepPortFree(given as GivenConfig<'client'>);
  const plan = isAsked ? { ...planned, args: [...planned.args, METRICS] } : planned;
  const documents = [
    ...(reach.keepsState ? [claimOf(options)] : []),
    deploymentOf(plan, reach, options),
    ...(plan.command === 'server' ? [serviceOf(reach, options)] : []),
  ];
  const texts = documents.map((one) => plainYaml(one));
  return `${comments(plan, reach, options).join('\n')}\n${texts.join('---\n')}`;
}

/** Without readiness a rollout would end the old pod before the new one has a link. */
function canBeAsked({ command, options }: GivenConfig): boolean {
  return command === 'client' && options.every(({ name }) => name !== 'metrics-addr');
}

/** The client's own check has not seen the address that is added here. */
function keepPortFree({ config }: GivenConfig<'client'>): void {
  const { locals, localSocks } = config;
  const taken = [
    ...(locals.some(({ port }) => port === METRICS_PORT) ? ['local'] : []),
    ...(localSocks === METRICS_PORT ? ['local-socks'] : []),
  ];
  if (taken.length === 0) return;
  throw new ConfigError(
    taken.map(
      (name) =>
        `--${name}: port ${METRICS_PORT} is where probes ask a pod, by ${METRICS.join(' ')}; ` +
        `give --${name} another port, or --metrics-addr one`,
    ),
  );
}

/** Not the links beside it: they lead through names with a dot, which no upstream serves. */
function placeOf(file: PlannedFile): string {
  return file.kind === 'folder' ? `${mountOf(file)}/..data` : `${FILES_FOLDER}/${file.name}`;
}

/** Of a folder, where the image has nothing, whatever its name is. */
function mountOf({ name }: PlannedFile): string {
  return `/srv/${name}`;
}

function metadata({ name, namespace }: ManifestOptions, suffix = '') {
  return {
    name: `${name}${suffix}`,
    ...(namespace === undefined ? {} : { namespace }),
    labels: labelsOf(name),
  };
}

function labelsOf(name: string) {
  return { 'app.kubernetes.io/name': 'sluiceway', 'app.kubernetes.io/instance': name };
}

function claimOf(options: ManifestOptions) {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: metadata(options, '-state'),
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  };
}

function deploymentOf(plan: Plan, reach: Reach, options: ManifestOptions) {
  const { name } = options;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata(options),
    spec: {
      replicas: 1,
      // Two pods at once would share one claim; two servers, one certificate as well.
      strategy: { type: isAlone(plan, reach) ? 'Recreate' : 'RollingUpdate' },
      selector: { matchLabels: labelsOf(name) },
      template: {
        metadata: { labels: labelsOf(name) },
        spec: podOf(plan, reach, options),
      },
    },
  };
}

function isAlone({ command }: Plan, { keepsState }: Reach): boolean {
  return command === 'server' || keepsState;
}

function podOf(plan: Plan, reach: Reach, options: ManifestOptions) {
  return {
    automountServiceAccountToken: false,
    // Variables of the Service would look like options.
    enableServiceLinks: false,
    terminationGracePeriodSeconds: reach.stopSeconds,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: IMAGE_USER,
      runAsGroup: IMAGE_USER,
      fsGroup: IMAGE_USER,
      seccompProfile: { type: 'RuntimeDefault' },
      ...(reach.lowPortOptions.length > 0
        ? { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] }
        : {}),
    },
    containers: [containerOf(plan, reach, options)],
    volumes: volumesOf(plan, reach, options),
  };
}

function containerOf(plan: Plan, reach: Reach, { name, image }: ManifestOptions) {
  const hasFiles = plan.files.some(({ kind }) => kind !== 'folder');
  const folders = foldersOf(plan);
  return {
    name: 'sluiceway',
    image,
    args: [plan.command, ...plan.args.flat()].map(podText),
    ...(plan.variables.length === 0
      ? {}
      : { env: plan.variables.map((one) => fromSecret(one, name)) }),
    ...(plan.command === 'server' ? askedAtServer(reach) : askedAtClient(plan, reach)),
    resources: { requests: { cpu: '100m', memory: '128Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      { name: 'state', mountPath: IMAGE_STATE_FOLDER },
      ...(hasFiles ? [{ name: 'files', mountPath: FILES_FOLDER, readOnly: true }] : []),
      ...folders.map(({ file, volume }) => ({
        name: volume,
        mountPath: mountOf(file),
        readOnly: true,
      })),
      ...socketVolumes(plan, reach).map(({ folder, volume }) => ({
        name: volume,
        mountPath: folder,
        readOnly: true,
      })),
    ],
  };
}

function fromSecret({ variable }: { readonly variable: string }, name: string) {
  return { name: variable, valueFrom: { secretKeyRef: { name, key: variable } } };
}

function volumesOf(plan: Plan, reach: Reach, { name }: ManifestOptions) {
  const files = plan.files.filter(({ kind }) => kind !== 'folder');
  const folders = foldersOf(plan);
  const state = reach.keepsState
    ? { persistentVolumeClaim: { claimName: `${name}-state` } }
    : emptyFolder();
  const items = files.map((file) => ({ key: file.name, path: file.name }));
  return [
    { name: 'state', ...state },
    ...(files.length === 0
      ? []
      : [{ name: 'files', secret: { secretName: name, defaultMode: READ_BY_GROUP, items } }]),
    ...folders.map(({ volume }) => ({
      name: volume,
      configMap: { name: `${name}-${volume}` },
    })),
    ...socketVolumes(plan, reach).map(({ volume }) => ({ name: volume, ...emptyFolder() })),
  ];
}

function refuseColon(folder: string): string | undefined {
  if (!folder.includes(':')) return undefined;
  return `a volume cannot be at ${folder}, which has a colon; ${OWN_FOLDER}`;
}

function emptyFolder() {
  return { emptyDir: { sizeLimit: '16Mi' } };
}

/**
 * A folder of the node would be that of whichever node the pod is on, and no standard of Pod
 * Security but `privileged` lets it in: a socket is made by a container beside this one.
 */
function socketVolumes({ files }: Plan, { sockets }: Reach) {
  const places = files.filter(({ kind }) => kind === 'folder').map(mountOf);
  const ofContainer = refuseOfContainer([IMAGE_STATE_FOLDER, ...places]);
  return socketFolders(sockets, (one) => refuseColon(one) ?? ofContainer(one)).map(
    (folder, index) => ({
      folder,
      volume: `socket-${index + 1}`,
    }),
  );
}

/** By its number: names of folders are longer, and have characters, that volumes may not have. */
function foldersOf({ files }: Plan): readonly { file: PlannedFile; volume: string }[] {
  return files
    .filter(({ kind }) => kind === 'folder')
    .map((file, index) => ({ file, volume: `folder-${index + 1}` }));
}

/** Kubelet verifies no certificate. */
function askedAtServer({ ports, isPlainControl }: Reach) {
  const get = (path: string) => ({
    httpGet: { path, port: 'control', scheme: isPlainControl ? 'HTTP' : 'HTTPS' },
  });
  return {
    ports: ports.map(({ name, port, protocol }) => ({
      name,
      containerPort: port,
      protocol: protocol.toUpperCase(),
    })),
    ...probes(get),
  };
}

/** Kubelet comes from outside of the pod; a port that the system chooses nobody finds. */
function askedAtClient({ args }: Plan, { metrics }: Reach) {
  const port = args.includes(METRICS) ? METRICS_PORT : metrics;
  if (port === undefined) return {};
  return {
    ports: [{ name: 'metrics', containerPort: port, protocol: 'TCP' }],
    ...probes((path) => ({ httpGet: { path, port: 'metrics' } })),
  };
}

function probes(get: (path: string) => object) {
  return {
    startupProbe: { ...get('/healthz'), periodSeconds: 1, failureThreshold: 60 },
    livenessProbe: {
      ...get('/healthz'),
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 3,
    },
    readinessProbe: { ...get('/readyz'), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2 },
  };
}

function serviceOf({ ports }: Reach, options: ManifestOptions) {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(options),
    spec: {
      type: 'LoadBalancer',
      // The visitor's own address, and no second hop.
      externalTrafficPolicy: 'Local',
      selector: labelsOf(options.name),
      ports: ports.map(({ name, port, protocol }) => ({
        ...{ name, port, targetPort: name },
        protocol: protocol.toUpperCase(),
      })),
    },
  };
}

function comments(plan: Plan, reach: Reach, { name, namespace }: ManifestOptions): string[] {
  const where = namespace === undefined ? '' : ` -n ${namespace}`;
  const files = plan.files.filter(({ kind }) => kind !== 'folder');
  const folders = foldersOf(plan);
  const parts = [
    ...files.map(({ name: key, source, typedIn = key }) => fromFile(source ?? typedIn, `${key}=`)),
    ...plan.variables.map(({ variable }) => `--from-file=${variable}=${variable}`),
  ];
  const secret = `kubectl create secret generic ${name}${where} ${parts.join(' ')}`;
  const typed = files.some(({ text }) => text !== undefined) || plan.variables.length > 0;
  return [
    '# First its secrets, then what is below: kubectl apply -f FILE',
    '#',
    ...(parts.length === 0 ? [] : [`#   ${secret}`]),
    ...folders.map(
      ({ file, volume }) =>
        `#   kubectl create configmap ${name}-${volume}${where} ${fromFile(file.source ?? '')}`,
    ),
    ...(folders.length === 0
      ? []
      : ['# A ConfigMap has the files of a folder, 1 MiB in all, and no folder that is in it.']),
    ...(parts.length + folders.length === 0 ? [] : ['#']),
    ...(typed
      ? ['# What was given by value is not in here: put it in the file named above first.']
      : []),
    ...reach.openRanges.map(
      (of) =>
        `# A Service lists its ports: give --${of}-ports with those of the ` +
        `${of.toUpperCase()} tunnels you want, ${PUBLISHED_PORTS_MAX} at most.`,
    ),
    ...socketVolumes(plan, reach).map(
      ({ folder, volume }) =>
        `# ${folder} is the pod's: add the container that makes the socket there, in volume ` +
        `${volume}; it runs as user ${IMAGE_USER} too, or lets that group write to the socket.`,
    ),
    ...(reach.usesLoopback ? ['# 127.0.0.1 is the pod itself: name a Service instead.'] : []),
  ];
}

/** kubectl takes a field of CSV, and what is before the one equals sign for the name. */
function fromFile(path: string, key = ''): string {
  if (path.includes('=')) {
    throw new ConfigError([`${path}: kubectl takes no path with "="; give the file another name`]);
  }
  const field = `${key}${path}`;
  const isPlain = !/[",]/.test(field);
  return `--from-file=${shellWord(isPlain ? field : `"${field.replaceAll('"', '""')}"`)}`;
}
