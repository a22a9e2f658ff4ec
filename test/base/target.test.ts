// Goal: what is taken for this machine cannot be a name that somebody else owns. Method: a table
// of addresses and names.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopbackHost } from '../../src/base/target.ts';

test('loopback is an address to its end, localhost, or a name below it', () => {
  const own = [
    ...['127.0.0.1', '127.1.2.3', '127.255.255.254', '::1', '::ffff:127.0.0.1'],
    ...['localhost', 'app.localhost'],
  ];
  for (const host of own) assert.equal(isLoopbackHost(host), true, host);
  const others = [
    ...['127.example.com', '127.0.0.1.example.com', '127.0.0.example.com', '127.0.0.1a'],
    ...['example.127.0.0.1', 'notlocalhost', 'localhost.example.com', '128.0.0.1', '10.127.0.0'],
    ...['::12', '::1:2', '1::1', '::ffff:128.0.0.1', '0.0.0.0', '::', ''],
  ];
  for (const host of others) assert.equal(isLoopbackHost(host), false, host);
});
