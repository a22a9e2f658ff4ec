// The folders of Unix sockets that upstreams name, for services that do not see them by themselves.
//
// Invariant: a folder is brought along, never a socket alone, which is another file once its
// program has made it anew; it keeps its path, so that arguments stay as they were given; one that
// is not the program's own, or that a container has itself, is refused. Must not know: the form.

import { dirname, normalize } from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { isOneLine } from './plan.ts';

/** Says why a folder cannot be brought along. */
export type Refusal = (folder: string) => string | undefined;

export const OWN_FOLDER = 'give the socket a folder of its own, such as /run/app';
/** With everybody's files and sockets in them, or all of one person's. */
const COMMON = [
  /^\/(?:dev|etc|opt|root|srv|tmp|usr|var)?$/,
  /^\/(?:dev\/shm|var\/lib|var\/tmp)$/,
  /^\/home(?:\/[^/]+)?$/,
  /^\/(?:var\/)?run(?:\/user(?:\/[^/]+)?)?$/,
];
/** What the image has, and what every container has. */
const OF_CONTAINER = [
  ...['/app', '/bin', '/dev', '/etc', '/lib', '/lib64', '/proc', '/sbin', '/sys', '/usr'],
];

/** Without those inside of others; an error names every socket that cannot be reached. */
export function socketFolders(sockets: readonly string[], refusal: Refusal): readonly string[] {
  const folders = new Set<string>();
  const problems: string[] = [];
  for (const socket of sockets) {
    const folder = dirname(normalize(socket));
    const why = misspelt(socket) ?? refusal(folder);
    if (why === undefined) folders.add(folder);
    else problems.push(`${JSON.stringify(`unix:${socket}`)}: ${why}`);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const all = [...folders];
  return all.filter((one) => !all.some((other) => other !== one && isWithin(one, other)));
}

/** What is in it would be seen as well. */
export function refuseCommon(folder: string): string | undefined {
  const isCommon = COMMON.some((pattern) => pattern.test(folder));
  return isCommon ? `${folder} is not for its program alone; ${OWN_FOLDER}` : undefined;
}

/** What a container has there would be hidden; `own` is what this one has more than others. */
export function refuseOfContainer(own: readonly string[]): Refusal {
  const all = [...OF_CONTAINER, ...own];
  return (folder) =>
    all.some((one) => isWithin(folder, one) || isWithin(one, folder))
      ? `${folder} is where a container has files of its own; ${OWN_FOLDER}`
      : undefined;
}

/** Only the folder itself is there: a way to it through another one is not. */
function misspelt(socket: string): string | undefined {
  if (!isOneLine(socket)) return 'a deployment names no path with control characters';
  return /\/\.\.(?:\/|$)/.test(socket) ? 'write the path without ".."' : undefined;
}

function isWithin(folder: string, outer: string): boolean {
  return folder === outer || folder.startsWith(outer === '/' ? outer : `${outer}/`);
}
