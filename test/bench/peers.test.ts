// Other tunnels of the benchmark: each is named with its own version, and of one that does not
// start nothing goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Child, Children } from '../../native-free-bench/harness/children.ts';
import { type Peer, startPeer, versionIn } from '../../native-free-bench/peers/peer.ts';
import { ssh } from '../../native-free-bench/peers/ssh.ts';
import { eventually } from '../support/deadline.ts';

test('a version is that of the program, not of its library', () => {
  const openssh = 'OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n';
  assert.equal(versionIn(openssh, ssh.versionPattern), '9.2p1');
  const haproxy = 'HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n';
  assert.equal(versionIn(haproxy), '2.6.12-1+deb12u4');
  assert.equal(versionIn('bore-cli 0.6.0\n'), '0.6.0');
  assert.equal(versionIn('thing 1.2\n'), '1.2');
});

test('of a peer that does not start nothing goes on running', async (t) => {
  const children = new Children();
  t.after(() => children.stop());
  let server: Child | undefined;
  const peer: Peer = {
    ...{ name: 'sleeper', programs: ['sleep'], versionArg: '--version' },
    start: async ({ run }) => {
      server = run('sleep', ['60']);
      throw new Error('no client');
    },
  };
  const options = { origins: { raw: 0, http: 0 }, peersFolder: '/bin' };
  assert.equal(await startPeer(peer, children, options), 'does not start: no client');
  await eventually(5_000, 'its server has ended', async () => assert.ok(server?.isOver()));
});
