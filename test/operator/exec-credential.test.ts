// Goal: a program is asked once for all who wait, again when its credential has ended or the API
// refuses it, and named when it fails. Method: a clock moved by hand, and programs that the test
// ends.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExecCredential, readProgram } from '../../src/operator/exec-credential.ts';
import { FakeClock } from '../support/fake-clock.ts';

const PROGRAM = { command: 'aws', args: ['eks', 'get-token'], env: { AWS_PROFILE: 'edge' } };

function start() {
  const clock = new FakeClock();
  const runs: PromiseWithResolvers<string>[] = [];
  const run = (program: typeof PROGRAM | object): Promise<string> => {
    assert.equal(program, PROGRAM);
    const one = Promise.withResolvers<string>();
    runs.push(one);
    return one.promise;
  };
  return { clock, runs, credential: new ExecCredential(PROGRAM, run, clock) };
}

async function authorizationOf(credential: ExecCredential): Promise<unknown> {
  const options: { headers?: unknown } = { headers: { accept: 'text/plain' } };
  await credential.present(options);
  return options.headers;
}

const said = (token: string, end?: string): string =>
  JSON.stringify({ status: { token, expirationTimestamp: end } });

test('a program runs once for all who ask, and again when its credential has ended', async () => {
  const { clock, runs, credential } = start();
  const [one, other] = [authorizationOf(credential), authorizationOf(credential)];
  const end = new Date(clock.wallMs() + 60_000).toISOString();
  runs[0]?.resolve(said('first', end));
  const first = { accept: 'text/plain', Authorization: 'Bearer first' };
  assert.deepEqual([await one, await other], [first, first]);
  clock.advance(59_999);
  assert.deepEqual(await authorizationOf(credential), first);
  assert.equal(runs.length, 1);
  clock.advance(1);
  const next = authorizationOf(credential);
  assert.equal(runs.length, 2);
  runs[1]?.resolve(said('second'));
  assert.deepEqual(await next, { ...first, Authorization: 'Bearer second' });
});

const pem = (name: string): string =>
  JSON.stringify({ status: { clientCertificateData: name, clientKeyData: 'key' } });

for (const [what, first, second] of [
  ['a token', said('first'), said('second')],
  ['a certificate', pem('first'), pem('second')],
] as const) {
  test(`${what} without an end is asked for anew once the API refuses it, and once`, async () => {
    const { runs, credential } = start();
    const [early, late]: { cert?: unknown; headers?: unknown }[] = [{}, {}];
    assert.ok(early !== undefined && late !== undefined);
    const asking = credential.present(early);
    runs[0]?.resolve(first);
    await asking;
    credential.refuse(early);
    const again = credential.present(late);
    assert.equal(runs.length, 2);
    runs[1]?.resolve(second);
    await again;
    assert.notDeepEqual(late, early);
    // Of another call, which was on its way meanwhile.
    credential.refuse(early);
    await credential.present({});
    assert.equal(runs.length, 2);
  });
}

test('a failure names the program, and the next who asks has it run anew', async () => {
  const { runs, credential } = start();
  const failures: readonly (readonly [(run: PromiseWithResolvers<string>) => void, string])[] = [
    [(run) => run.reject(new Error('did not end within 60 s')), 'did not end within 60 s'],
    [(run) => run.resolve('no JSON, and a secret'), 'printed no ExecCredential with a status'],
    [(run) => run.resolve('null'), 'printed no ExecCredential with a status'],
    [(run) => run.resolve('{"kind":"ExecCredential"}'), 'printed no ExecCredential with a status'],
  ];
  for (const [end, why] of failures) {
    const asking = credential.present({});
    end(runs.at(-1) ?? assert.fail('it was not run'));
    await assert.rejects(asking, {
      code: 'SLW_KUBE_UNREACHABLE',
      message: `the credential program 'aws' of the kubeconfig ${why}`,
    });
  }
  assert.equal(runs.length, failures.length);
});

test('a program is read as kubeconfigs have it, and told what is asked of it', () => {
  const env = [{ name: 'AWS_PROFILE', value: 'edge' }];
  const noCluster = (): object => assert.fail('the cluster is not asked for');
  const info = (apiVersion: string, spec: object): string =>
    JSON.stringify({ kind: 'ExecCredential', apiVersion, spec });
  const apiVersion = 'client.authentication.k8s.io/v1beta1';
  const asked = info(apiVersion, { interactive: false });
  assert.deepEqual(
    readProgram({ ...PROGRAM, apiVersion, env, interactiveMode: 'Never' }, noCluster),
    {
      ...PROGRAM,
      env: { AWS_PROFILE: 'edge', KUBERNETES_EXEC_INFO: asked },
    },
  );
  const cluster = { server: 'https://192.0.2.1:6443' };
  const whole = { command: 'a', apiVersion, env: null, provideClusterInfo: true };
  assert.deepEqual(
    readProgram(whole, () => cluster),
    {
      ...{ command: 'a', args: [] },
      env: { KUBERNETES_EXEC_INFO: info(apiVersion, { cluster, interactive: false }) },
    },
  );
  assert.equal(readProgram(undefined, noCluster), undefined);
});
