// The commands that bring sluiceway to other machines, with the options that are their own.
//
// Invariant: an option of `generate` has no name that a server or client has, so that one line can
// hold both; what a command does is loaded when it runs. Must not know: what a deployment is.

import type { Command as CliCommand } from 'commander';
import { addOptions, collectFlags } from './arguments.ts';
import type { Deployment, GenerateFlags } from './commands/generate.ts';

const HELP: Readonly<Record<Deployment, string>> = {
  systemd: 'a unit for systemd, hardened',
  compose: 'a file for docker compose',
  k8s: 'manifests for Kubernetes',
  'cloud-init': 'user data for a new virtual machine',
};

type OwnOption = readonly [usage: string, help: string];

const NAME: OwnOption = ['--name <NAME>', 'of the service and its folders (default: sluiceway)'];
const IMAGE: OwnOption = ['--image <IMAGE>', 'image of docker/Dockerfile (default: sluiceway)'];

const PACKAGE_OPTIONS: readonly OwnOption[] = [
  [
    '--package <SPEC>',
    'what the machine installs, as npm names it, or a URL (default: this version)',
  ],
  ['--package-integrity <SHA512>', 'of the archive behind a URL, as npm pack prints it'],
  ['--registry <URL>', "of npm, for the package, Node and npm (default: npm's own)"],
];

const OWN: Readonly<Record<Deployment, readonly OwnOption[]>> = {
  systemd: [NAME, ['--program <WORDS>', 'what runs sluiceway there (default: what runs now)']],
  compose: [NAME, IMAGE],
  k8s: [NAME, IMAGE, ['--namespace <NAME>', 'of all objects']],
  'cloud-init': [NAME, ...PACKAGE_OPTIONS],
};

export function addGenerateCommands(program: CliCommand): void {
  const generate = program
    .command('generate')
    .description('print a deployment for the options given')
    .helpCommand(false);
  for (const deployment of Object.keys(HELP) as Deployment[]) {
    const parent = generate.command(deployment).description(HELP[deployment]).helpCommand(false);
    for (const command of ['server', 'client'] as const) {
      const cli = parent.command(command).description(`${HELP[deployment]}, for the ${command}`);
      for (const [usage, help] of OWN[deployment]) cli.option(usage, help);
      addOptions(cli, command).action(async (own: GenerateFlags, called: CliCommand) => {
        const flags = collectFlags(called, command);
        const { runGenerate } = await import('./commands/generate.ts');
        runGenerate(deployment, { command, flags, own });
      });
    }
  }
}
