// What a deployment is made of: the arguments of the command, its files, and what must stay secret.
//
// Invariant: a secret that was given by value is in no argument: it becomes a file or a variable
// that the deployment names and does not hold; every option that was given is in the plan, or in
// the file of --config that is part of it. Must not know: the form in which it is written down.

import { basename, isAbsolute, normalize } from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { Masked } from '../base/masked.ts';
import type { GivenConfig, GivenOption } from '../config/config.ts';
import { variableOf } from '../config/merge.ts';
import { withFilesAt } from '../config/tunnel.ts';

export interface PlannedFile {
  /** The option that names it, or `token`. */
  readonly role: string;
  /** Unique in the plan. */
  readonly name: string;
  /** As it was given; absent for a secret that was given by value. */
  readonly source?: string;
  readonly kind: 'secret' | 'file' | 'folder';
  /** What it holds, where that was given by value. */
  readonly text?: Masked;
  /** Then the file beside the deployment that it is typed into; none of the others. */
  readonly typedIn?: string;
}

/** An option whose value is or holds a secret. */
export interface SecretVariable {
  readonly option: string;
  readonly variable: string;
  readonly text: Masked;
}

export type Argument = readonly [flag: string] | readonly [flag: string, value: string];

export interface Plan {
  readonly command: 'server' | 'client';
  readonly args: readonly Argument[];
  readonly files: readonly PlannedFile[];
  readonly variables: readonly SecretVariable[];
}

/** Where things lie in the deployment. */
export interface Site {
  /** Keeps what must not be forgotten. */
  readonly stateFolder: string;
  readonly place: (file: PlannedFile) => string;
}

const STATE_OPTIONS: ReadonlySet<string> = new Set([
  'auto-tls-dir',
  'letsencrypt-dir',
  'known-servers',
  'tokens-usage-file',
  'status-dir',
]);
const FOLDER_OPTIONS: ReadonlySet<string> = new Set(['error-pages', 'folder']);
const SECRET_FILES: ReadonlySet<string> = new Set([
  'config',
  'token-file',
  'tokens-file',
  'tls-key',
  'tls-client-key',
  'bearer-token-file',
  'login-providers',
]);
const TOKEN_OPTIONS: ReadonlySet<string> = new Set(['token', 'token-env']);
/** With what ends a line, and so a comment, to readers of YAML 1.1 (Zl, Zp). */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]/u;
const MASK = new Masked('').toString();

export function planDeployment(given: GivenConfig, site: Site): Plan {
  const { command } = given;
  if (command !== 'server' && command !== 'client') {
    throw new ConfigError([`${command} is no service`]);
  }
  const plan = new PlanDraft(command, site);
  for (const one of given.options) plan.add(one, given.token);
  return plan.finish();
}

class PlanDraft {
  readonly #command: Plan['command'];
  readonly #site: Site;
  readonly #args: Argument[] = [];
  readonly #files: PlannedFile[] = [];
  readonly #variables: SecretVariable[] = [];
  readonly #names = new Set<string>();
  /** Options that were given, in the file of --config as well. */
  readonly #given = new Set<string>();
  /** Places in the state folder, with what is kept there. */
  readonly #states = new Map<string, string>();

  constructor(command: Plan['command'], site: Site) {
    this.#command = command;
    this.#site = site;
  }

  add(given: GivenOption, token: Masked | undefined): void {
    const { name, option, source, texts } = given;
    if (!option.sources.includes('flag')) {
      throw new ConfigError([`${variableOf(name)}: is for tests, not for a deployment`]);
    }
    this.#given.add(name);
    if (TOKEN_OPTIONS.has(name)) {
      if (source !== 'file') this.#addToken(token);
      return;
    }
    const placed = texts.map((text) => this.#placed(name, option.kind.name, text));
    // What the file of --config says, it says there too.
    if (source === 'file' && placed.every((text, index) => text === texts[index])) return;
    if (holdsSecret(given)) {
      const joined = placed.join(option.separators.includes(',') ? ',' : '\n');
      const text = new Masked(joined);
      this.#variables.push({ option: name, variable: variableOf(name), text });
      return;
    }
    for (const text of placed) this.#addArgument(name, option.kind.name, text);
  }

  finish(): Plan {
    // Beside the tokens file nothing may be written.
    if (this.#given.has('tokens-file') && !this.#given.has('tokens-usage-file')) {
      this.#args.push(['--tokens-usage-file', `${this.#site.stateFolder}/tokens.usage.json`]);
    }
    return {
      command: this.#command,
      args: this.#args,
      files: this.#files.map((file) => this.#typed(file)),
      variables: this.#variables,
    };
  }

  /** With the file of somebody else it would be written over. */
  #typed(file: PlannedFile): PlannedFile {
    if (file.text === undefined) return file;
    const others = new Set(this.#files.map(({ source }) => source && normalize(source)));
    return { ...file, typedIn: free(file.name, (name) => others.has(name)) };
  }

  #addToken(text: Masked | undefined): void {
    if (text === undefined) return;
    const file = this.#register({ role: 'token-file', name: 'token', kind: 'secret', text });
    this.#args.push(['--token-file', this.#site.place(file)]);
  }

