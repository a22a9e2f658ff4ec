// Goal: a watch goes on whatever ends it. Method: an API of a few lines, whose watches the test
// ends, and a login that is a program, as in the kubeconfig of a cloud.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../src/base/log.ts';
import { createRunProgram } from '../../src/cli/credential-program.ts';
import { Cluster } from '../../src/operator/cluster.ts';
import { KindWatch } from '../../src/operator/watch.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';

const WAIT_MS = 10_000;
const RETRY_MAX_MS = 15_000;

/** What came, in order: each is waited for once. */
class Arrivals<T> {
  readonly #here: T[] = [];
  #waiting: ((one: T) => void) | undefined;

  add(one: T): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#here.push(one);
    else waiting(one);
  }

  async next(what: string): Promise<T> {
    const [first] = this.#here.splice(0, 1);
    if (first !== undefined) return first;
    const { promise, resolve } = Promise.withResolvers<T>();
    this.#waiting = resolve;
    return await within(WAIT_MS, what, promise);
  }
}

/** An API without objects; its watches stay open. */
async function startApi(t: TestContext) {
  const watches = new Arrivals<ServerResponse>();
  const authority = await newAuthority();
  const leaf = await leafOf(authority, { names: ['127.0.0.1'] });
  const server = createServer({ cert: leaf.cert, key: leaf.key }, (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    if (request.url?.includes('watch=true') === true) {
      response.flushHeaders();
      watches.add(response);
    } else {
      response.end(JSON.stringify({ items: [], metadata: { resourceVersion: '1' } }));
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, ca: Buffer.from(authority.cert).toString('base64'), watches };
}

/** A program that logs in anew each time, and fails while the file is there. */
function kubeconfig(folder: string, failing: string, api: { url: string; ca: string }): string {
  const status = { token: 'token', expirationTimestamp: '2000-01-01T00:00:00Z' };
  const kind = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential' };
  const script = `test ! -e ${failing} && echo '${JSON.stringify({ ...kind, status })}'`;
  const exec = { apiVersion: kind.apiVersion, command: '/bin/sh', args: ['-c', script] };
  const file = path.join(folder, 'kubeconfig');
  const config = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
    clusters: [
      { name: 'test', cluster: { server: api.url, 'certificate-authority-data': api.ca } },
    ],
    users: [{ name: 'test', user: { exec: { ...exec, interactiveMode: 'Never' } } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

test('a login that fails when a watch is taken up again is tried again later', async (t) => {
  const folder = scratchFolder(t);
  const failing = path.join(folder, 'failing');
  const api = await startApi(t);
  const clock = new FakeClock();
  const told = new Arrivals<'synced' | 'broken'>();
  const watch = new KindWatch({
    ...{ kind: 'Tunnel', scope: {}, clock, random: () => 1 },
    cluster: Cluster.open(kubeconfig(folder, failing, api), createRunProgram()),
    log: createLogger({ level: 'silent', component: 'test', format: 'json' }),
    onChange: () => {},
    onSynced: () => told.add('synced'),
    onBroken: () => told.add('broken'),
  });
  undoAfter(t, () => watch.stop());
  watch.start();
  const first = await api.watches.next('a watch');
  assert.equal(await told.next('it is synced'), 'synced');
  writeFileSync(failing, '');
  first.end();
  assert.equal(await told.next('it is broken'), 'broken');
  rmSync(failing);
  clock.advance(RETRY_MAX_MS);
  await api.watches.next('another watch');
});
