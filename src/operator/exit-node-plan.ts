// From an ExitNode as it is to what has to be done for it: a machine, a token, a status.
//
//   provision: finalizer --> token --> machine ordered --> found and running --> asked --> Ready
//                                         '--removed<-- stopped, or never up
//   url:                                                       secret there --> asked --> Ready
//
// Invariant: pure; a machine is ordered only under a finalizer and after the order was written
// down, and the finalizer goes only when no machine is found and none may be listed yet; the CA
// that was seen first is trusted for as long as the machine, or the address that was given, is the
// same, whatever is missing meanwhile. Must not know: any cloud.

import { wallMsOf } from '../base/clock.ts';
import { unbracketed } from '../base/ip.ts';
import type { Action, Plan } from './actions.ts';
import { READY } from './client-readiness.ts';
import { conditionOf, isNews, type Verdict, withConditions } from './conditions.ts';
import { covers } from './drift.ts';
import type { Found, Machine } from './machine.ts';
import { type ExitNodeObject, type ExitNodeStatus, GROUP, type SecretObject } from './objects.ts';
import { MANAGED_LABELS, type OperatorSettings } from './settings.ts';

export const EXIT_NODE_FINALIZER = `${GROUP}/machine`;
/** Of exit nodes on machines of their own. */
export const MACHINE_CONTROL_PORT = 8123;
/**
 * A cloud may list what it made only after a while: before that, an order whose answer was lost
 * is not given again, nor taken to have made nothing. Guess.
 */
const ORDER_GRACE_MS = 60_000;
/** One that has stopped for so long is replaced. Longer than a provider's own restart. Guess. */
const STOPPED_GRACE_MS = 60_000;
/** From an order to an answer, as `exit-node create` waits. */
const UP_WITHIN_MS = 15 * 60_000;
const DEFAULT_KEY = 'token';
/** What is told of a machine in these states, before another one takes its place. */
const FAULTS: Readonly<Record<string, string>> = {
  stopped: 'has stopped',
  addressless: 'has no address',
};

export interface ExitNodeObserved {
  readonly exitNode: ExitNodeObject;
  readonly machine: Found;
  /** What the provider said when it refused, or why there is none. */
  readonly refusal: string | undefined;
  /** Of the token. */
  readonly hasSecret: boolean;
  /** What its control port answers. */
  readonly reach: Reach;
  /** False for one that was made for a tunnel which has gone. */
  readonly hasOwner: boolean;
  /** How many tunnels are on it. */
  readonly tunnels: number;
  /** For a secret that has to be made. */
  readonly newToken: string;
  readonly settings: OperatorSettings;
  readonly now: string;
}

export type Reach =
  | { readonly is: 'ready'; readonly caFingerprint?: string }
  | { readonly is: 'away'; readonly message: string }
  | { readonly is: 'unasked' };

export function planExitNode(observed: ExitNodeObserved): Plan {
  const { metadata, spec } = observed.exitNode;
  if (metadata.deletionTimestamp !== undefined) return planRemoval(observed);
  if (!observed.hasOwner) {
    const { name, uid } = metadata;
    return { actions: [{ do: 'delete', ref: { kind: 'ExitNode', name }, uid }], next: 'settled' };
  }
  if (spec.allocation === 'PerTunnel') return planTemplate(observed);
  return spec.provision === undefined ? planGiven(observed) : planMachine(observed);
}

function planRemoval(observed: ExitNodeObserved): Plan {
  const { exitNode, machine, refusal, settings } = observed;
  if (!hasFinalizer(exitNode)) return { actions: [], next: 'settled' };
  if (machine !== 'none') {
    // Not knowing whether there is one is no reason to forget it.
    const { name } = exitNode.metadata;
    const told =
      refusal === undefined ? [] : planReport(observed, refused(refusal), keptOf(exitNode)).actions;
    const next = refusal === undefined ? 'waiting' : 'blocked';
    return { actions: [...told, { do: 'remove-machine', exitNode: name }], next };
  }
  if (mayBeListedYet(observed)) return { actions: [], next: 'waiting' };
  const name = ownSecretName(exitNode);
  const ref = { kind: 'Secret', namespace: settings.namespace, name } as const;
  return {
    actions: [{ do: 'delete', ref, uid: undefined }, finalizers(exitNode, 'remove')],
    next: 'settled',
  };
}

