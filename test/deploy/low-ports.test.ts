// Goal: whichever option has a port below 1024, the service that is printed may open it, and is
// refused where it could not. Method: the form's own words
// for that right.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../cli/run.ts';

const SERVER = ['server', '--token', 'a-token-given-by-value-9876'];
const CLIENT = [
  ...['client', '--token', 'a-token-given-by-value-9876', '--url', 'wss://t.example.com:8123'],
  ...['--upstream', 'a.example=http://web:80'],
];

/** Each has one port below 1024. */
const LOW: readonly (readonly string[])[] = [
  [...SERVER, '--admin-addr', '127.0.0.1:90'],
  [...CLIENT, '--metrics-addr', ':1023'],
];
const HIGH = [...SERVER, '--admin-addr', '127.0.0.1:1024'];
const RIGHTS: Readonly<Record<string, RegExp>> = {
  compose: /^ {6}net\.ipv4\.ip_unprivileged_port_start: 0$/mu,
  k8s: /- name: net\.ipv4\.ip_unprivileged_port_start\n +value: "0"/u,
  systemd: /^AmbientCapabilities=CAP_NET_BIND_SERVICE$/mu,
  'cloud-init': /AmbientCapabilities=CAP_NET_BIND_SERVICE$/mu,
};

for (const [form, right] of Object.entries(RIGHTS)) {
  test(`${form}: a service opens its ports below 1024, whichever option has them`, async () => {
    const printed = async (args: readonly string[]) => {
      const done = await run(['generate', form, ...args]);
      assert.equal(done.code, 0, done.stderr);
      return done.stdout;
    };
    for (const args of LOW) assert.match(await printed(args), right, args.join(' '));
    assert.doesNotMatch(await printed(HIGH), right);
  });
}

test("a client on the machine's network is given no port that it could not open", async () => {
  const low = ['--metrics-addr', ':90', '--local', '53:db:53', '--local', '54:db:54'];
  const local = [...CLIENT, '--upstream', 'b.example=http://127.0.0.1:1'];
  const done = await run(['generate', 'compose', ...local, ...low]);
  assert.deepEqual([done.code, done.stdout], [2, '']);
  const named = [...done.stderr.matchAll(/^sluiceway: --(\S+): a port below 1024 is/gmu)];
  assert.deepEqual(
    named.map(([, name]) => name),
    ['local', 'metrics-addr'],
  );
  const high = await run(['generate', 'compose', ...local, '--metrics-addr', ':1024']);
  assert.equal(high.code, 0, high.stderr);
});
