// The commands that bring sluiceway to other machines, with the options that are their own.
//
// Invariant: an option of `generate` has no name that a server or client has, so that one line can
// hold both; what a command does is loaded when it runs. Must not know: what a deployment is.

import { Command as CliCommand } from 'commander';
import { addOptions, collectFlags } from './arguments.ts';
import type { CloudFlags, CreateFlags } from './commands/exit-node.ts';
import type { Deployment, GenerateFlags } from './commands/generate.ts';
import type { Flags } from './sources.ts';

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

const CLOUD_OPTIONS: readonly OwnOption[] = [
  ['--provider <NAME>', 'digitalocean, hetzner, ec2, gce, azure, linode, scaleway, vultr or ovh'],
  ['--region <REGION>', "as the provider names it (default: the provider's of docs/)"],
  ['--credentials-file <FILE>', 'in place of variables of the environment'],
  ['--endpoint <URL>', "of the provider's API, where it is not the usual one"],
  ['--json', 'as JSON'],
];

const CREATE_OPTIONS: readonly OwnOption[] = [
  ['--name <NAME>', 'of the machine (default: a random one)'],
  ['--size <SIZE>', 'of the machine, as the provider names it'],
  ['--image <IMAGE>', 'with systemd and cloud-init, as the provider names it'],
  ['--token-file <FILE>', 'the token for its clients (default: a new one, in a new file)'],
  ['--ssh-key-file <FILE>', 'public keys of those who may log in (default: nobody)'],
  ['--timeout <TIME>', 'how long it may take to answer (default: 15m)'],
  ...PACKAGE_OPTIONS,
];

const SERVER_OPTIONS = `
Options of the server stand behind --, such as: exit-node create --provider hetzner --
--letsencrypt-domain www.example.com`;

export function addExitNodeCommands(program: CliCommand): void {
  const parent = program
    .command('exit-node')
    .description('machines of a cloud that run a server')
    .helpCommand(false);
  const add = (usage: string, help: string, more: readonly OwnOption[] = []): CliCommand => {
    const cli = parent.command(usage).description(help);
    for (const [option, about] of [...CLOUD_OPTIONS, ...more]) cli.option(option, about);
    return cli;
  };
  add('create [SERVER_OPTIONS...]', 'make one and wait until it answers', CREATE_OPTIONS)
    .addHelpText('after', SERVER_OPTIONS)
    .action(async (words: readonly string[], own: CreateFlags) => {
      const flags = serverFlags(words);
      await (await import('./commands/exit-node.ts')).createNode(own, flags);
    });
  add('list', 'show them').action(async (own: CloudFlags) => {
    await (await import('./commands/exit-node.ts')).listNodes(own);
  });
  add('delete <ID>', 'end one').action(async (id: string, own: CloudFlags) => {
    await (await import('./commands/exit-node.ts')).deleteNode(id, own);
  });
}

/** The words behind `--`, read as those of `server` are. */
function serverFlags(words: readonly string[]): Flags {
  const cli = addOptions(new CliCommand('server').exitOverride(), 'server');
  cli.parse([...words], { from: 'user' });
  return collectFlags(cli, 'server');
}
