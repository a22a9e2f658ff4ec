// Goal: what a login gives anew is what the API sees from then on. Method: an API that asks for
// certificates and notes whose it got, and a kubeconfig whose files or program the test changes.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createLogger } from '../../src/base/log.ts';
import { createRunProgram } from '../../src/cli/credential-program.ts';
import { Cluster } from '../../src/operator/cluster.ts';
import { KindWatch } from '../../src/operator/watch.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { ClientCa, type ClientPair, leafOf, newAuthority } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';

const WAIT_MS = 10_000;
/** Far above what the programs here take. */
const PROGRAM_MS = 5000;

interface Api {
  readonly server: Server;
  readonly url: string;
  readonly caFile: string;
  /** Who asked, in order. */
  readonly callers: string[];
  readonly watchers: string[];
  /** Watches that are open. */
  readonly watches: ServerResponse[];
  /** Whom it does not know. */
  readonly strangers: Set<string>;
}

/** An API without objects. */
async function startApi(t: TestContext, folder: string, clientCa: string): Promise<Api> {
  const authority = await newAuthority();
  const caFile = path.join(folder, 'server-ca.crt');
  writeFileSync(caFile, authority.cert);
  const callers: string[] = [];
  const watchers: string[] = [];
  const watches: ServerResponse[] = [];
  const strangers = new Set<string>();
  const leaf = await leafOf(authority);
  const options = { ...leaf, ca: readFileSync(clientCa), requestCert: true };
  const server = createServer(options, (request, response) => {
    const { subject } = (request.socket as TLSSocket).getPeerCertificate();
    const caller = String(subject?.CN);
    response.writeHead(strangers.has(caller) ? 401 : 200, { 'content-type': 'application/json' });
    if (request.url?.includes('watch=true') === true) {
      response.flushHeaders();
      watches.push(response);
      watchers.push(caller);
    } else {
      callers.push(caller);
      response.end(JSON.stringify({ items: [], metadata: { resourceVersion: '1' } }));
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { server, url, caFile, callers, watchers, watches, strangers };
}

function clusterWith(folder: string, api: Api, user: object, programMs = PROGRAM_MS): Cluster {
  const file = path.join(folder, 'kubeconfig');
  const cluster = { server: api.url, 'certificate-authority': api.caFile };
  const config = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  };
  writeFileSync(file, JSON.stringify(config));
  return Cluster.open(file, createRunProgram(programMs));
}

interface End {
  readonly expirationTimestamp?: string;
}

/** What a program of a kubeconfig prints; where nothing else is said, good until the next call. */
function credential(
  { cert, key }: ClientPair,
  end: End = { expirationTimestamp: '2000-01-01T00:00:00Z' },
): string {
  return JSON.stringify({
    ...{ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential' },
    status: {
      ...end,
      clientCertificateData: readFileSync(cert, 'utf8'),
      clientKeyData: readFileSync(key, 'utf8'),
    },
  });
}

/** A program that says `old`, and once it is renewed something else. */
async function renewable(t: TestContext, end?: End) {
  const folder = scratchFolder(t);
  const ca = new ClientCa(folder);
  const [old, renewed] = [ca.issue('old', '/CN=old'), ca.issue('renewed', '/CN=renewed')];
  const api = await startApi(t, folder, ca.ca);
  const file = path.join(folder, 'credential');
  writeFileSync(file, credential(old, end));
  const apiVersion = 'client.authentication.k8s.io/v1';
  const exec = { apiVersion, command: 'cat', args: [file], interactiveMode: 'Never' };
  const cluster = clusterWith(folder, api, { exec });
  return { api, cluster, renew: () => writeFileSync(file, credential(renewed, end)) };
}

test('a client certificate that a program gives anew is shown from then on', async (t) => {
  const { api, cluster, renew } = await renewable(t);
  await cluster.list('Tunnel', {});
  await cluster.list('Tunnel', {});
  renew();
  await cluster.list('Tunnel', {});
  assert.deepEqual(api.callers, ['old', 'old', 'renewed']);
});

test('a credential without an end is given anew when the API knows it no more', async (t) => {
  const { api, cluster, renew } = await renewable(t, {});
  await cluster.list('Tunnel', {});
  renew();
  await cluster.list('Tunnel', {});
  api.strangers.add('old');
  await assert.rejects(cluster.list('Tunnel', {}), { answered: 401 });
  await cluster.list('Tunnel', {});
  assert.deepEqual(api.callers, ['old', 'old', 'old', 'renewed']);
});

test('a program is told of the cluster where the kubeconfig wants that', async (t) => {
  const folder = scratchFolder(t);
  const ca = new ClientCa(folder);
  const api = await startApi(t, folder, ca.ca);
  const [file, told] = [path.join(folder, 'credential'), path.join(folder, 'told')];
  writeFileSync(file, credential(ca.issue('asked', '/CN=asked')));
  const apiVersion = 'client.authentication.k8s.io/v1';
  const exec = {
    ...{ apiVersion, interactiveMode: 'Never', provideClusterInfo: true, command: 'sh' },
    args: ['-c', `printf %s "$KUBERNETES_EXEC_INFO" > '${told}'; cat '${file}'`],
  };
  await clusterWith(folder, api, { exec }).list('Tunnel', {});
  assert.deepEqual(api.callers, ['asked']);
  const authority = readFileSync(api.caFile).toString('base64');
  assert.deepEqual(JSON.parse(readFileSync(told, 'utf8')), {
    ...{ kind: 'ExecCredential', apiVersion },
    spec: {
      cluster: { server: api.url, 'certificate-authority-data': authority },
      interactive: false,
    },
  });
});

test('a program that does not end ends calls and watches, which name it', async (t) => {
  const folder = scratchFolder(t);
  const api = await startApi(t, folder, new ClientCa(folder).ca);
  const apiVersion = 'client.authentication.k8s.io/v1';
  const exec = { apiVersion, command: 'sleep', args: ['600'], interactiveMode: 'Never' };
  const cluster = clusterWith(folder, api, { exec }, 200);
  const late = /^the credential program 'sleep' of the kubeconfig did not end within 0\.2 s/u;
  const asking = cluster.list('Tunnel', {});
  await assert.rejects(within(WAIT_MS, 'an end', asking), {
    code: 'SLW_KUBE_UNREACHABLE',
    message: late,
  });
  const lines = new LogLines('operator');
  const watch = new KindWatch({
    ...{ kind: 'Tunnel', scope: {}, clock: new FakeClock(), random: () => 1, cluster },
    ...{ log: lines.log, onChange: () => {}, onSynced: () => {}, onBroken: () => {} },
  });
  undoAfter(t, () => watch.stop());
  watch.start();
  await lines.line('watch broke, trying again', { err: late });
});

test('a client certificate whose files change is shown by calls and watches', async (t) => {
  const folder = scratchFolder(t);
  const ca = new ClientCa(folder);
  const pair = ca.issue('pair', '/CN=old');
  const renewed = ca.issue('renewed', '/CN=renewed');
  const api = await startApi(t, folder, ca.ca);
  const cluster = clusterWith(folder, api, {
    ...{ 'client-certificate': pair.cert, 'client-key': pair.key },
  });
  const watch = new KindWatch({
    ...{ kind: 'Tunnel', scope: {}, clock: new FakeClock(), random: () => 1, cluster },
    log: createLogger({ level: 'silent', component: 'test', format: 'json' }),
    ...{ onChange: () => {}, onSynced: () => {}, onBroken: () => {} },
  });
  undoAfter(t, () => watch.stop());
  watch.start();
  await eventually(WAIT_MS, 'a watch', async () => assert.equal(api.watches.length, 1));
  copyFileSync(renewed.cert, pair.cert);
  copyFileSync(renewed.key, pair.key);
  api.watches[0]?.end();
  await eventually(WAIT_MS, 'another', async () => assert.equal(api.watches.length, 2));
  await cluster.list('Tunnel', {});
  assert.deepEqual(api.watchers, ['old', 'renewed']);
  assert.deepEqual(api.callers, ['old', 'renewed']);
});

test('an authority whose file changes is believed from then on, and the old one no more', async (t) => {
  const folder = scratchFolder(t);
  const ca = new ClientCa(folder);
  const pair = ca.issue('pair', '/CN=pair');
  const api = await startApi(t, folder, ca.ca);
  const cluster = clusterWith(folder, api, {
    ...{ 'client-certificate': pair.cert, 'client-key': pair.key },
  });
  await cluster.list('Tunnel', {});
  const authority = await newAuthority();
  api.server.setSecureContext({ ...(await leafOf(authority)), ca: readFileSync(ca.ca) });
  await assert.rejects(cluster.list('Tunnel', {}), { code: 'SLW_KUBE_UNREACHABLE' });
  writeFileSync(api.caFile, authority.cert);
  await cluster.list('Tunnel', {});
});
