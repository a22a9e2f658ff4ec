// A real sshd behind a TCP tunnel: commands with their exit codes, and files of 50 MB both ways.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { sha256OfFile, writeRandomFile } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { tcpTunnel } from '../support/tunnel.ts';

const PROGRAMS = ['sshd', 'ssh', 'scp', 'ssh-keygen'] as const;
const FILE_BYTES = 50_000_000;

type Programs = Record<(typeof PROGRAMS)[number], string>;

async function makeKeys(t: TestContext, programs: Programs, folder: string): Promise<void> {
  for (const name of ['host', 'user']) {
    const args = ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(folder, name)];
    const made = await runProgram(t, { command: programs['ssh-keygen'], args });
    assert.equal(made.code, 0, made.stderr);
  }
  copyFileSync(path.join(folder, 'user.pub'), path.join(folder, 'authorized'));
}

async function startSshd(t: TestContext, programs: Programs, folder: string): Promise<number> {
  const port = await freePort();
  const config = path.join(folder, 'sshd_config');
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${folder}/host`,
    `PidFile ${folder}/sshd.pid`,
    `AuthorizedKeysFile ${folder}/authorized`,
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'Subsystem sftp internal-sftp',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  // sshd of Debian wants its empty folder for separated privileges when it runs as root.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const sshd = startProcess(t, {
    name: 'sshd',
    command: programs.sshd,
    args: ['-D', '-e', '-f', config],
  });
  await sshd.line('sshd listens', (line) => line.startsWith('Server listening on 127.0.0.1'));
  return port;
}

function sshOptions(folder: string): string[] {
  return [
    ...['-F', 'none', '-i', path.join(folder, 'user'), '-o', 'BatchMode=yes'],
    ...['-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=accept-new'],
    ...['-o', `UserKnownHostsFile=${folder}/known_hosts`],
  ];
}

test('ssh runs commands and scp copies files through a TCP tunnel', async (t) => {
  const programs = requirePrograms(t, PROGRAMS);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  await makeKeys(t, programs, folder);
  const port = await tcpTunnel(t, await startSshd(t, programs, folder));
  const options = sshOptions(folder);
  const peer = `${os.userInfo().username}@127.0.0.1`;

  await t.test('a command has its output and its exit code', async () => {
    const args = [...options, '-p', String(port), peer, 'echo "out $((6 * 7))"; exit 23'];
    const run = await runProgram(t, { command: programs.ssh, args });
    assert.equal(run.stdout, 'out 42', run.stderr);
    assert.equal(run.code, 23, run.stderr);
  });

  await t.test('a file goes up and comes back with the same hash', async () => {
    const file = path.join(folder, 'file');
    const hash = await writeRandomFile(file, FILE_BYTES);
    for (const [from, to] of [
      [file, `${peer}:${folder}/up`],
      [`${peer}:${folder}/up`, path.join(folder, 'down')],
    ] as const) {
      const args = [...options, '-q', '-P', String(port), from, to];
      const run = await runProgram(t, { command: programs.scp, args, ms: 120_000 });
      assert.equal(run.code, 0, run.stderr);
    }
    assert.equal(await sha256OfFile(path.join(folder, 'up')), hash);
    assert.equal(await sha256OfFile(path.join(folder, 'down')), hash);
  });
});
