// The commands that bring sluiceway to other machines, with the options that are their own.
//
// Invariant: one line holds options of `generate` and of what it is for; those of a machine and of
// the server on it stand on either side of `--`; what a command does is loaded when it runs. Must
// not know: what an option means.

import { Command as CliCommand } from 'commander';
import { nearestName } from '../config/problems.ts';
import { type Command, SCHEMA } from '../config/schema.ts';
import { addOptions, collectDeclared, collectFlags, declareOptions } from './arguments.ts';
import type { Deployment } from './commands/generate.ts';
import type { Flags } from './sources.ts';

const HELP: Readonly<Record<Deployment, string>> = {
  systemd: 'a unit for systemd, hardened',
  compose: 'a file for docker compose',
  k8s: 'manifests for Kubernetes',
  'cloud-init': 'user data for a new virtual machine',
};

export function addGenerateCommands(program: CliCommand): void {
  const generate = program
    .command('generate')
    .description('print a deployment for the options given')
    .helpCommand(false);
  for (const deployment of Object.keys(HELP) as Deployment[]) {
    const parent = generate.command(deployment).description(HELP[deployment]).helpCommand(false);
    const own = `generate ${deployment}` as const;
    for (const command of ['server', 'client'] as const) {
      const cli = parent.command(command).description(`${HELP[deployment]}, for the ${command}`);
      addOptions(declareOptions(cli, own), command)
        .addHelpText('after', OTHER_WAYS)
        .action(async (_options: unknown, called: CliCommand) => {
          const flags = sortFlags(called, own, command);
          const { runGenerate } = await import('./commands/generate.ts');
          runGenerate(deployment, { command, ...flags });
        });
    }
  }
}

/** Flags of `own` and of `command`; an unknown one goes where it was probably meant. */
function sortFlags(cli: CliCommand, own: Command, command: Command) {
  const ownFlags: Record<string, Flags[string]> = { ...collectDeclared(cli, own) };
  const flags: Record<string, Flags[string]> = { ...collectFlags(cli, command) };
  for (const name of Object.keys(flags)) {
    if (Object.hasOwn(SCHEMA[command], name) || !isMeantFor(own, command, name)) continue;
    ownFlags[name] = flags[name] ?? '';
    delete flags[name];
  }
  return { own: ownFlags, flags };
}

function isMeantFor(own: Command, command: Command, name: string): boolean {
  const isKnown = (one: string): boolean =>
    one.startsWith('generate ') && Object.hasOwn(SCHEMA[one as Command], name);
  if (Object.keys(SCHEMA).some(isKnown)) return true;
  const isNear = (one: Command): boolean =>
    nearestName(name, Object.keys(SCHEMA[one])) !== undefined;
  return isNear(own) && !isNear(command);
}

const OTHER_WAYS = `
Each option is also a variable, such as SLUICEWAY_NAME. Those of generate itself are keys of the
--generate-config file; the others of the --config file, which the deployment has, too.`;

const CLOUD_WAYS = `
Each option is also a key of the --config file and a variable, such as SLUICEWAY_PROVIDER. Those two
take credentials, too, and SLUICEWAY_CREDENTIALS_FILE names their file; see docs/operating.`;

const SERVER_OPTIONS = `
Options of the server stand behind --, such as: exit-node create --provider hetzner --
--letsencrypt-domain www.example.com`;

export function addExitNodeCommands(program: CliCommand): void {
  const parent = program
    .command('exit-node')
    .description('machines of a cloud that run a server')
    .helpCommand(false);
  const add = (verb: 'create' | 'list' | 'delete', usage: string, help: string): CliCommand =>
    declareOptions(parent.command(usage).description(help), `exit-node ${verb}`).addHelpText(
      'after',
      CLOUD_WAYS,
    );
  add('create', 'create [SERVER_OPTIONS...]', 'make one and wait until it answers')
    .addHelpText('after', SERVER_OPTIONS)
    .action(async (words: readonly string[], _options: unknown, called: CliCommand) => {
      const own = collectDeclared(called, 'exit-node create');
      const flags = serverFlags(words);
      await (await import('./commands/exit-node.ts')).createNode(own, flags);
    });
  add('list', 'list', 'show them').action(async (_options: unknown, called: CliCommand) => {
    const own = collectDeclared(called, 'exit-node list');
    await (await import('./commands/exit-node.ts')).listNodes(own);
  });
  add('delete', 'delete <ID>', 'end one').action(
    async (id: string, _options: unknown, called: CliCommand) => {
      const own = collectDeclared(called, 'exit-node delete');
      await (await import('./commands/exit-node.ts')).deleteNode(id, own);
    },
  );
}

/** The words behind `--`, read as those of `server` are. */
function serverFlags(words: readonly string[]): Flags {
  const cli = addOptions(new CliCommand('server').exitOverride(), 'server');
  cli.parse([...words], { from: 'user' });
  return collectFlags(cli, 'server');
}
