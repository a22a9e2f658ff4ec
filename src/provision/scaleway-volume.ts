// The disk of a Scaleway instance: local, or of Block Storage, each behind an API of its own
// (scaleway.com/en/developers/api/instances and /block).
//
//   its server ends ──▶ nothing uses it any more ──▶ deleted
//
// Invariant: it is deleted when it is free, and the wait for that has an end; one that is gone is
// no error; one of Block Storage has the name and the tag of its server, and is listed by that.
// Must not know: which server it is of.

import { z } from 'zod';
import { untilThere } from './making.ts';
import { CloudRefusal, type ProviderOptions } from './provider.ts';
import { orUndefined, type Rest, unlessGone } from './rest.ts';

export const volume = z.object({ id: z.string(), volume_type: z.string() });
export type Volume = z.infer<typeof volume>;

const local = z.object({
  volume: z.object({ state: z.string(), server: z.unknown().default(null) }),
});
const block = z.object({ status: z.string() });
/** What can be deleted, in the words of both. */
const FREE: ReadonlySet<string> = new Set(['available', 'error']);
const GONE: ReadonlySet<string> = new Set(['deleting', 'deleted']);

export function isBlock({ volume_type: type }: Volume): boolean {
  return type === BLOCK;
}

export const BLOCK = 'sbs_volume';
const PER_PAGE = 100;
const listed = z.object({ id: z.string(), name: z.string(), status: z.string() });
/** Without the right to look there is none that we could have marked. */
const FORBIDDEN = 403;
const NONE: ReadonlySet<number> = new Set([FORBIDDEN, 404]);

/**
 * While it is made nothing can be changed of it. Without the right to Block Storage it stays
 * without a mark, and the machine can be used.
 */
export async function markVolume(
  rest: Rest,
  own: Volume & { readonly zone: string },
  mark: { readonly name: string; readonly tag: string },
  sleep: ProviderOptions['sleep'],
): Promise<void> {
  if (!isBlock(own)) return;
  const path = pathOf(own);
  const attempt = async (): Promise<true | undefined> =>
    (await blockState(rest, path)) === 'creating' ? undefined : true;
  try {
    await untilThere(attempt, { sleep, provider: 'Scaleway', what: `the disk ${own.id}` });
    await rest.ask('PATCH', path, { json: { name: mark.name, tags: [mark.tag] } });
  } catch (error) {
    if (!(error instanceof CloudRefusal && error.answered === FORBIDDEN)) throw error;
  }
}

/** Those of Block Storage with the tag. */
export async function listVolumes(
  rest: Rest,
  zone: string,
  tag: string,
): Promise<readonly (Volume & { readonly name: string })[]> {
  const answer = z.object({ volumes: z.array(listed) });
  const all: z.infer<typeof listed>[] = [];
  for (let page = 1; ; page += 1) {
    const query = `tags=${encodeURIComponent(tag)}&page_size=${PER_PAGE}&page=${page}`;
    const path = `/block/v1/zones/${zone}/volumes?${query}`;
    const found = await rest.ask('GET', path, { answer }).catch((error: unknown) => {
      if (error instanceof CloudRefusal && NONE.has(error.answered)) return { volumes: [] };
      throw error;
    });
    all.push(...found.volumes.filter(({ status }) => !GONE.has(status)));
    if (found.volumes.length < PER_PAGE) break;
  }
  return all.map(({ id, name }) => ({ id, name, volume_type: BLOCK }));
}

export async function findVolume(
  rest: Rest,
  zone: string,
  id: string,
): Promise<{ readonly name: string } | undefined> {
  const path = pathOf({ zone, id, volume_type: BLOCK });
  const found = await orUndefined(rest.ask('GET', path, { answer: listed }));
  return found === undefined || GONE.has(found.status) ? undefined : found;
}

export async function deleteVolume(
  rest: Rest,
  own: Volume & { readonly zone: string },
  sleep: ProviderOptions['sleep'],
): Promise<void> {
  const path = pathOf(own);
  const attempt = async (): Promise<true | undefined> => {
    const state = isBlock(own) ? await blockState(rest, path) : await localState(rest, path);
    if (state === undefined || GONE.has(state)) return true;
    if (!FREE.has(state)) return undefined;
    await unlessGone(rest.ask('DELETE', path));
    return true;
  };
  await untilThere(attempt, { sleep, provider: 'Scaleway', what: `the end of ${own.id}` });
}

/** Rejects where one of Block Storage cannot even be looked at, which needs a right of its own. */
export async function lookAtVolume(
  rest: Rest,
  own: Volume & { readonly zone: string },
): Promise<void> {
  if (isBlock(own)) await blockState(rest, pathOf(own));
}

function pathOf(own: Volume & { readonly zone: string }): string {
  const api = isBlock(own) ? '/block/v1' : '/instance/v1';
  return `${api}/zones/${own.zone}/volumes/${encodeURIComponent(own.id)}`;
}

async function blockState(rest: Rest, path: string): Promise<string | undefined> {
  return (await orUndefined(rest.ask('GET', path, { answer: block })))?.status;
}

/** Which is `available` also while a server has it. */
async function localState(rest: Rest, path: string): Promise<string | undefined> {
  const found = (await orUndefined(rest.ask('GET', path, { answer: local })))?.volume;
  return found === undefined || found.server === null ? found?.state : 'in_use';
}
