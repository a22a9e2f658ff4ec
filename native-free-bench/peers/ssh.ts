// `ssh -R`: OpenSSH's reverse forwarding, visitors are channels of one connection.
//
// Owns an sshd of its own with keys made for the run; nothing of the user's is read or written.
// Its usual cipher: it cannot do without one. Must not know: load.

import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort, untilListens } from '../harness/children.ts';
import type { Peer } from './peer.ts';

export const ssh: Peer = {
  name: 'ssh -R',
  programs: ['ssh', 'sshd', 'ssh-keygen'],
  versionArg: '-V',
  // Behind it stands that of OpenSSL.
  versionPattern: /(?<=OpenSSH_)[^\s,]+/,
  async start({ origins, through, folder, run }) {
    const [control, raw, http] = [await freePort(), await freePort(), await freePort()];
    chmodSync(folder, 0o700);
    // sshd separates its privileges into this folder when root runs it.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    const keyFile = path.join(folder, 'key');
    const keygen = run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', keyFile]);
    await new Promise((resolve) => keygen.process.once('close', resolve));
    copyFileSync(`${keyFile}.pub`, path.join(folder, 'authorized'));
    const configFile = path.join(folder, 'sshd_config');
    writeFileSync(configFile, serverConfiguration(folder, control));
    const server = run('sshd', ['-D', '-e', '-f', configFile]);
    await untilListens(control, server);
    const client = run('ssh', [
      ...['-N', '-T', '-F', 'none', '-i', keyFile, '-p', String(await through(control))],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-o', 'ExitOnForwardFailure=yes'],
      ...['-R', `127.0.0.1:${raw}:127.0.0.1:${origins.raw}`],
      ...['-R', `127.0.0.1:${http}:127.0.0.1:${origins.http}`],
      `${os.userInfo().username}@127.0.0.1`,
    ]);
    return { ports: { raw, http }, server: [server], client: [client] };
  },
};

function serverConfiguration(folder: string, port: number): string {
  return `
ListenAddress 127.0.0.1:${port}
HostKey ${folder}/key
AuthorizedKeysFile ${folder}/authorized
PidFile ${folder}/sshd.pid
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
AllowTcpForwarding yes
`;
}
