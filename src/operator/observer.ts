// What plans have to know beyond the objects: machines, secrets, and what exit nodes answer.
//
// Invariant: looks and changes nothing; what cannot be learnt is `unknown` and never "not there".
// Must not know: what follows from it.

import { randomBytes } from 'node:crypto';
import { claimsOf } from './claims.ts';
import type { Served } from './client-readiness.ts';
import {
  type ExitNodeObserved,
  hasFinalizer,
  machineUrl,
  pinOf,
  tokenSecretOf,
} from './exit-node-plan.ts';
import type { ExitNodeProbe } from './exit-node-probe.ts';
import type { Inventory } from './inventory.ts';
import type { MachineShop } from './machine-shop.ts';
import type { DeploymentObject, ExitNodeObject, TunnelObject } from './objects.ts';
import type { OperatorSettings } from './settings.ts';
import { OWN_EXIT_NODE } from './tunnel-plan.ts';

const TOKEN_BYTES = 32;

export interface ObserverOptions {
  readonly inventory: Inventory;
  readonly shop: MachineShop;
  readonly probe: ExitNodeProbe;
  readonly settings: OperatorSettings;
  /** Empty: all. */
  readonly namespaces: readonly string[];
}

export class Observer {
  readonly #options: ObserverOptions;

  constructor(options: ObserverOptions) {
    this.#options = options;
  }

  async served(
    { status, spec }: TunnelObject,
    deployment: DeploymentObject | undefined,
  ): Promise<Served> {
    const exitNode = this.#options.inventory.exitNode(status?.exitNode ?? '');
    const { url, caFingerprint } = exitNode?.status ?? {};
    if (deployment === undefined || exitNode === undefined || url === undefined) return 'unknown';
    const pin = exitNode.spec.caFingerprint ?? caFingerprint;
    const claims = claimsOf(spec);
    if ('reason' in claims) return 'unknown';
    return await this.#options.probe.served({ url, caFingerprint: pin }, claims);
  }

  async exitNode(exitNode: ExitNodeObject, now: string): Promise<ExitNodeObserved> {
    const { spec, status, metadata } = exitNode;
    const isTemplate = spec.allocation === 'PerTunnel';
    // A template that has had a machine of its own is looked after until that has gone.
    const isProvisioned = spec.provision !== undefined && (!isTemplate || hasFinalizer(exitNode));
    const { machine, refusal } = isProvisioned
      ? await this.#options.shop.find(exitNode)
      : ({ machine: 'none', refusal: undefined } as const);
    const secret = tokenSecretOf(exitNode);
    const hasSecret =
      secret !== undefined && !isTemplate
        ? await this.#options.shop.hasSecret(secret.name, secret.key)
        : false;
    const id = typeof machine === 'object' ? machine.id : status?.machine?.id;
    const address = typeof machine === 'object' ? machine.address : undefined;
    const url = spec.url ?? (address === undefined ? status?.url : machineUrl(address));
    const caFingerprint = spec.caFingerprint ?? pinOf(exitNode, id);
    const isAsked = url !== undefined && metadata.deletionTimestamp === undefined && hasSecret;
    const tunnels = this.#options.inventory.tunnels();
    return {
      ...{ exitNode, machine, refusal, hasSecret },
      reach: isAsked ? await this.#options.probe.reach({ url, caFingerprint }) : { is: 'unasked' },
      hasOwner: this.#hasOwner(exitNode),
      tunnels: tunnels.filter((tunnel) => tunnel.status?.exitNode === metadata.name).length,
      newToken: randomBytes(TOKEN_BYTES).toString('base64url'),
      settings: this.#options.settings,
      now,
    };
  }

  /** Of one that was made for a tunnel: is that there? What is not watched is taken to be. */
  #hasOwner({ metadata }: ExitNodeObject): boolean {
    const uid = metadata.labels?.[OWN_EXIT_NODE.uid];
    const namespace = metadata.annotations?.[OWN_EXIT_NODE.namespace] ?? '';
    if (uid === undefined || !this.isWatched(namespace)) return true;
    return this.#options.inventory.tunnels().some((tunnel) => tunnel.metadata.uid === uid);
  }

  /**
   * One that is for the namespaces of another operator alone is left to that. Not its end: there
   * may be no other, and its machine is found by its uid, whoever ends it.
   */
  isOurs(exitNode: ExitNodeObject): boolean {
    const { allowedNamespaces = [] } = exitNode.spec;
    if (exitNode.metadata.deletionTimestamp !== undefined && hasFinalizer(exitNode)) return true;
    return allowedNamespaces.length === 0 || allowedNamespaces.some((name) => this.isWatched(name));
  }

  isWatched(namespace: string): boolean {
    const { namespaces } = this.#options;
    return namespaces.length === 0 || namespaces.includes(namespace);
  }
}
