// Measures in a network namespace of its own (`--congestion`), to choose how TCP sends there.
//
// All that is measured goes over loopback, where a congestion control has nothing to control and
// may do harm all the same: BBR paces each connection by a timer of its own, which takes up to half
// of what a relay can carry (decision 0051). A program of Node cannot choose one for a socket, and
// the machine's own choice is not ours to change. In the namespace 127.0.0.0/8, which is all that
// the bench uses, gets it by its routes: the setting of a namespace takes only what the machine
// allows to everybody (ip-sysctl, tcp_allowed_congestion_control).
//
// Invariant: nothing outside of the namespace changes; it ends with the last process in it. Must
// not know: what is measured.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { findProgram } from './children.ts';
import { describeEnvironment } from './environment.ts';

const AVAILABLE = '/proc/sys/net/ipv4/tcp_available_congestion_control';
const ENTER = `fail() { echo "bench: --congestion: no such network here: $1" >&2; exit 2; }
"$1" link set lo up || fail 'try as root of the machine'
for to in 127.0.0.0/8 127.0.0.1; do
  "$1" route replace local "$to" dev lo table local proto kernel scope host src 127.0.0.1 \\
    congctl "$2" || fail 'try as root of the machine'
done
shift 2; exec "$@"`;

/**
 * Starts this program anew, in place of itself, where TCP has that congestion control; returns when
 * it is there. Throws an error that says what is missing, and what to do.
 */
export function enterNetwork(congestion: string): void {
  if (describeEnvironment().congestion === congestion) return;
  const known = readFileSync(AVAILABLE, 'utf8').trim().split(/\s+/);
  if (!known.includes(congestion)) {
    throw new Error(`--congestion: '${congestion}' is none of ${known.join(', ')}`);
  }
  const [unshare, ip] = [findProgram('unshare', '/usr/bin'), findProgram('ip', '/usr/sbin')];
  if (unshare === undefined || ip === undefined) {
    throw new Error('--congestion needs unshare and ip: install util-linux and iproute2');
  }
  // Who is not root is root of the namespace alone.
  const own = process.getuid?.() === 0 ? ['--net'] : ['--user', '--map-root-user', '--net'];
  const tried = spawnSync(unshare, [...own, 'true'], { encoding: 'utf8' });
  if (tried.status !== 0) throw new Error(`--congestion: ${tried.stderr.trim()}: try as root`);
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const inside = ['sh', '-c', ENTER, 'sh', ip, congestion, ...program];
  process.execve?.(unshare, ['unshare', ...own, ...inside], process.env);
  throw new Error('--congestion: this Node cannot replace its process');
}
