// The command line: which commands there are, and how an error becomes lines and an exit code.
//
// Invariant: --help and answers go to stdout with exit code 0, errors to stderr as `sluiceway: `
// lines with the code of the table; commander never exits the process itself; a command's code is
// loaded when it runs, so that none pays for another's. Must not know: what a command does.

import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net';
import { Command as CliCommand, CommanderError } from 'commander';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { ConfigError, SluicewayError } from '../base/errors.ts';
import { releaseCompilers } from '../base/late-compilers.ts';
import { COMMANDS } from '../config/print.ts';
import { withoutLogin } from '../config/problems.ts';
import type { Command } from '../config/schema.ts';
import { addOptions, collectFlags } from './arguments.ts';
import type { BenchFlags } from './bench-request.ts';
import type { TokenFlags } from './commands/token.ts';
import { runVersion, versionText } from './commands/version.ts';
import { addExitNodeCommands, addGenerateCommands } from './deploy-commands.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { complain, surviveClosedPipes } from './output.ts';
import type { Flags } from './sources.ts';

/** What a server on the way to which nothing else is said has to connect. Guess. */
const DIAL_MS = 10_000;

type Run = (flags: Flags) => Promise<void> | void;

export async function main(argv: readonly string[]): Promise<void> {
  surviveClosedPipes();
  // For `fetch` and libraries, to which it cannot be said.
  const { autoSelectFamilyAttemptTimeout: attemptMs } = attemptsWithin(DIAL_MS);
  setDefaultAutoSelectFamilyAttemptTimeout(attemptMs);
  try {
    const chosen = await choose(argv);
    await chosen?.();
  } catch (error) {
    // Help that could not be written has failed already.
    process.exitCode = report(error) || process.exitCode;
  }
}

type Chosen = () => Promise<void> | void;
type Choose = (chosen: Chosen) => void;

/** A server runs for long: by then its command line, a thousand options, is garbage. */
async function choose(argv: readonly string[]): Promise<Chosen | undefined> {
  let last: Chosen | undefined;
  const program = buildProgram((chosen) => {
    last = chosen;
  });
  await program.parseAsync([...argv]);
  return last;
}

function buildProgram(onChosen: Choose): CliCommand {
  const program = new CliCommand('sluiceway')
    .description('The self-hosted tunnel: HTTP and TCP services behind NAT, made public')
    .version(versionText(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(asError(text)) })
    .helpCommand(false);
  addCommand(program, onChosen, {
    ...{ name: 'server', help: 'run the exit node' },
    run: async (flags) => (await import('./commands/server.ts')).runServer(flags),
  });
  addCommand(program, onChosen, {
    ...{ name: 'client', help: 'serve upstreams through a server' },
    run: async (flags) => (await import('./commands/client.ts')).runClient(flags),
  });
  addCommand(program, onChosen, {
    ...{ name: 'status', help: 'show who is connected' },
    run: async (flags) => (await import('./commands/status.ts')).runStatus(flags),
  });
  addCommand(program, onChosen, {
    name: 'fileserver',
    help: 'serve a folder over HTTP on this machine, to share through a tunnel',
    run: async (flags) => (await import('./commands/fileserver.ts')).runFileServer(flags),
  });
  addCommand(program, onChosen, {
    name: 'operator',
    help: 'give Services of a Kubernetes cluster public addresses',
    run: async (flags) => (await import('./commands/operator.ts')).runOperator(flags),
  });
  program.command('version').description('print the version').action(runVersion);
  addConfigCommands(program, onChosen);
  addTokenCommands(program);
  addBenchCommand(program);
  addGenerateCommands(program);
  addExitNodeCommands(program);
  program
    .command('demo')
    .description('try it out: a server, a client and a sample site on this machine')
    .option('--check', 'fetch the site once through the tunnel, then end')
    .action(async ({ check = false }: { readonly check?: boolean }) =>
      (await import('./commands/demo.ts')).runDemo({ check }),
    );
  return program;
}

const OTHER_WAYS = `
Each option is also a key of the --config file, by its name without the dashes, and an
environment variable, such as SLUICEWAY_LOG_LEVEL. Flags win over variables, variables over the
file. docs/config.md has the whole table.`;

interface CommandSpec {
  readonly name: Command;
  readonly help: string;
  readonly run: Run;
}

/** A name of two words is a command of a command. */
function addCommand(parent: CliCommand, onChosen: Choose, { name, help, run }: CommandSpec): void {
  const words = name.split(' ');
  const owner = words.slice(0, -1).reduce(groupIn, parent);
  addOptions(owner.command(words.at(-1) ?? name).description(help), name)
    .addHelpText('after', OTHER_WAYS)
    .action((_options: unknown, command: CliCommand) => {
      const flags = collectFlags(command, name);
      onChosen(() => run(flags));
    });
}

function groupIn(parent: CliCommand, word: string): CliCommand {
  const known = parent.commands.find((one) => one.name() === word);
  return known ?? parent.command(word).description(`likewise, of ${word}`).helpCommand(false);
}

/** Not `status`, whose options depend on whom it asks. */
const CHECKED = COMMANDS.filter((name) => name !== 'status');

