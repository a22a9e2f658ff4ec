// EC2's Query API: forms that are signed, and XML that comes back.
//
// Invariant: an answer is read as a map of names, with a list where EC2 has `item` elements; the
// secret key signs and is in no request. Must not know: what is asked for.

import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { AwsV4Signer } from 'aws4fetch';
import type { z } from 'zod';
import { CloudRefusal, type ProviderOptions } from './provider.ts';
import { type Outgoing, type Rest, restOf } from './rest.ts';

export type Parameters = Readonly<Record<string, string>>;

const API_VERSION = '2016-11-15';
/** Which come with status 503, as a fault would (EC2 API reference, Error codes). */
const THROTTLED: ReadonlySet<string> = new Set(['RequestLimitExceeded', 'Throttling']);
/** All else is POST as well, and may make or end something. */
const READS = /^Describe/;

export class Ec2Query {
  readonly #rest: Rest;

  constructor(region: string, options: ProviderOptions) {
    this.#rest = restOf(options, {
      provider: 'EC2',
      origin: `https://ec2.${region}.amazonaws.com`,
      sign: async (request) => await sign(request, region, options.credentials),
      // The code is what a refusal is told by.
      words: (body) => {
        const { code, message } = readFault(body);
        return `${message} (${code})`;
      },
      isThrottled: (_status, body) => THROTTLED.has(codeOf(body)),
    });
  }

  async ask<T = undefined>(
    action: string,
    parameters: Parameters,
    answer?: z.ZodType<T>,
  ): Promise<T> {
    const form = new URLSearchParams({ Action: action, Version: API_VERSION, ...parameters });
    const text = await this.#rest.askText('POST', '/', {
      text: form.toString(),
      contentType: 'application/x-www-form-urlencoded; charset=utf-8',
      changesNothing: READS.test(action),
    });
    if (answer === undefined) return undefined as T;
    const read = answer.safeParse(readAnswer(text));
    if (read.success) return read.data;
    const where = read.error.issues[0]?.path.join('.') ?? '';
    throw new CloudRefusal('EC2', 0, `its answer to ${action} lacks ${where}`);
  }

  isCode(error: unknown, code: string): boolean {
    return error instanceof CloudRefusal && error.message.endsWith(`(${code})`);
  }
}

async function sign(
  request: Outgoing,
  region: string,
  credentials: ProviderOptions['credentials'],
): Promise<Outgoing> {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId = '',
    AWS_SECRET_ACCESS_KEY: secretAccessKey = '',
    AWS_SESSION_TOKEN: sessionToken,
  } = credentials;
  const { method, url, headers, body } = request;
  const signer = new AwsV4Signer({
    ...{ method, url, headers, body, region, service: 'ec2', accessKeyId, secretAccessKey },
    ...(sessionToken === undefined ? {} : { sessionToken }),
  });
  const signed = await signer.sign();
  return { ...request, headers: Object.fromEntries(signed.headers.entries()) };
}

function rootOf(text: string): XmlElement {
  const { root } = parseXml(text);
  if (root === null) throw new CloudRefusal('EC2', 0, 'its answer is no XML');
  return root;
}

function readAnswer(text: string): unknown {
  try {
    return readElement(rootOf(text));
  } catch {
    return undefined;
  }
}

function readFault(text: string): { readonly code: string; readonly message: string } {
  const all = textsOf(rootOf(text));
  return { code: all.get('Code') ?? '', message: all.get('Message') ?? '' };
}

/** Empty where the body is not in EC2's own form, such as the page of a proxy. */
function codeOf(text: string): string {
  try {
    return readFault(text).code;
  } catch {
    return '';
  }
}

function textsOf(element: XmlElement): Map<string, string> {
  const own = childrenOf(element);
  if (own.length === 0) return new Map([[element.name, element.text]]);
  return new Map(own.flatMap((child) => [...textsOf(child)]));
}

/** Text, a list of `item`, or a map; nothing at all for an empty element. */
function readElement(element: XmlElement): unknown {
  const own = childrenOf(element);
  if (own.length === 0) return element.text === '' ? undefined : element.text;
  if (own.every(({ name }) => name === 'item')) return own.map(readElement);
  return Object.fromEntries(own.map((child) => [child.name, readElement(child)]));
}

function childrenOf({ children }: XmlElement): XmlElement[] {
  return children.filter((child): child is XmlElement => child instanceof XmlElement);
}
