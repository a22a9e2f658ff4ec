// `sluiceway token create|list|revoke|rotate`: manages the file of --tokens-file.
//
// Invariant: a secret is printed once, on stdout, and kept nowhere; one that could not be printed
// is valid nowhere; the file is replaced whole, and changed by one command at a time, as a token
// that was revoked meanwhile would come back. A running server reads it again by itself. Must not
// know: what a token may do.

import { createHash, randomBytes } from 'node:crypto';
import { isoTimeOf, sleep, systemClock } from '../../base/clock.ts';
import { readIfThere, rewriteFile } from '../../base/durable-file.ts';
import { ConfigError } from '../../base/errors.ts';
import { describeFileFailure } from '../../base/file-failure.ts';
import { showForwardRule } from '../../base/forward-rules.ts';
import { showNetwork } from '../../base/network.ts';
import { showPortRange } from '../../base/target.ts';
import { TOKEN_LIMIT_FIELDS, TOKEN_LIMITS } from '../../base/token-limits.ts';
import type { TokenEntry } from '../../config/config.ts';
import { showSize } from '../../config/quantity.ts';
import {
  addToken,
  listTokens,
  NO_TOKENS,
  removeToken,
  rotateToken,
} from '../../config/tokens-edit.ts';
import { acquireLock, type Release } from '../../control/folder-lock.ts';
import { monthOf, readUsage, usageFileOf } from '../../control/token-usage.ts';
import { EXIT } from '../exit-codes.ts';
import { answer, answerOnce, complain, table } from '../output.ts';

/** 256 bits: not to be guessed, and no reason to store it slowly. */
const SECRET_BYTES = 32;
/** For another command that changes the file, which takes milliseconds. Guess. */
const LOCK_WAIT_MS = 5000;
const LOCK_POLL_MS = 50;

export interface TokenFlags {
  readonly tokensFile?: string;
  readonly tokensUsageFile?: string;
  readonly host?: readonly string[];
  readonly port?: readonly string[];
  readonly udpPort?: readonly string[];
  readonly forward?: readonly string[];
  readonly allowIp?: readonly string[];
  readonly expires?: string;
  readonly admin?: boolean;
  readonly clientsMax?: string;
  readonly linksMax?: string;
  readonly streamsMax?: string;
  readonly requestsPerSecondMax?: string;
  readonly bytesInPerSecondMax?: string;
  readonly bytesOutPerSecondMax?: string;
  readonly bytesMonthMax?: string;
  readonly json?: boolean;
}

/** By key of the file, the flag that gives it. */
const LIMIT_FLAGS = {
  'clients-max': 'clientsMax',
  'links-max': 'linksMax',
  'streams-max': 'streamsMax',
  'requests-per-second-max': 'requestsPerSecondMax',
  'bytes-in-per-second-max': 'bytesInPerSecondMax',
  'bytes-out-per-second-max': 'bytesOutPerSecondMax',
  'bytes-month-max': 'bytesMonthMax',
} as const satisfies Record<string, keyof TokenFlags>;

interface TokensFile {
  readonly path: string;
  readonly text: string;
}

interface FoundFile {
  readonly path: string;
  /** Undefined where there is no file yet. */
  readonly text: string | undefined;
}

export async function createToken(name: string, flags: TokenFlags): Promise<void> {
  const { secret, hash } = createSecret();
  const token = {
    ...{ name, hash, hosts: flags.host ?? [], ports: flags.port ?? [] },
    ...{ udpPorts: flags.udpPort ?? [], forwards: flags.forward ?? [] },
    ...{ allowIps: flags.allowIp ?? [], expires: flags.expires, isAdmin: flags.admin === true },
    limits: limitsOf(flags),
  };
  await changeFile(flags, (file) => refuseExpired(name, addToken(file, token), file.path), secret);
}

/** Nobody wants a token that lets nobody in: it is a year that was mistyped. */
function refuseExpired(name: string, text: string, path: string): string {
  const entry = listTokens({ path, text }).find((found) => found.name === name);
  if (entry === undefined || !isOver(entry)) return text;
  throw new ConfigError(['--expires: is over already; give a time to come']);
}