function addConfigCommands(program: CliCommand, onChosen: Choose): void {
  const config = program
    .command('config')
    .description('check or print a configuration')
    .helpCommand(false);
  const actions = [
    {
      verb: 'check',
      help: 'say what is wrong with the options',
      run: async (name: Command, flags: Flags) =>
        (await import('./commands/config-check.ts')).runConfigCheck(name, flags),
    },
    {
      verb: 'print',
      help: 'print the options as YAML, secrets masked',
      run: async (name: Command, flags: Flags) =>
        (await import('./commands/config-print.ts')).runConfigPrint(name, flags),
    },
  ];
  for (const { verb, help, run } of actions) {
    const parent = config.command(verb).description(help).helpCommand(false);
    for (const name of CHECKED) {
      const spec = { name, help: `${help} of ${name}`, run: (flags: Flags) => run(name, flags) };
      addCommand(parent, onChosen, spec);
    }
  }
}

function addTokenCommands(program: CliCommand): void {
  const token = program
    .command('token')
    .description('manage the file of --tokens-file; a running server reads it again')
    .helpCommand(false);
  const add = (usage: string, help: string): CliCommand =>
    token
      .command(usage)
      .description(help)
      .option('--tokens-file <FILE>', 'the file; or SLUICEWAY_TOKENS_FILE');
  const all = (value: string, before: readonly string[] = []): string[] => [...before, value];
  add('create <NAME>', 'add a token and print its secret, once')
    .option('--host <HOST>', 'host it may serve, such as *.example.com; repeat', all)
    .option('--port <PORTS>', 'TCP ports it may serve, such as 8000-8100; repeat', all)
    .option('--udp-port <PORTS>', 'UDP ports it may serve; repeat', all)
    .option('--forward <HOST:PORT>', 'what its clients may reach by --local; repeat', all)
    .option('--allow-ip <CIDR>', 'where its clients may come from; repeat', all)
    .option('--expires <TIME>', 'when it ends, such as 2027-01-31T12:00:00Z')
    .option('--admin', 'it may read /status and /metrics')
    .option('--clients-max <NUMBER>', 'clients at the same time')
    .option('--links-max <NUMBER>', 'links at the same time')
    .option('--streams-max <NUMBER>', 'open streams')
    .option('--requests-per-second-max <NUMBER>', 'HTTP requests a second')
    .option('--bytes-in-per-second-max <SIZE>', 'from visitors, such as 8MiB')
    .option('--bytes-out-per-second-max <SIZE>', 'to visitors')
    .option('--bytes-month-max <SIZE>', 'both ways, in a calendar month')
    .action(async (name: string, flags: TokenFlags) =>
      (await import('./commands/token.ts')).createToken(name, flags),
    );
  add('list', 'show the tokens, without secrets')
    .option('--tokens-usage-file <FILE>', "the server's; or SLUICEWAY_TOKENS_USAGE_FILE")
    .option('--json', 'as JSON')
    .action(async (flags: TokenFlags) =>
      (await import('./commands/token.ts')).listTokensFile(flags),
    );
  add('revoke <NAME>', 'remove a token; its clients end within seconds').action(
    async (name: string, flags: TokenFlags) =>
      (await import('./commands/token.ts')).revokeToken(name, flags),
  );
  add('rotate <NAME>', 'print a new secret; the one before stays valid, older ones do not').action(
    async (name: string, flags: TokenFlags) =>
      (await import('./commands/token.ts')).rotateTokenSecret(name, flags),
  );
}

function addBenchCommand(program: CliCommand): void {
  const all = (value: string, before: readonly string[] = []): string[] => [...before, value];
  program
    .command('bench')
    .description('load test a running tunnel, or one of its own, and write a report')
    .option('--url <URL>', 'http://, https:// or tcp:// address of a tunnel; its own if none')
    .option('--tcp-load <WORD>', 'what a tcp:// service does: echo, download or upload')
    .option('--connections <NUMBER>', 'connections at the same time; 50')
    .option('--rate <NUMBER>', 'requests or echoes a second in all; else as fast as it goes')
    .option('--duration <TIME>', 'of a round, such as 30s; 10s, without --url 2s a sample')
    .option('--warm-up <TIME>', 'load that is not counted before each round; 2s, or 500ms')
    .option('--rounds <NUMBER>', 'rounds, of which medians are taken; 3')
    .option('--header <HEADER>', "a header such as 'Host: example.com'; repeat", all)
    .option('--tls-ca <FILE>', 'authorities to trust for https://, in PEM')
    .option('--shards <NUMBER>', 'of the server that is started without --url; 1')
    .option('--output <FOLDER>', 'where report.html and report.json go; the current folder')
    .option('--json', 'print report.json instead of tables')
    .action(async (flags: BenchFlags) => {
      releaseCompilers();
      await (await import('./commands/bench.ts')).runBenchCommand(flags);
    });
}

/** Writes what went wrong and gives the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // commander has written its message; without a command it wrote the help, to stderr.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  if (error instanceof ConfigError) {
    for (const problem of error.problems) complain(problem);
  } else if (error instanceof SluicewayError) {
    complain(error.message);
  } else {
    complain(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  }
  return exitCodeOf(error);
}

/** commander's `error: text` and its suggestion, as one of our lines. */
function asError(text: string): string {
  const [message = '', ...rest] = text.trim().split('\n');
  return `sluiceway: ${[withoutLogin(message.replace(/^error: /, '')), ...rest].join(' ')}\n`;
}
