// Goal: what several clients ask of visitors holds for all of them, as long as one asks for it.
// Method: declarations added and taken back by themselves, without routes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { declareLogin, declareProviderLogin } from '../../src/base/visitor-login.ts';
import { type DeclaredTerms, VisitorTerms } from '../../src/shard/visitor-terms.ts';

const SALT = '0123456789abcdef'.repeat(2);

function declared(more: Partial<DeclaredTerms>): DeclaredTerms {
  return { networks: undefined, logins: undefined, affinity: undefined, ...more };
}

test('nothing is asked for where nobody asks', () => {
  const terms = new VisitorTerms();
  terms.add(declared({}));
  terms.delete(declared({}));
  assert.deepEqual(
    [terms.networks, terms.logins, terms.affinity],
    [undefined, undefined, undefined],
  );
});

test('each list is there once, until the last that declared it has gone', () => {
  const terms = new VisitorTerms();
  const office = declared({ networks: ['192.0.2.0/24', '2001:db8::/32'] });
  const home = declared({ networks: ['198.51.100.7'] });
  for (const one of [office, home, office]) terms.add(one);
  const shown = () =>
    ['192.0.2.7', '2001:db8::1', '198.51.100.7', '203.0.113.1'].map((address) =>
      terms.networks?.map((list) => list.has(address)),
    );
  assert.deepEqual(shown(), [
    [true, false],
    [true, false],
    [false, true],
    [false, false],
  ]);
  terms.delete(office);
  assert.deepEqual(shown()[0], [true, false], 'one of two still declares it');
  terms.delete(office);
  assert.deepEqual(shown(), [[false], [false], [true], [false]]);
  terms.delete(home);
  assert.deepEqual(shown(), [undefined, undefined, undefined, undefined]);
  terms.add(home);
  assert.deepEqual(shown(), [[false], [false], [true], [false]]);
});

test('a list without networks lets nobody in, and is not the absence of one', () => {
  const terms = new VisitorTerms();
  terms.add(declared({ networks: [] }));
  assert.deepEqual(
    terms.networks?.map((list) => list.has('192.0.2.7')),
    [false],
  );
});

test('logins are another array when others are asked for, and only then', () => {
  const terms = new VisitorTerms();
  const ann = declared({ logins: [declareLogin('basic', 'ann:x', SALT)] });
  const bob = declared({ logins: [declareLogin('basic', 'bob:x', SALT)] });
  terms.add(ann);
  const first = terms.logins;
  terms.add(ann);
  terms.add(declared({ affinity: 'ip', networks: ['192.0.2.7'] }));
  terms.delete(ann);
  assert.equal(terms.logins, first, 'who was let in need not be judged anew');
  terms.add(bob);
  assert.notEqual(terms.logins, first, 'who was let in must show more now');
  const credentials = `Basic ${Buffer.from('ann:x').toString('base64')}`;
  assert.deepEqual(
    terms.logins?.map((one) => one.admits(credentials)),
    [true, false],
  );
  terms.delete(bob);
  assert.notEqual(terms.logins, first);
  assert.equal(terms.logins?.length, 1);
});

test('two logins are not taken for one whose name has a comma', () => {
  const terms = new VisitorTerms();
  const two = ['login:ann', 'login:bob'].map((rule) => declareProviderLogin('idp', rule));
  terms.add(declared({ logins: [two.join()] }));
  terms.add(declared({ logins: two }));
  const ann = { user: '1', login: 'ann', email: '' };
  assert.deepEqual(
    terms.logins?.map((one) => one.admitsIdentity(ann)),
    [false, true],
  );
});

test('of clients that disagree the cookie counts, while one asks for it', () => {
  const terms = new VisitorTerms();
  const [ip, cookie] = [declared({ affinity: 'ip' }), declared({ affinity: 'cookie' })];
  for (const one of [ip, cookie, cookie]) terms.add(one);
  const seen = [cookie, cookie, ip].map((one) => {
    const now = terms.affinity;
    terms.delete(one);
    return now;
  });
  assert.deepEqual([...seen, terms.affinity], ['cookie', 'cookie', 'ip', undefined]);
});