function isOver({ expiresMs }: TokenEntry): boolean {
  return expiresMs !== undefined && expiresMs <= systemClock.wallMs();
}

export async function rotateTokenSecret(name: string, flags: TokenFlags): Promise<void> {
  const { secret, hash } = createSecret();
  await changeFile(flags, (file) => rotateToken(file, name, hash), secret);
}

export async function revokeToken(name: string, flags: TokenFlags): Promise<void> {
  await changeFile(flags, (file) => removeToken(file, name));
  answer(`revoked ${name}\n`);
}

export async function listTokensFile(flags: TokenFlags): Promise<void> {
  const { path, text } = await openFile(flags);
  // A file that `create` would make: most likely its name is another.
  if (text === undefined) throw new ConfigError([`--tokens-file: ${path} does not exist`]);
  const file = { path, text };
  const used = await readUsed(usagePathOf(flags, file.path));
  const tokens = listTokens(file);
  const over = new Set(tokens.filter(isOver).map(({ name }) => name));
  const entries = tokens.map((entry) => describe(entry, used));
  if (flags.json === true) {
    answer(`${JSON.stringify(entries)}\n`);
    return;
  }
  const rows = entries.map((entry) => [
    entry.name,
    String(entry.secrets),
    entry.hosts.join(' ') || '-',
    [...entry.ports, ...(entry.udpPorts ?? []).map((port) => `udp:${port}`)].join(' ') || '-',
    entry.forwards?.join(' ') ?? '-',
    `${entry.expires ?? 'never'}${over.has(entry.name) ? ' (over)' : ''}`,
    entry.allowIps?.join(' ') ?? '-',
    entry.admin ? 'yes' : 'no',
    Object.entries(entry.limits ?? {})
      .map(showLimit)
      .join(' ') || '-',
    entry.bytesThisMonth === undefined ? '-' : showSize(entry.bytesThisMonth),
  ]);
  const heads = [
    'Name',
    'Secrets',
    'Hosts',
    'Ports',
    'Forwards',
    'Expires',
    'From',
    'Admin',
    'Limits',
    'This month',
  ];
  answer(table([heads, ...rows]));
}

function showLimit([key, value]: [string, number]): string {
  return `${key}=${key.startsWith('bytes-') ? showSize(value) : value}`;
}

/** As the server takes it; a variable that is empty is none. */
function usagePathOf({ tokensUsageFile }: TokenFlags, tokensPath: string): string {
  const path = tokensUsageFile ?? process.env.SLUICEWAY_TOKENS_USAGE_FILE ?? '';
  return path === '' ? usageFileOf(tokensPath) : path;
}

/** Bytes by token; empty when nobody has counted yet, or in another month. */
async function readUsed(path: string): Promise<ReadonlyMap<string, number>> {
  try {
    const usage = readUsage((await readIfThere(path)) ?? '');
    return usage.get(monthOf(systemClock)) ?? new Map();
  } catch {
    // A server says what is wrong with it, and does not start.
    return new Map();
  }
}

function limitsGiven(entry: TokenEntry): Record<string, number> {
  const { clientsMax, linksMax } = entry;
  const limits = TOKEN_LIMIT_FIELDS.map(
    (field) => [TOKEN_LIMITS[field].key, entry[field]] as const,
  );
  const all = [['clients-max', clientsMax], ['links-max', linksMax], ...limits] as const;
  return Object.fromEntries(all.flatMap(([key, max]) => (max === undefined ? [] : [[key, max]])));
}

