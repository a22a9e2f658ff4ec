// Goal: a visitor who holds a cookie of the exit node has its other cookies treated as anybody's:
// they pass on where they would, and not where a rule or Connection takes them out. Method: the
// real router and ingress, a node with a login provider, a tunnel with a login and one without.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { LoginAnswers } from '../../src/shard/login-answers.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { ANN, answer, LOGIN, RoutedEdge, SITE } from './routed-edge.ts';

const RULES = { 'request-header-remove': ['cookie'] };
/** In two fields, of which one holds the exit node's. */
const COOKIES = 'Cookie: a=1; slw-login-0a1b2c3d=x\r\ncookie: b="2; c=3\r\n';

/** What the upstream gets of a request with `fields`. */
async function passed(t: TestContext, options: object, fields: string): Promise<string> {
  const logins = new LoginAnswers(() => assert.fail('nobody logs in here'), new FakeClock());
  logins.sessions.apply({ keys: [], providers: [['company', 'id']] });
  const scene = await RoutedEdge.start(t, { logins });
  const upstream = await scene.link('one');
  scene.add('one', options);
  const visitor = await scene.visit();
  visitor.send(`GET / HTTP/1.1\r\nHost: ${SITE}\r\nX-Kept: yes\r\n${fields}\r\n`);
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
