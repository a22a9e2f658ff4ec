// The action of .github/actions/tunnel, its step run as a runner would: a job logs in with its own
// identity, reaches a service of the server's network on localhost and shows one of its own; and it
// says what is missing. actionlint reads the workflows and the example.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { parse } from 'yaml';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { requireGoTool } from '../support/go-tools.ts';
import { AUDIENCE, startIssuer, type TestIssuer } from '../support/oidc-issuer.ts';
import { type Output, runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { ENTRY, startServer, TOKEN } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const ACTION = path.join(ROOT, '.github/actions/tunnel');
const HOST = 'pr-1.example.com';
const REQUEST_TOKEN = 'of-the-job-alone';
const SHELL_SCRIPTS = [
  ...['.ci/run', '.github/actions/tunnel/start.sh', 'docker/base-image.sh'],
  ...['docker/runtime-root.sh', 'test/fixtures/go-tools.sh'],
  ...['test/fixtures/go.sh', 'test/fixtures/kube/build.sh'],
];

interface Action {
  readonly inputs: Readonly<Record<string, { readonly default?: string }>>;
  readonly runs: {
    readonly steps: readonly {
      readonly run: string;
      readonly env: Readonly<Record<string, string>>;
    }[];
  };
}

interface Job {
  readonly folder: string;
  readonly outputs: () => Readonly<Record<string, string>>;
  readonly run: (inputs: Readonly<Record<string, string>>) => Promise<Output>;
}

/** A runner's job: its folder, its variables, and the action's step with inputs put in. */
function startJob(t: TestContext, more: Readonly<Record<string, string>> = {}): Job {
  const folder = scratchFolder(t);
  const outputFile = path.join(folder, 'output');
  writeFileSync(outputFile, '');
  const { inputs: known, runs } = parse(
    readFileSync(path.join(ACTION, 'action.yml'), 'utf8'),
  ) as Action;
  const outputs = () => {
    const lines = readFileSync(outputFile, 'utf8').trim().split('\n');
    return Object.fromEntries(lines.map((line) => line.split('=', 2) as [string, string]));
  };
  const run = async (inputs: Readonly<Record<string, string>>): Promise<Output> => {
    const step = runs.steps[0];
    assert.ok(step !== undefined && runs.steps.length === 1);
    const given: Readonly<Record<string, string>> = {
      program: `${process.execPath} ${ENTRY}`,
      ...inputs,
    };
    const fill = (text: string): string =>
      text
        .replaceAll(/\$\{\{ inputs\.([a-z-]+) \}\}/gu, (_, name: string) => {
          assert.ok(known[name] !== undefined, `no input ${name}`);
          return given[name] ?? known[name].default ?? '';
        })
        .replaceAll(/\$\{\{ github\.action_path \}\}/gu, ACTION);
    const env = Object.entries(step.env).map(([name, text]) => [name, fill(text)]);
    assert.doesNotMatch(step.run, /\$\{\{/u, 'a value would be a part of the script');
    return await runProgram(t, {
      ...{ command: 'bash', args: ['-e', '-c', step.run], cwd: folder },
      env: {
        ...{ PATH: process.env.PATH, HOME: folder, RUNNER_TEMP: folder },
        ...{ GITHUB_OUTPUT: outputFile, TUNNEL_RENEW_SECONDS: '1', ...more },
        ...Object.fromEntries(env),
      },
    });
  };
  undoAfter(t, () => {
    const { pid } = outputs();
    if (pid !== undefined) process.kill(Number(pid), 'SIGTERM');
  });
  return { folder, outputs, run };
}

/** What GitHub gives a job with `id-token: write`: where to ask, and with what. */
async function startIdentities(t: TestContext, issuer: TestIssuer) {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url ?? '');
    const isOurs = request.headers.authorization === `bearer ${REQUEST_TOKEN}`;
    const audience = new URL(request.url ?? '', 'http://localhost').searchParams.get('audience');
    issuer.sign({ payload: { aud: audience ?? '' } }).then(
      (value) => response.writeHead(isOurs ? 200 : 401).end(JSON.stringify({ value })),
      (error: Error) => response.destroy(error),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as { readonly port: number };
  const variables = {
    ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/token?api-version=2.0`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
  };
  return { asked, variables };
}

test('a job reaches a private network with its own identity', async (t) => {
  if (requirePrograms(t, ['bash', 'curl', 'jq']) === undefined) return;
  const issuer = await startIssuer(t);
  const cluster = await startHttp(t, (_request, response) => response.end('of the cluster'));
  const site = await startHttp(t, (_request, response) => response.end('of the job'));
  const tokens = path.join(scratchFolder(t), 'tokens.yaml');
  const rule = [
    ...['oidc:', '  - name: deploys', '    claims: {sub: "repo:acme/app:*"}'],
    ...[`    hosts: [${HOST}]`, `    forwards: ["127.0.0.1:${cluster}"]`],
  ];
  writeFileSync(tokens, `${rule.join('\n')}\n`, { mode: 0o600 });
  const server = await startServer(t, {
    args: [
      ...['--tokens-file', tokens, '--client-forwarding', `127.0.0.1:${cluster}`],
      ...['--oidc-issuer', issuer.url, '--oidc-audience', AUDIENCE],
    ],
  });
  const { asked, variables } = await startIdentities(t, issuer);
  const job = startJob(t, variables);
  const local = await freePort();
  const ran = await job.run({
    url: `ws://127.0.0.1:${server.controlPort}`,
    audience: AUDIENCE,
    // By line, as in a workflow; the last line ends with one, too.
    local: `${local}:127.0.0.1:${cluster}\n`,
    upstream: `${HOST}=http://127.0.0.1:${site}\n`,
  });
  assert.equal(ran.code, 0, `${ran.stdout}\n${ran.stderr}`);
  assert.match(ran.stdout, /^::add-mask::ey[\w.-]+$/mu);
  assert.match(ran.stdout, /^tunnel: up, process \d+$/mu);
  assert.equal((await get(t, { port: local, host: 'localhost' })).body, 'of the cluster');
  assert.equal((await get(t, { port: server.httpPort, host: HOST })).body, 'of the job');
  assert.match(asked[0] ?? '', new RegExp(`audience=${AUDIENCE}$`, 'u'));
  assert.equal(statSync(path.join(job.folder, 'sluiceway/token')).mode & 0o077, 0);
  await eventually(15_000, 'the identity is fetched again', async () => {
    assert.ok(asked.length > 1);
  });
  const { pid, log = '' } = job.outputs();
  assert.match(readFileSync(log, 'utf8'), /"tunnel up"/u);
  assert.doesNotMatch(readFileSync(log, 'utf8'), /ey[A-Za-z0-9]{20}/u);
  assert.match(String(pid), /^\d+$/u);
});

const MISSING: readonly {
  readonly of: string;
  readonly inputs: Readonly<Record<string, string>>;
  readonly says: RegExp;
}[] = [
  { of: 'no login', inputs: {}, says: /give audience, for the identity of the job, or token/u },
  { of: 'two logins', inputs: { audience: 'a', token: TOKEN }, says: /not both/u },
  { of: 'no permission', inputs: { audience: 'a' }, says: /permissions: id-token: write/u },
  {
    of: 'no tunnel',
    inputs: { token: TOKEN },
    says: /a client needs a tunnel[\s\S]*the client ended/u,
  },
];
for (const { of, inputs, says } of MISSING) {
  test(`a job is told what is wrong: ${of}`, async (t) => {
    if (requirePrograms(t, ['bash', 'curl', 'jq']) === undefined) return;
    const ran = await startJob(t).run({ url: 'ws://127.0.0.1:1', ...inputs });
    assert.equal(ran.code, 1);
    assert.match(ran.stdout, says);
    assert.match(ran.stdout, /^::error::tunnel: /mu);
  });
}

test('a server that is away fails the job, with the log of the client', async (t) => {
  if (requirePrograms(t, ['bash', 'curl', 'jq']) === undefined) return;
  const inputs = { url: 'ws://127.0.0.1:1', token: TOKEN, tcp: '2222', 'wait-seconds': '1' };
  const ran = await startJob(t).run(inputs);
  assert.equal(ran.code, 1);
  assert.match(ran.stdout, /ECONNREFUSED[\s\S]*not up within 1 seconds/u);
});

interface Step {
  readonly id?: string;
  readonly run?: string;
  readonly uses?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface ImageJob {
  readonly strategy: { readonly matrix: { readonly include: readonly Record<string, string>[] } };
  readonly env: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
}

test('the action installs the version that it is of', () => {
  const { inputs } = parse(readFileSync(path.join(ACTION, 'action.yml'), 'utf8')) as Action;
  const manifest = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  const { name, version } = JSON.parse(manifest) as { name: string; version: string };
  assert.equal(inputs.package?.default, `${name}@${version}`);
});

test('both images are built as the package builds them, described and attested', () => {
  const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');
  const { jobs } = parse(read('.github/workflows/image.yml')) as { jobs: { image: ImageJob } };
  const { strategy, env, steps } = jobs.image;
  const left = /^ARG LEAVE_OUT="(.*)"$/mu.exec(read('docker/Dockerfile'))?.[1];
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  assert.match(
    scripts['image:operator'] ?? '',
    / --build-arg LEAVE_OUT= .* -t sluiceway-operator /u,
  );
  assert.doesNotMatch(scripts.image ?? '', /LEAVE_OUT/u);
  assert.deepEqual(strategy.matrix.include, [
    { suffix: '', 'leave-out': left },
    { suffix: '-operator', 'leave-out': '' },
  ]);
  const expression = (text: string): string => `$\{{ ${text} }}`;
  const suffix = expression('matrix.suffix');
  assert.equal(env.IMAGE, `ghcr.io/${expression('github.repository')}${suffix}`);
  const using = (action: string): Step['with'] =>
    steps.find(({ uses }) => uses?.startsWith(`${action}@`))?.with;
  const built = using('docker/build-push-action');
  assert.deepEqual(
    [built?.file, built?.platforms, built?.provenance, built?.sbom],
    ['docker/Dockerfile', 'linux/amd64,linux/arm64', 'mode=max', true],
  );
  assert.match(String(built?.['build-args']), /^LEAVE_OUT=\$\{\{ matrix\.leave-out \}\}$/mu);
  // Two that are built at the same time keep their layers apart.
  for (const key of ['cache-from', 'cache-to']) {
    assert.match(String(built?.[key]), /,scope=image\$\{\{ matrix\.suffix \}\}$/u);
  }
  const attested = using('actions/attest-build-provenance');
  assert.equal(attested?.['subject-name'], expression('env.IMAGE'));
  assert.equal(attested?.['subject-digest'], expression('steps.build.outputs.digest'));
});

test('the package says where it is built before it is published with provenance', async (t) => {
  const programs = requirePrograms(t, ['bash', 'npm']);
  if (programs === undefined) return;
  const release = readFileSync(path.join(ROOT, '.github/workflows/release.yml'), 'utf8');
  const { jobs } = parse(release) as { jobs: { package: Pick<ImageJob, 'steps'> } };
  const runs = jobs.package.steps.flatMap(({ run }) => run ?? []);
  const [at, publishAt] = ['npm pkg set ', 'npm publish '].map((start) =>
    runs.findIndex((run) => run.startsWith(start)),
  );
  assert.ok(at !== undefined && publishAt !== undefined && at !== -1 && at < publishAt);
  assert.match(runs[publishAt] ?? '', /--provenance/u);
  const folder = scratchFolder(t);
  const manifest = path.join(folder, 'package.json');
  writeFileSync(manifest, readFileSync(path.join(ROOT, 'package.json')));
  const set = await runProgram(t, {
    ...{ command: 'bash', args: ['-e', '-c', runs[at] ?? ''], cwd: folder },
    env: { PATH: process.env.PATH, HOME: folder, GITHUB_REPOSITORY: 'acme/sluiceway' },
  });
  assert.equal(set.code, 0, set.stderr);
  const { repository } = JSON.parse(readFileSync(manifest, 'utf8')) as { repository: unknown };
  assert.deepEqual(repository, {
    type: 'git',
    url: 'git+https://github.com/acme/sluiceway.git',
  });
});

test('actionlint and shellcheck find nothing', async (t) => {
  const programs = requirePrograms(t, ['shellcheck']);
  const actionlint = requireGoTool(t, 'actionlint');
  if (programs === undefined || actionlint === undefined) return;
  const workflows = readdirSync(path.join(ROOT, '.github/workflows'));
  const files = workflows.map((file) => `.github/workflows/${file}`);
  const linted = await runProgram(t, {
    ...{ command: actionlint, cwd: ROOT },
    args: ['-shellcheck', programs.shellcheck, ...files, 'docs/examples/github-deploy.yml'],
  });
  assert.equal(linted.code, 0, linted.stdout);
  const shell = await runProgram(t, {
    ...{ command: programs.shellcheck, args: ['--external-sources', ...SHELL_SCRIPTS], cwd: ROOT },
  });
  assert.equal(shell.code, 0, shell.stdout);
});
