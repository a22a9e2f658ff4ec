// Goal: refusals are told once a client, and what is remembered of them has an end. Method: answers
// made by hand, for clients of a register without scopes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clients } from '../../src/control/clients.ts';
import { TunnelLog } from '../../src/control/tunnel-log.ts';
import { LogLines } from '../support/log-lines.ts';

/** As many as are remembered of one client. */
const REFUSALS_MAX = 1000;

test('of many refusals each is told, the first again when too many came between', () => {
  const lines = new LogLines('control');
  const log = new TunnelLog(lines.log);
  const clients = new Clients({ scopes: undefined, wallMs: () => 0 });
  const [first, second] = ['c', 'd'].map((client) =>
    clients.add({ link: '0-1', client, instance: 'i', agent: 'a/1', remoteAddress: '192.0.2.1:1' }),
  );
  const refuse = (client: typeof first, name: string): void =>
    log.tell('0-1', client, { name, code: 'SLW_TUNNEL_TAKEN', reason: 'taken' });
  const told = () => lines.all('tunnel refused').length;
  for (let index = 0; index < REFUSALS_MAX; index += 1) refuse(first, `${index}.test`);
  for (let index = 0; index < REFUSALS_MAX; index += 1) refuse(first, `${index}.test`);
  refuse(second, '0.test');
  assert.equal(told(), REFUSALS_MAX + 1, 'each of both clients');
  refuse(first, 'one.more.test');
  refuse(first, '0.test');
  assert.equal(told(), REFUSALS_MAX + 3);
});
