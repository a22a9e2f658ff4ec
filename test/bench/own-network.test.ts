// `--congestion`: TCP is another one inside, and outside of it nothing has changed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { describeEnvironment, loopbackHint } from '../../native-free-bench/harness/environment.ts';
import { requirePrograms, skipOrFail } from '../support/programs.ts';

const AVAILABLE = '/proc/sys/net/ipv4/tcp_available_congestion_control';
const ROOM = new URL('../../native-free-bench/harness/', import.meta.url);

/** Runs `look` in a network of its own, in a program that enters it as the bench does. */
function enter(
  congestion: string,
  look: string,
): { status: number | null; stdout: string; stderr: string } {
  const code = `
    import { readFileSync, readlinkSync } from 'node:fs';
    import { networkInterfaces } from 'node:os';
    import { enterNetwork } from '${new URL('own-network.ts', ROOM)}';
    import { describeEnvironment } from '${new URL('environment.ts', ROOM)}';
    enterNetwork('${congestion}');
    ${look}`;
  return spawnSync(process.execPath, ['--input-type=module-typescript', '-e', code], {
    encoding: 'utf8',
  });
}

test('TCP has the congestion control that was asked for, on a loopback of its own', (t) => {
  if (requirePrograms(t, ['unshare', 'ip']) === undefined) return;
  const before = describeEnvironment().congestion;
  // Every kernel has it (tcp(7)), and no machine has it as its own.
  const { status, stdout, stderr } = enter(
    'reno',
    `console.log(JSON.stringify([describeEnvironment().congestion, readlinkSync('/proc/self/ns/net'), Object.keys(networkInterfaces())]))`,
  );
  if (/try as root/.test(stderr)) return skipOrFail(t, `no namespaces here: ${stderr}`);
  assert.equal(status, 0, stderr);
  const [congestion, network, interfaces] = JSON.parse(stdout);
  assert.equal(congestion, 'reno');
  assert.notEqual(network, readlinkSync('/proc/self/ns/net'));
  assert.deepEqual(interfaces, ['lo']);
  assert.equal(describeEnvironment().congestion, before);
});

test('a congestion control that the kernel has not is refused with those that it has', () => {
  const { status, stderr } = enter('renno', '');
  assert.notEqual(status, 0);
  assert.match(stderr, /--congestion: 'renno' is none of .*reno/);
});

test('one that the machine allows to root alone is there as well, at both ends', (t) => {
  if (requirePrograms(t, ['unshare', 'ip', 'ss']) === undefined) return;
  const now = describeEnvironment().congestion;
  for (const other of readFileSync(AVAILABLE, 'utf8').trim().split(/\s+/)) {
    const { status, stdout, stderr } = enter(
      other,
      `
      import { execFileSync } from 'node:child_process';
      import { connect, createServer } from 'node:net';
      const server = createServer().listen(0, '127.0.0.1', () => {
        connect(server.address().port, '127.0.0.1', () => {
          const lines = execFileSync('ss', ['-tinH', 'state', 'established'], { encoding: 'utf8' });
          console.log(lines.split('\\n').filter((line) => line.includes(' ${other} ')).length);
          process.exit();
        });
      });`,
    );
    if (/try as root/.test(stderr)) return skipOrFail(t, `no namespaces here: ${stderr}`);
    assert.equal(status, 0, stderr);
    // Where it is there already there is no namespace, and connections of others.
    if (other !== now) assert.equal(stdout.trim(), '2', other);
  }
});

test('figures of loopback with BBR come with a word of it, others with none', () => {
  assert.match(loopbackHint({ congestion: 'bbr' }), /bbr .* paces loopback/);
  assert.equal(loopbackHint({ congestion: 'cubic' }), '');
  assert.equal(loopbackHint({}), '');
});

test('the congestion control that is there already takes no network of its own', () => {
  const now = describeEnvironment().congestion ?? '';
  const { status, stdout, stderr } = enter(now, `console.log(readlinkSync('/proc/self/ns/net'))`);
  assert.equal(status, 0, stderr);
  assert.equal(stdout.trim(), readlinkSync('/proc/self/ns/net'));
});