  #addArgument(name: string, kind: string, text: string): void {
    if (kind === 'boolean') {
      this.#args.push([text === 'true' || text === '1' ? `--${name}` : `--no-${name}`]);
    } else {
      this.#args.push([`--${name}`, text]);
    }
  }

  /** The text with each path in it as it is in the deployment. */
  #placed(name: string, kind: string, text: string): string {
    if (STATE_OPTIONS.has(name)) return this.#placedState(name, text);
    if (kind === 'path') return this.#placedFile(name, text);
    if (kind === 'network' && text.startsWith('@')) {
      return `@${this.#placedFile(name, text.slice(1))}`;
    }
    if (name === 'https-cert') return this.#placedPair(text);
    if (name !== 'upstream') return text;
    return withFilesAt(text, (role, path) => this.#placedFile(role, path));
  }

  /** Two that had one name in folders of their own are not one file now. */
  #placedState(option: string, text: string): string {
    const folder = this.#site.stateFolder;
    const isInside = text === folder || text.startsWith(`${folder}/`);
    if (text === 'off' || isInside) return text;
    const name = /^\.{0,2}$/.test(basename(text)) ? option : basename(text);
    let place = `${folder}/${name}`;
    for (let count = 2; (this.#states.get(place) ?? text) !== text; count += 1) {
      place = `${folder}/${count}-${name}`;
    }
    this.#states.set(place, text);
    return place;
  }

  /** `NAME=CERT,KEY`, which its kind has found right. */
  #placedPair(text: string): string {
    const [, name = '', cert = '', key = ''] = /^([^=]+)=([^,]+),([^,]+)$/.exec(text) ?? [];
    const placedCert = this.#placedFile('https-cert', cert.trim());
    return `${name}=${placedCert},${this.#placedFile('tls-key', key.trim())}`;
  }

  #placedFile(role: string, source: string): string {
    const kind = FOLDER_OPTIONS.has(role) ? 'folder' : SECRET_FILES.has(role) ? 'secret' : 'file';
    // What a client logs in with lies apart, also where it is the file of something else too.
    const isSame = (file: PlannedFile): boolean =>
      file.source === source && (file.role === 'token-file') === (role === 'token-file');
    const at = this.#files.findIndex(isSame);
    const known = this.#files[at];
    if (known === undefined) {
      const name = role === 'token-file' ? 'token' : nameOf(source);
      return this.#site.place(this.#register({ role, name, source, kind }));
    }
    // A certificate whose key is in the same file is as secret as the key.
    if (kind === 'secret' && known.kind === 'file') this.#files[at] = { ...known, role, kind };
    return this.#site.place(known);
  }

  #register(file: PlannedFile): PlannedFile {
    const { source = '' } = file;
    // A line of a unit, and a comment, end there; what follows would be read as another.
    if (!isOneLine(source)) {
      const shown = JSON.stringify(source);
      throw new ConfigError([`${shown}: a deployment names no path with control characters`]);
    }
    const name = free(file.name, (one) => this.#names.has(one));
    this.#names.add(name);
    const named = { ...file, name };
    this.#files.push(named);
    return named;
  }
}

function free(wanted: string, isTaken: (name: string) => boolean): string {
  let name = wanted;
  for (let count = 2; isTaken(name); count += 1) name = `${count}-${wanted}`;
  return name;
}

/** As a file name that every form of deployment can take. */
function nameOf(path: string): string {
  const name = basename(path).replace(/[^A-Za-z0-9._-]/g, '-');
  return /^[A-Za-z0-9]/.test(name) ? name : `file-${name}`;
}

/** To every reader of what is printed. */
export function isOneLine(path: string): boolean {
  return !CONTROL.test(path);
}

function holdsSecret({ option, texts }: GivenOption): boolean {
  const parsed = option.parse(texts);
  return parsed.ok && option.show(parsed.value).some((text) => text.includes(MASK));
}

/** Folders that a service does not see, or that are another's. */
const HIDDEN = /^\/(?:home|root|tmp|var\/tmp|(?:var\/)?run\/user)(?:\/|$)/;

/** Does a path of this machine mean the same file for a service on it? */
export function isPlain(path: string): boolean {
  return isAbsolute(path) && !HIDDEN.test(normalize(path));
}
