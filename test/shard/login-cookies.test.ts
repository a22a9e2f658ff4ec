// Goal: a visitor who holds a cookie of the exit node has its other cookies treated as anybody's:
// they pass on where they would, and not where a rule or Connection takes them out; the dashboard's
// passes to its own port alone. Method: the real router and ingress, a node with a login provider
// and one without, a tunnel with a login and one without.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { LoginSettings } from '../../src/bridge/login-messages.ts';
import { LoginAnswers } from '../../src/shard/login-answers.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { ANN, answer, LOGIN, RoutedEdge, SITE } from './routed-edge.ts';

const RULES = { 'request-header-remove': ['cookie'] };
/** In two fields, of which one holds the exit node's. */
const COOKIES = 'Cookie: a=1; slw-login-0a1b2c3d=x\r\ncookie: b="2; c=3\r\n';

const PROVIDERS: LoginSettings['providers'] = [['company', 'id']];
const SESSION = 'sluiceway_session';

interface Node {
  readonly authority?: string;
  readonly providers?: LoginSettings['providers'];
}

/** What the upstream gets of a request with `fields`. */
async function passed(
  t: TestContext,
  options: object,
  fields: string,
  { authority = SITE, providers = PROVIDERS }: Node = {},
): Promise<string> {
  const logins = new LoginAnswers(() => assert.fail('nobody logs in here'), new FakeClock());
  logins.sessions.apply({ keys: [], providers });
  const scene = await RoutedEdge.start(t, { logins });
  const upstream = await scene.link('one');
  scene.add('one', options);
  const visitor = await scene.visit();
  visitor.send(`GET / HTTP/1.1\r\nHost: ${authority}\r\nX-Kept: yes\r\n${fields}\r\n`);
  const { request } = await answer(visitor, await upstream.next());
  assert.match(request, /^X-Kept: yes\r$/m);
  return request;
}

for (const [where, options, shown] of [
  ['an open tunnel', {}, ''],
  ['a tunnel with a login', LOGIN, ANN],
] as const) {
  test(`other cookies pass on to ${where}`, async (t) => {
    const request = await passed(t, options, COOKIES + shown);
    assert.deepEqual(request.match(/^Cookie:.*$/gim), ['Cookie: a=1; b="2; c=3']);
  });

  test(`a rule takes every cookie out on the way to ${where}`, async (t) => {
    const request = await passed(t, { ...options, ...RULES }, COOKIES + shown);
    assert.doesNotMatch(request, /cookie/i);
  });

  test(`a rule that adds a cookie to ${where} is left alone with it`, async (t) => {
    const rules = { ...RULES, 'request-header-add': ['Cookie: own=1'] };
    const request = await passed(t, { ...options, ...rules }, COOKIES + shown);
    assert.deepEqual(request.match(/^Cookie:.*$/gim), ['Cookie: own=1']);
  });

  test(`Connection takes every cookie out on the way to ${where}`, async (t) => {
    const request = await passed(t, options, `Connection: COOKIE\r\n${COOKIES}${shown}`);
    assert.doesNotMatch(request, /cookie/i);
  });
}

for (const [where, options, shown] of [
  ['an open tunnel', {}, ''],
  ['a tunnel with a password', LOGIN, ANN],
] as const) {
  test(`the dashboard's cookie of another port does not reach ${where}`, async (t) => {
    const node = { providers: [] };
    for (const name of [`${SESSION}_9123`, `__Host-${SESSION}_9123`, `${SESSION}_8080`]) {
      const request = await passed(t, options, `Cookie: a=1; ${name}=x; b=2\r\n${shown}`, node);
      assert.deepEqual(request.match(/^Cookie:.*$/gim), ['Cookie: a=1; b=2'], name);
    }
    const alone = await passed(t, options, `Cookie: ${SESSION}_9123=x\r\n${shown}`, node);
    assert.doesNotMatch(alone, /cookie/i);
    const field = `Cookie: a=1; ${SESSION}=x\r\n${shown}`;
    const request = await passed(t, options, field, { ...node, authority: `${SITE}:8080` });
    assert.deepEqual(request.match(/^Cookie:.*$/gim), ['Cookie: a=1']);
  });

  test(`the cookie of a dashboard at http does not reach ${where} at https`, async (t) => {
    const cookies = `Cookie: a=1; ${SESSION}=x; __Host-${SESSION}=y\r\n${shown}`;
    const node = { providers: [] };
    const secure = await passed(t, options, `X-Forwarded-Proto: https\r\n${cookies}`, node);
    assert.deepEqual(secure.match(/^Cookie:.*$/gim), [`Cookie: a=1; __Host-${SESSION}=y`]);
    const untold = await passed(t, options, cookies, node);
    assert.match(untold, new RegExp(`^Cookie: a=1; ${SESSION}=x; __Host-${SESSION}=y\r$`, 'm'));
  });

  test(`a dashboard, and logins of another exit node, can be behind ${where}`, async (t) => {
    const ours = `${SESSION}_8080=x; slw-login-0a1b2c3d=y`;
    const request = await passed(t, options, `Cookie: ${ours}\r\n${shown}`, {
      ...{ providers: [], authority: `${SITE}:8080` },
    });
    assert.deepEqual(request.match(/^Cookie:.*$/gim), [`Cookie: ${ours}`]);
    const plain = await passed(t, options, `Cookie: ${SESSION}=x\r\n${shown}`);
    assert.deepEqual(plain.match(/^Cookie:.*$/gim), [`Cookie: ${SESSION}=x`]);
  });
}
