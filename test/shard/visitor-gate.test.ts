// Goal: who guesses passwords learns of ten and then of one in six seconds whether they are right,
// and nothing of the others; who showed a right one before is let in all the while. Method: the
// real router and ingress, addresses as a trusted proxy says them, a clock by hand.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { declareLogin } from '../../src/base/visitor-login.ts';
import { AdmittedPasswords } from '../../src/shard/admitted-passwords.ts';
import { ask, LOGIN, RoutedEdge, SITE } from './routed-edge.ts';

const GUESSER = '203.0.113.9';
const OTHER = '198.51.100.1';
const GOOD = 'ann:secret';
const TOKEN = 'a-token-of-32-letters-0123456789';

function requestOf(address: string, authorization: string): string {
  const fields = [`X-Forwarded-For: ${address}`, `Authorization: ${authorization}`];
  return `GET / HTTP/1.1\r\nHost: ${SITE}\r\n${fields.join('\r\n')}\r\n\r\n`;
}

function basic(pair: string): string {
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

async function startScene(t: TestContext) {
  const scene = await RoutedEdge.start(t);
  const upstream = await scene.link('one');
  const digest = declareLogin('bearer', TOKEN, '1'.repeat(32));
  scene.add('one', { 'visitor-login': [...LOGIN['visitor-login'], digest] });
  return {
    clock: scene.edge.clock,
    passes: async (address: string, field: string) => {
      await ask(await scene.visit(), upstream, requestOf(address, field));
    },
    refuses: async (address: string, field: string): Promise<number> => {
      const visitor = await scene.visit();
      visitor.send(requestOf(address, field));
      const text = await visitor.readEnd();
      return Number(text.slice(9, 12));
    },
  };
}

test('a right guess is answered like a wrong one while its address has none left', async (t) => {
  const { clock, passes, refuses } = await startScene(t);
  for (let guess = 0; guess < 10; guess += 1) {
    assert.equal(await refuses(GUESSER, basic(`ann:${guess}`)), 401);
  }
  for (const pair of ['ann:wrong', GOOD, GOOD]) {
    assert.equal(await refuses(GUESSER, basic(pair)), 429, pair);
  }
  // Another address has guessed nothing, and a token is too long to be guessed.
  await passes(OTHER, basic(GOOD));
  await passes(GUESSER, `Bearer ${TOKEN}`);
  assert.equal(await refuses(GUESSER, basic(GOOD)), 429, 'shown elsewhere, and not here');
  clock.advance(6000);
  await passes(GUESSER, basic(GOOD));
});

test('who showed the right password before is let in beside whoever guesses', async (t) => {
  const { clock, passes, refuses } = await startScene(t);
  await passes(GUESSER, basic(GOOD));
  for (let guess = 0; guess < 10; guess += 1) await refuses(GUESSER, basic(`ann:${guess}`));
  assert.equal(await refuses(GUESSER, basic('ann:wrong')), 429);
  await passes(GUESSER, basic(GOOD));
  clock.advance(1000);
  await passes(GUESSER, basic(GOOD));
});

test('passwords are kept by address and tunnel, and the longest unseen are forgotten', () => {
  const passwords = new AdmittedPasswords();
  const shown = { address: GUESSER, tunnel: SITE, field: basic(GOOD) };
  passwords.remember(shown);
  assert.equal(passwords.has(shown), true);
  for (const other of [{ address: OTHER }, { tunnel: 'b.example' }, { field: basic('ann:no') }]) {
    assert.equal(passwords.has({ ...shown, ...other }), false);
  }
  for (let count = 1; count < 10_000; count += 1) {
    passwords.remember({ ...shown, tunnel: `${count}.example` });
  }
  passwords.remember(shown);
  passwords.remember({ ...shown, tunnel: 'last.example' });
  assert.equal(passwords.count, 10_000);
  assert.equal(passwords.has(shown), true);
  assert.equal(passwords.has({ ...shown, tunnel: '1.example' }), false);
});