/** Ordered and never seen: what came of it may be listed in a moment. */
function mayBeListedYet(observed: ExitNodeObserved): boolean {
  const { metadata, status } = observed.exitNode;
  if (status?.machine === undefined || status.machine.id !== '') return false;
  // The note has the time of the first order, and there may have been others since.
  const times = [status.machine.since, metadata.deletionTimestamp ?? ''];
  return times.some((time) => isWithin(ageOf(time, observed), ORDER_GRACE_MS));
}

/** One that had a machine before it was a template is rid of it first. */
function planTemplate(observed: ExitNodeObserved): Plan {
  const left = planRemoval(observed);
  if (left.next !== 'settled') return left;
  const message = 'each tunnel that names it gets an exit node like it';
  const verdict = { status: 'True', reason: 'Template', message } as const;
  const plan = planReport(observed, verdict, {});
  return { ...plan, actions: [...left.actions, ...plan.actions] };
}

function planGiven(observed: ExitNodeObserved): Plan {
  const { exitNode, hasSecret, settings } = observed;
  const { url, addresses, tokenSecret } = exitNode.spec;
  if (url === undefined || tokenSecret === undefined) {
    const message = 'the exit node has neither url and tokenSecret, nor provision';
    const verdict = { status: 'False', reason: 'InvalidSpec', message } as const;
    return planReport(observed, verdict, pinWithPlace(exitNode));
  }
  const { name, key = DEFAULT_KEY } = tokenSecret;
  if (!hasSecret) {
    const message = `there is no secret ${name} with the key ${key} in ${settings.namespace}`;
    const verdict = { status: 'False', reason: 'TokenMissing', message } as const;
    // Clients that run have the token still, and whoever writes the secret anew may be about to.
    return planReport(observed, verdict, keptOf(exitNode));
  }
  return planReached(observed, {
    ...{ url, tokenSecret: { name, key } },
    addresses: addresses === undefined || addresses.length === 0 ? [hostOf(url)] : addresses,
  });
}

function planMachine(observed: ExitNodeObserved): Plan {
  const { exitNode } = observed;
  const guard = hasFinalizer(exitNode) ? [] : [finalizers(exitNode, 'add')];
  const plan = planFor(observed);
  // With an order alone: a machine that is there takes no token but the one that it was made with.
  const isOrder = plan.actions.some((action) => action.do === 'create-machine');
  const token = isOrder && !observed.hasSecret ? [createSecret(observed)] : [];
  return { ...plan, actions: [...guard, ...token, ...plan.actions] };
}

function planFor(observed: ExitNodeObserved): Plan {
  const { exitNode, machine, hasSecret } = observed;
  const isThere =
    typeof machine === 'object'
      ? machine.state !== 'stopped'
      : machine === 'unknown' && exitNode.status?.url !== undefined;
  if (isThere && !hasSecret) return planTokenless(observed);
  return typeof machine === 'string'
    ? planMissing(observed, machine)
    : planFound(observed, machine);
}

/** Clients that run have the token still, so what is known of the exit node stays. */
function planTokenless(observed: ExitNodeObserved): Plan {
  const { exitNode, machine, settings } = observed;
  const kept = keptOf(exitNode);
  const found = typeof machine === 'object' ? noteOf(observed, machine) : kept.machine;
  const isSame = found?.id === kept.machine?.id;
  const status = {
    ...(isSame ? kept : secretOf(exitNode)),
    ...(found === undefined ? {} : { machine: found }),
  };
  const message =
    `the secret ${ownSecretName(exitNode)} in ${settings.namespace} has gone, and its machine ` +
    'takes no other token: bring it back, or make the exit node anew';
  return planReport(observed, { status: 'False', reason: 'TokenMissing', message }, status);
}

function noteOf({ exitNode, now }: ExitNodeObserved, { id, address, state: told }: Machine) {
  const known = exitNode.status?.machine;
  // Its quarter of an hour is not the one that it has served for.
  const state = told === 'running' && address === undefined ? 'addressless' : told;
  return { id, state, since: known?.id === id && known.state === state ? known.since : now };
}