function describe(entry: TokenEntry, used: ReadonlyMap<string, number>) {
  const { name, digests, hosts, ports, udpPorts, forwards, expiresMs, isAdmin } = entry;
  const { allowIps } = entry;
  const limits = limitsGiven(entry);
  return {
    name,
    secrets: digests.length,
    hosts,
    ports: ports.map(showPortRange),
    ...(udpPorts.length === 0 ? {} : { udpPorts: udpPorts.map(showPortRange) }),
    ...(forwards === undefined ? {} : { forwards: forwards.map(showForwardRule) }),
    ...(allowIps === undefined ? {} : { allowIps: allowIps.map(showNetwork) }),
    ...(expiresMs === undefined ? {} : { expires: isoTimeOf(expiresMs) }),
    admin: isAdmin,
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    ...(used.has(name) ? { bytesThisMonth: used.get(name) } : {}),
  };
}

/** The file's reader checks them. */
function limitsOf(flags: TokenFlags): Record<string, string | number> {
  const given: Record<string, string | number> = {};
  for (const [key, flag] of Object.entries(LIMIT_FLAGS)) {
    const text = flags[flag];
    if (text !== undefined) given[key] = /^\d{1,15}$/.test(text) ? Number(text) : text;
  }
  return given;
}

/** Reads, changes and writes the file while no other command does, and shows the secret of it. */
async function changeFile(
  flags: TokenFlags,
  change: (file: TokensFile) => string,
  secret?: string,
): Promise<void> {
  const release = await lockFile(pathOf(flags));
  try {
    const { path, text = '' } = await openFile(flags);
    const file = { path, text };
    await writeFile(file.path, change(file));
    if (secret !== undefined) await showSecret(secret, file);
  } finally {
    await release();
  }
}

/** Nobody has a secret that was not shown: the file is put back. */
async function showSecret(secret: string, before: TokensFile): Promise<void> {
  try {
    await answerOnce(`${secret}\n`);
  } catch {
    // With an end: a server that has read the secret meanwhile takes no file that seems to be cut.
    const text = before.text || NO_TOKENS;
    await writeFile(before.path, text.endsWith('\n') ? text : `${text}\n`);
    complain('the secret could not be shown; the tokens are as they were');
    process.exitCode = EXIT.failure;
  }
}

async function lockFile(path: string): Promise<Release> {
  const lock = `${path}.lock`;
  const deadlineMs = systemClock.nowMs() + LOCK_WAIT_MS;
  do {
    const release = await tryLock(path, lock);
    if (release !== undefined) return release;
    await sleep(LOCK_POLL_MS);
  } while (systemClock.nowMs() < deadlineMs);
  const why = `another command has been changing it for ${LOCK_WAIT_MS / 1000} s`;
  throw new ConfigError([`--tokens-file: ${why}; if there is none, remove ${lock}`]);
}

async function tryLock(path: string, lock: string): Promise<Release | undefined> {
  try {
    return await acquireLock(lock, systemClock.wallMs());
  } catch (cause) {
    throw cannotBeWritten(path, cause);
  }
}

function pathOf({ tokensFile }: TokenFlags): string {
  const path = tokensFile ?? process.env.SLUICEWAY_TOKENS_FILE ?? '';
  if (path !== '') return path;
  throw new ConfigError(['--tokens-file is required; give the file, such as tokens.yaml']);
}

async function openFile(flags: TokenFlags): Promise<FoundFile> {
  const path = pathOf(flags);
  try {
    return { path, text: await readIfThere(path) };
  } catch (cause) {
    const reason = describeFileFailure(cause);
    throw new ConfigError([`--tokens-file: ${path} cannot be read: ${reason}`], { cause });
  }
}

/** A server that runs as another user must go on reading it. */
async function writeFile(path: string, text: string): Promise<void> {
  try {
    await rewriteFile(path, text);
  } catch (cause) {
    throw cannotBeWritten(path, cause);
  }
}

function cannotBeWritten(path: string, cause: unknown): ConfigError {
  const reason = describeFileFailure(cause);
  return new ConfigError([`--tokens-file: ${path} cannot be written: ${reason}`], { cause });
}

function createSecret(): { readonly secret: string; readonly hash: string } {
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  const digest = createHash('sha256').update(secret).digest('hex');
  return { secret, hash: `sha256:${digest}` };
}
