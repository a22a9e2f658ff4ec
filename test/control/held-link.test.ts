// What a link serves, and which of its calls brought that.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Clients } from '../../src/control/clients.ts';
import { HeldLink } from '../../src/control/held-link.ts';

const HELLO = { link: '0-1', client: 'c', instance: 'i', agent: '', remoteAddress: '192.0.2.1:1' };

function createLink(): HeldLink {
  const clients = new Clients({ scopes: undefined, wallMs: () => 0 });
  return new HeldLink(HELLO, clients.add(HELLO), 0);
}

test('a tunnel is news once, and again with other options', () => {
  const link = createLink();
  const host = (name: string) => ({ 'host-header': [name] });
  assert.equal(link.grant('a.example', undefined, 1), true);
  assert.equal(link.grant('a.example', undefined, 2), false);
  assert.equal(link.grant('a.example', host('one'), 3), true);
  assert.equal(link.grant('a.example', host('one'), 4), false);
  assert.deepEqual([...link.tunnels], [['a.example', host('one')]]);
  assert.equal(link.revoke('a.example'), true);
  assert.equal(link.revoke('a.example'), false);
  assert.equal(link.tunnels.size, 0);
});

test('a call that is given up has brought what no call before it was told of', () => {
  const link = createLink();
  link.ask(1);
  link.grant('told.example', undefined, 1);
  assert.equal(link.answer(1), true);
  link.ask(2);
  link.grant('told.example', undefined, 2);
  link.grant('new.example', undefined, 2);
  link.grant('later.example', undefined, 2);
  link.ask(3);
  link.grant('later.example', undefined, 3);
  assert.deepEqual(link.giveUp(2), ['new.example']);
  assert.equal(link.isAsking(2), false);
  assert.equal(link.answer(2), false, 'given up before');
  assert.deepEqual(link.giveUp(3), ['later.example'], 'which waited for it, too');
  assert.deepEqual(link.giveUp(1), ['told.example'], 'its answer was on the way');
});

test('what is offered with other options belongs to the call that brought these', () => {
  const link = createLink();
  link.grant('a.example', undefined, 1);
  link.ask(2);
  link.grant('a.example', { 'host-header': ['b'] }, 2);
  assert.deepEqual(link.giveUp(1), []);
  assert.deepEqual(link.giveUp(2), ['a.example']);
});

test('who was let in by a certificate, on the control port, has no credential', () => {
  const link = createLink();
  assert.deepEqual([link.credential, link.port, link.isLeaving], ['', 'control', false]);
  link.leave();
  assert.equal(link.isLeaving, true);
});