function planFound(observed: ExitNodeObserved, found: Machine): Plan {
  const { exitNode, reach } = observed;
  const { id, state } = found;
  const machine = noteOf(observed, found);
  const status = { machine, ...secretOf(exitNode) };
  const ageMs = ageOf(machine.since, observed);
  const place = placeOf(exitNode, found);
  // Whatever the provider calls it: one that answers is left alone.
  const isLost = machine.state === 'addressless' && ageMs >= UP_WITHIN_MS;
  const isUp = reach.is === 'ready' || (state === 'running' && !isLost);
  if (isUp && place !== undefined) {
    const { actions, next } = planReached(observed, { ...status, ...place });
    return {
      actions: [...actions, ...removeTwins(observed, found)],
      // Nobody looks every other second for ever.
      next: next === 'waiting' && ageMs >= UP_WITHIN_MS ? 'blocked' : next,
    };
  }
  const pinned = { ...status, ...pinnedOf(exitNode, id) };
  if (state === 'stopped') return planStopped(observed, pinned, ageMs >= STOPPED_GRACE_MS);
  if (ageMs >= UP_WITHIN_MS) return planStopped(observed, pinned, true);
  const plan = planReport(observed, pending('Provisioning', `machine ${id} is being made`), pinned);
  return { ...plan, next: 'waiting' };
}

/** Paid for beside the one that clients know, which answers. */
function removeTwins({ exitNode, reach }: ExitNodeObserved, { id, twins }: Machine): Action[] {
  const isInUse = exitNode.status?.machine?.id === id && reach.is === 'ready';
  if (twins === undefined || !isInUse) return [];
  return [{ do: 'remove-twins', exitNode: exitNode.metadata.name }];
}

/** A list without its address, as while that is exchanged, takes nothing from a machine. */
function placeOf(
  { status = {} }: ExitNodeObject,
  { id, address }: Machine,
): Pick<ExitNodeStatus, 'url' | 'addresses'> | undefined {
  if (address !== undefined) return { url: machineUrl(address), addresses: [address] };
  const { machine, url, addresses } = status;
  if (machine?.id !== id || url === undefined || addresses === undefined) return undefined;
  return { url, addresses };
}

/** It serves nobody: it goes, and when it is found no more another one is ordered. */
function planStopped(
  observed: ExitNodeObserved,
  status: ExitNodeStatus & Required<Pick<ExitNodeStatus, 'machine'>>,
  isToGo: boolean,
): Plan {
  const { exitNode, refusal } = observed;
  const { id, state } = status.machine;
  const fault = FAULTS[state] ?? 'does not come up';
  const verdict = pending('MachineStopped', `machine ${id} ${fault}; another one takes its place`);
  const isRefused = isToGo && refusal !== undefined;
  const plan = planReport(observed, isRefused ? refused(refusal) : verdict, status);
  const { name } = exitNode.metadata;
  return isToGo
    ? { actions: [...plan.actions, { do: 'remove-machine', exitNode: name }], next: 'blocked' }
    : { ...plan, next: 'waiting' };
}

function planMissing(observed: ExitNodeObserved, machine: Exclude<Found, Machine>): Plan {
  const { exitNode, refusal } = observed;
  const kept = keptOf(exitNode);
  if (machine === 'none' || machine === 'making') return planOrder(observed, machine);
  // A provider that is away for a while takes nothing from an exit node that serves.
  if (kept.url !== undefined) return { ...planReached(observed, kept), next: 'blocked' };
  if (machine === 'ending' && refusal === undefined) return { actions: [], next: 'waiting' };
  return planReport(observed, refused(refusal ?? 'the provider was not asked yet'), kept);
}

