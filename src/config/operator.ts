// The options of `sluiceway operator`, and the configuration that they make.
//
// Invariant: a lease is always renewed well within the time after which others take it. Must not
// know: the Kubernetes API, or what is done with the options.

import { type Address, addressOrOff, httpsUrl } from './address.ts';
import { type Kind, many, type Option, one, optional, type ValuesOf } from './option.ts';
import {
  buildPackage,
  NPM_REGISTRY,
  type PackageConfig,
  packageDigest,
  packageSpec,
} from './package.ts';
import { boolean, choice, duration, path, text } from './quantity.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;
const CLASS = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?$/;
const IMAGE = /^[\w.:/@-]{1,512}$/;
const NAME_RIGHT = 'is no name of a Kubernetes object; write a-z, 0-9 and "-"';

export const kubernetesLabel: Kind<string> = text('NAME', LABEL, NAME_RIGHT);

export const containerImage: Kind<string> = text(
  'IMAGE',
  IMAGE,
  'is no image; write NAME:TAG or NAME@sha256:…',
);

function lease(value: string, help: string): Option<number> {
  return one(duration({ min: 100, max: 10 * MINUTE_MS }), { default: value, help, isTuning: true });
}

export const OPERATOR_OPTIONS = {
  kubeconfig: optional(path, {
    help: 'how to reach the cluster; else KUBECONFIG, ~/.kube/config, or the service account',
  }),
  'watch-namespace': many(kubernetesLabel, {
    help: 'look for Services and tunnels in this namespace alone; in all if none',
  }),
  'operator-namespace': optional(kubernetesLabel, {
    help: 'namespace of clients, their tokens and the lease; that of its pod if none',
  }),
  services: one(choice(['class', 'annotated', 'all']), {
    default: 'class',
    help: 'serve Services of the class; annotated ones too; or all that name no other class',
  }),
  'load-balancer-class': one(
    text('CLASS', CLASS, 'is no class; write a domain, "/" and a name, such as example.com/tunnel'),
    { default: 'sluiceway.dev/tunnel', help: 'loadBalancerClass of the Services to serve' },
  ),
  'exit-node': optional(text('NAME', NAME, NAME_RIGHT), {
    help: 'ExitNode of Services and tunnels that name none',
  }),
  'client-image': one(containerImage, {
    default: 'sluiceway',
    help: 'container image that clients run',
  }),
  'client-image-pull-secret': many(text('NAME', NAME, NAME_RIGHT), {
    help: 'secret in the namespace of clients with which their image is pulled',
  }),
  'machine-package': optional(packageSpec, {
    help: 'what machines of exit nodes install, as npm names it, or a URL; this version if none',
  }),
  'machine-package-integrity': optional(packageDigest, {
    help: 'of the archive behind a URL, as npm pack prints it',
  }),
  'machine-registry': one(httpsUrl, {
    default: NPM_REGISTRY,
    help: 'of npm, for the package, Node and npm on machines',
  }),
  'metrics-addr': one(addressOrOff, {
    default: '[::]:9124',
    help: '/metrics, /healthz and /readyz of the operator; or off',
  }),
  'leader-election': one(boolean, {
    default: 'true',
    help: 'let one of several operators work, which holds a Lease',
  }),
  'lease-name': one(text('NAME', NAME, NAME_RIGHT), {
    default: 'sluiceway-operator',
    help: 'the Lease, in the namespace of the operator',
  }),
  'lease-duration': lease('15s', 'others take the lead when the lease was not renewed for so long'),
  'lease-renew-within': lease('10s', 'without a renewal for so long an operator stops working'),
  'lease-retry': lease('2s', 'time between two renewals, or tries to get the lease'),
  'resync-interval': one(duration({ min: 1000, max: 24 * HOUR_MS }), {
    default: '10m',
    help: 'look at everything anew this often, whatever has changed',
    isTuning: true,
  }),
};

/** Neighbours of which the first, times `factor`, must not exceed the second. */
export const LEASE_RELATIONS = [
  { lower: 'lease-renew-within', factor: 1, upper: 'lease-duration' },
  { lower: 'lease-retry', factor: 2, upper: 'lease-renew-within' },
] as const;

export interface OperatorConfig {
  readonly kubeconfig?: string;
  /** Absent: where the operator's pod is. */
  readonly operatorNamespace?: string;
  /** Empty: all. */
  readonly namespaces: readonly string[];
  readonly settings: {
    readonly services: 'class' | 'annotated' | 'all';
    readonly loadBalancerClass: string;
    readonly exitNode?: string;
    readonly clientImage: string;
    readonly clientImagePullSecrets: readonly string[];
  };
  /** What machines of exit nodes install. */
  readonly machinePackage: PackageConfig;
  readonly metricsAddr: Address | 'off';
  /** Absent: it is the only one. */
  readonly lease?: {
    readonly name: string;
    readonly leaseMs: number;
    readonly renewWithinMs: number;
    readonly retryMs: number;
  };
  readonly resyncMs: number;
}

export function buildOperator(values: ValuesOf<typeof OPERATOR_OPTIONS>): OperatorConfig {
  const { kubeconfig, 'operator-namespace': operatorNamespace, 'exit-node': exitNode } = values;
  return {
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(operatorNamespace === undefined ? {} : { operatorNamespace }),
    namespaces: [...new Set(values['watch-namespace'])],
    settings: {
      services: values.services,
      loadBalancerClass: values['load-balancer-class'],
      ...(exitNode === undefined ? {} : { exitNode }),
      clientImage: values['client-image'],
      clientImagePullSecrets: values['client-image-pull-secret'],
    },
    machinePackage: buildPackage({
      package: values['machine-package'],
      'package-integrity': values['machine-package-integrity'],
      registry: values['machine-registry'],
    }),
    metricsAddr: values['metrics-addr'],
    ...(values['leader-election']
      ? {
          lease: {
            name: values['lease-name'],
            leaseMs: values['lease-duration'],
            renewWithinMs: values['lease-renew-within'],
            retryMs: values['lease-retry'],
          },
        }
      : {}),
    resyncMs: values['resync-interval'],
  };
}
