// The charts of docker/charts, rendered by helm as a user would.
//
// Invariant: what helm warns of fails, but for the links to files of docker/operator, which are
// meant. Must not know: what is in a chart.

import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { type Output, runProgram } from './process.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CHARTS = path.join(ROOT, 'docker/charts');
/** Above what each chart asks for, as helm itself knows none here. */
const KUBERNETES = '1.34.0';
export const NAMESPACE = 'tunnels';

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly {
    readonly name: string;
    readonly containerPort: number;
    readonly protocol?: string;
  }[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumes?: readonly { readonly name: string }[];
  readonly terminationGracePeriodSeconds?: number;
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: unknown;
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
    readonly selector: Readonly<Record<string, unknown>>;
    readonly ports: readonly {
      readonly name: string;
      readonly port: number;
      readonly targetPort: string | number;
      readonly protocol?: string;
    }[];
    readonly ingress?: readonly {
      readonly ports: readonly { readonly port: string | number; readonly protocol: string }[];
    }[];
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
  };
}

/** Charts that are whole: the operator's is made of files of its own. */
export function chartNames(): string[] {
  return readdirSync(CHARTS).filter((chart) => existsSync(path.join(CHARTS, chart, 'Chart.yaml')));
}

export function examplesOf(chart: string): string[] {
  return readdirSync(path.join(CHARTS, chart, 'examples')).map((file) => `examples/${file}`);
}

export class Helm {
  readonly #t: TestContext;
  readonly #program: string;

  constructor(t: TestContext, program: string) {
    this.#t = t;
    this.#program = program;
  }

  async lint(chart: string, values: string): Promise<void> {
    demand(await this.#run(chart, ['lint', '.', '--strict', '--quiet', '--values', values]));
  }

  /** The objects of a release `edge`. */
  async template(chart: string, args: readonly string[]): Promise<Manifest[]> {
    const { stdout } = demand(await this.try(chart, args));
    return parseAllDocuments(stdout)
      .map((document) => document.toJS() as Manifest | null)
      .filter((manifest) => manifest !== null);
  }

  try(chart: string, args: readonly string[]): Promise<Output> {
    const release = ['template', 'edge', '.', '--namespace', NAMESPACE, '--include-crds'];
    return this.#run(chart, [...release, '--kube-version', KUBERNETES, ...args]);
  }

  #run(chart: string, args: readonly string[]): Promise<Output> {
    const cwd = path.join(CHARTS, chart);
    return runProgram(this.#t, { command: this.#program, args, cwd });
  }
}

function demand(output: Output): Output {
  const warnings = output.stderr
    .split('\n')
    .filter((line) => line !== '' && !line.includes('found symbolic link in path'));
  if (output.code === 0 && warnings.length === 0) return output;
  throw new Error(`helm ended with ${output.code}\n${output.stdout}\n${output.stderr}`);
}