/** Written down each time, for an operator that takes over in the middle. */
function planOrder(observed: ExitNodeObserved, machine: 'none' | 'making'): Plan {
  const { exitNode, refusal, now } = observed;
  const known = exitNode.status?.machine;
  const noted = known?.state === 'ordered' ? known : undefined;
  const ageMs = noted === undefined ? Number.POSITIVE_INFINITY : ageOf(noted.since, observed);
  const note = { id: '', state: 'ordered', since: now };
  const isUnderWay = machine === 'making';
  const orders = isUnderWay ? [] : [order(exitNode)];
  if (refusal !== undefined) {
    // The note stays: what seemed to be refused may have been heard.
    const status = { machine: noted ?? note, ...secretOf(exitNode) };
    const plan = planReport(observed, refused(refusal), status);
    return { actions: [...plan.actions, ...orders], next: 'blocked' };
  }
  if (isWithin(ageMs, isUnderWay ? ORDER_GRACE_MS / 2 : ORDER_GRACE_MS))
    return { actions: [], next: 'waiting' };
  const status = { machine: note, ...secretOf(exitNode) };
  const plan = planReport(observed, pending('Provisioning', 'a machine is being ordered'), status);
  return { actions: [...plan.actions, ...orders], next: 'waiting' };
}

/** What a clock that was wrong has noted far ahead is no reason to wait. */
function isWithin(ageMs: number, graceMs: number): boolean {
  return ageMs > -graceMs && ageMs < graceMs;
}

/** A time that cannot be read is long ago. */
function ageOf(since: string, { now }: ExitNodeObserved): number {
  const ageMs = wallMsOf(now) - wallMsOf(since);
  return Number.isNaN(ageMs) ? Number.POSITIVE_INFINITY : ageMs;
}

function refused(message: string): Verdict {
  return { status: 'False', reason: 'ProviderRefused', message };
}

/** It has an address: does it answer? */
function planReached(observed: ExitNodeObserved, status: ExitNodeStatus): Plan {
  const { reach, exitNode } = observed;
  const known = reach.is === 'ready' ? reach.caFingerprint : pinOf(exitNode, status.machine?.id);
  const isPinned = exitNode.spec.caFingerprint !== undefined;
  const whole = { ...status, ...(isPinned || known === undefined ? {} : { caFingerprint: known }) };
  if (reach.is === 'ready') {
    const message = `${status.url} answers${beside(observed)}`;
    return planReport(observed, { status: 'True', reason: 'Reachable', message }, whole);
  }
  const message = reach.is === 'away' ? reach.message : 'it was not asked yet';
  const isNew = exitNode.spec.provision !== undefined && known === undefined;
  if (!isNew) return planReport(observed, pending('Unreachable', message), whole);
  // No client is told where it is, and given its token, before its CA is pinned.
  const { url: _url, addresses: _addresses, ...unpinned } = whole;
  const text = `its machine runs, its exit node does not answer yet: ${message}`;
  return { ...planReport(observed, pending('Provisioning', text), unpinned), next: 'waiting' };
}

function beside({ machine, refusal }: ExitNodeObserved): string {
  if (typeof machine === 'string' || machine.twins === undefined) return '';
  const { twins } = machine;
  const are = twins === 1 ? 'another machine of it is' : `${twins} other machines of it are`;
  return `; ${are} to be removed${refusal === undefined ? '' : `: ${refusal}`}`;
}

/**
 * The CA that was seen first, of this very machine, or at this very address: another one has
 * another, or has none of its own.
 */
export function pinOf({ spec, status = {} }: ExitNodeObject, machineId: string | undefined) {
  const { url, machine, caFingerprint } = status;
  const given = spec.provision === undefined ? spec.url : undefined;
  const isMoved = given !== undefined && (url === undefined || placeIn(given) !== placeIn(url));
  return isMoved || machine?.id !== machineId ? undefined : caFingerprint;
}

/** Another address may be given next, which the pin is not of. */
function pinWithPlace(exitNode: ExitNodeObject): Pick<ExitNodeStatus, 'url' | 'caFingerprint'> {
  const caFingerprint = pinOf(exitNode, undefined);
  const url = exitNode.status?.url;
  return caFingerprint === undefined || url === undefined ? {} : { url, caFingerprint };
}

/** Host and port. */
function placeIn(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}

function pinnedOf(
  exitNode: ExitNodeObject,
  machineId: string | undefined,
): Pick<ExitNodeStatus, 'caFingerprint'> {
  const known = pinOf(exitNode, machineId);
  return known === undefined ? {} : { caFingerprint: known };
}

export function machineUrl(address: string): string {
  const host = address.includes(':') ? `[${address}]` : address;
  return `wss://${host}:${MACHINE_CONTROL_PORT}`;
}

