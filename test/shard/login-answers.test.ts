// Goal: control is told the site of a login as browsers and providers write it, on both ways, and
// is not asked about a Host that is in no browser's bar. Method: parsed heads, and a control that
// notes what it is asked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CALLBACK_PATH } from '../../src/base/login-way.ts';
import type { Scheme } from '../../src/http/forwarding.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { type AskControl, LoginAnswers } from '../../src/shard/login-answers.ts';
import { FakeClock } from '../support/fake-clock.ts';

const WANTED = { provider: 'company', tunnel: 'site.example.com' };

function head(authority: string, target: string): RequestParser {
  const parser = new RequestParser();
  const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  assert.ok(parser.push(bytes, 0) > 0, authority);
  return parser;
}

/** What a visitor is answered on its way there and back, and which sites control was asked for. */
async function sitesOf(scheme: Scheme, authority: string) {
  const sites: string[] = [];
  const ask = ((_method: string, { site }: { readonly site: string }) => {
    sites.push(site);
    return Promise.resolve({ code: 'SLW_HTTP_LOGIN_UNAVAILABLE' });
  }) as unknown as AskControl;
  const logins = new LoginAnswers(ask, new FakeClock());
  logins.sessions.apply({ keys: [], providers: [['company', 'id']] });
  const origin = { address: '192.0.2.1', scheme, localAuthority: 'x' };
  const answers = [
    await logins.begin(head(authority, '/'), origin, WANTED),
    await logins.answer(head(authority, `${CALLBACK_PATH}?code=1&state=2`), origin),
  ];
  return { answers, sites };
}

test('the port of the scheme is no part of a site, another one is', async () => {
  for (const [scheme, authority, wanted] of [
    ['https', 'site.example.com', 'https://site.example.com'],
    ['https', 'Site.example.com:443', 'https://site.example.com'],
    ['https', 'site.example.com:', 'https://site.example.com'],
    ['https', 'site.example.com:80', 'https://site.example.com:80'],
    ['http', 'site.example.com:80', 'http://site.example.com'],
    ['http', 'site.example.com:8080', 'http://site.example.com:8080'],
    ['https', '[2001:db8::1]:443', 'https://[2001:db8::1]'],
  ] as const) {
    const { answers, sites } = await sitesOf(scheme, authority);
    assert.deepEqual(sites, [wanted, wanted], authority);
    assert.deepEqual(answers, Array(2).fill('SLW_HTTP_LOGIN_UNAVAILABLE'));
  }
});

test('about a host that is no address of a page control is not asked', async () => {
  const { answers, sites } = await sitesOf('https', 'a.1');
  assert.deepEqual(sites, []);
  assert.deepEqual(answers, ['SLW_HTTP_LOGIN_BROWSER', 'SLW_HTTP_LOGIN_LOST']);
});