/** What the status has beside the conditions; left out is taken away. */
const EMPTY = {
  ...{ url: null, addresses: null, caFingerprint: null, tokenSecret: null, machine: null },
};

function planReport(observed: ExitNodeObserved, ready: Verdict, status: ExitNodeStatus): Plan {
  const { exitNode, now, tunnels } = observed;
  const { metadata, status: before = {} } = exitNode;
  const { name, generation, resourceVersion } = metadata;
  const conditions = withConditions(before.conditions, { [READY]: ready }, { now, generation });
  const wanted = { ...EMPTY, ...status, tunnels, observedGeneration: generation, conditions };
  const next = ready.status === 'True' ? 'settled' : 'blocked';
  const isSame = Object.entries(wanted).every(([key, value]) =>
    covers(before[key as keyof ExitNodeStatus] ?? null, value),
  );
  if (isSame) return { actions: [], next };
  const isToTell = isNews(conditionOf(before.conditions, READY), ready);
  const isNormal = ready.status === 'True' || ready.reason === 'Provisioning';
  const { reason, message } = ready;
  const event = {
    about: exitNode,
    type: isNormal ? 'Normal' : 'Warning',
    reason,
    message,
  } as const;
  const ref = { kind: 'ExitNode', name } as const;
  return {
    actions: [
      { do: 'write-status', ref, status: wanted, resourceVersion },
      ...(isToTell ? [{ do: 'tell', event } as const] : []),
    ],
    next,
  };
}

function pending(reason: string, message: string): Verdict {
  return { status: 'False', reason, message };
}

function order({ metadata }: ExitNodeObject): Action {
  return { do: 'create-machine', exitNode: metadata.name };
}

export function ownSecretName({ metadata }: ExitNodeObject): string {
  return `sluiceway-exit-node-${metadata.name}`;
}

/** Where the token of an exit node is. */
export function tokenSecretOf(exitNode: ExitNodeObject): { name: string; key: string } | undefined {
  const { provision, tokenSecret } = exitNode.spec;
  if (provision !== undefined) return { name: ownSecretName(exitNode), key: DEFAULT_KEY };
  if (tokenSecret === undefined) return undefined;
  return { name: tokenSecret.name, key: tokenSecret.key ?? DEFAULT_KEY };
}

function secretOf(exitNode: ExitNodeObject): Pick<ExitNodeStatus, 'tokenSecret'> {
  return { tokenSecret: { name: ownSecretName(exitNode), key: DEFAULT_KEY } };
}

function createSecret({ exitNode, newToken, settings }: ExitNodeObserved): Action {
  const object: SecretObject = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: ownSecretName(exitNode),
      namespace: settings.namespace,
      labels: MANAGED_LABELS,
    },
    type: 'Opaque',
    data: { [DEFAULT_KEY]: Buffer.from(newToken).toString('base64') },
  };
  return { do: 'create', object };
}

/** What stays known while the provider does not answer, or the token is away. */
function keptOf({ status = {} }: ExitNodeObject): ExitNodeStatus {
  const { url, addresses, caFingerprint, tokenSecret, machine } = status;
  return {
    ...(url === undefined ? {} : { url }),
    ...(addresses === undefined ? {} : { addresses }),
    ...(caFingerprint === undefined ? {} : { caFingerprint }),
    ...(tokenSecret === undefined ? {} : { tokenSecret }),
    ...(machine === undefined ? {} : { machine }),
  };
}

export function hasFinalizer({ metadata }: ExitNodeObject): boolean {
  return metadata.finalizers?.includes(EXIT_NODE_FINALIZER) === true;
}

function finalizers({ metadata }: ExitNodeObject, change: 'add' | 'remove'): Action {
  const { name, resourceVersion } = metadata;
  const others = (metadata.finalizers ?? []).filter((one) => one !== EXIT_NODE_FINALIZER);
  return {
    do: 'set-finalizers',
    ref: { kind: 'ExitNode', name },
    finalizers: change === 'add' ? [...others, EXIT_NODE_FINALIZER] : others,
    resourceVersion,
  };
}

function hostOf(url: string): string {
  return URL.canParse(url) ? unbracketed(new URL(url).hostname) : '';
}
