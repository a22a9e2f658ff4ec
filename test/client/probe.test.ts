// Goal: a look at an upstream over TLS verifies the name that a visitor's connection would, and
// ends in time. Method: real TLS servers on loopback, with certificates for one name each.

import assert from 'node:assert/strict';
import dns, { type LookupAddress, type LookupAllOptions } from 'node:dns';
import { type TestContext, test } from 'node:test';
import type { UpstreamEntry } from '../../src/bridge/client-messages.ts';
import { type Check, probeUpstream } from '../../src/client/probe.ts';
import { leafOf, makeChain, newAuthority, serveCa } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { startTcp } from '../support/upstream.ts';

type OnAddresses = (error: Error | null, addresses: readonly LookupAddress[]) => void;

const TIMEOUT_MS = 10_000;
const LATE_MS = 500;
const CHECKS: readonly Check[] = [{ kind: 'tcp' }, { kind: 'http', path: '/.well-known/ca.crt' }];

/** An upstream by address, whose certificate is for `name`. */
async function startEntry(t: TestContext, name: string): Promise<UpstreamEntry> {
  const authority = await newAuthority();
  const port = await serveCa(t, await leafOf(authority, { names: [name] }), authority.cert);
  return {
    ...{ name: 'a', label: 'a', host: '127.0.0.1', port, tls: true, proxyProtocol: 'off' },
    ...{ ca: authority.cert, options: { 'host-header': ['api.internal'] } },
  };
}

test('an upstream by address is verified by it, whatever Host it is asked with', async (t) => {
  const right = await startEntry(t, '127.0.0.1');
  const wrong = await startEntry(t, 'api.internal');
  for (const check of CHECKS) {
    assert.equal(await probeUpstream(right, check, TIMEOUT_MS), undefined, check.kind);
    const reason = await probeUpstream(wrong, check, TIMEOUT_MS);
    assert.equal(reason, 'ERR_TLS_CERT_ALTNAME_INVALID', check.kind);
  }
});

test('a look-up that takes most of the time leaves the rest, and no more', async (t) => {
  const { lookup } = dns;
  const found = (name: string, options: LookupAllOptions, tell: OnAddresses): void => {
    if (name !== 'slow.test') lookup(name, options, tell);
    else setTimeout(() => tell(null, [{ address: '127.0.0.1', family: 4 }]), 0.8 * LATE_MS);
  };
  t.mock.method(dns, 'lookup', found as typeof lookup);
  // It takes the connection, and says nothing.
  const port = await startTcp(t, (socket) => socket.resume());
  const entry = { ...(await startEntry(t, '127.0.0.1')), host: 'slow.test', port };
  // Timers go off in their order, however late they all are.
  const tooLate = Promise.withResolvers<string>();
  setTimeout(() => tooLate.resolve('no answer in time'), 1.5 * LATE_MS);
  const answers = CHECKS.map((check) =>
    Promise.race([probeUpstream(entry, check, LATE_MS), tooLate.promise]),
  );
  const late = `no answer within ${LATE_MS} ms`;
  assert.deepEqual(await Promise.all(answers), [late, late]);
});

test('a server name that was given is the one that is verified', async (t) => {
  const entry = { ...(await startEntry(t, 'api.internal')), serverName: 'api.internal' };
  for (const check of CHECKS) {
    assert.equal(await probeUpstream(entry, check, TIMEOUT_MS), undefined, check.kind);
  }
});

test('an intermediate alone is trusted for what it signed, as for visitors', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const { leaf, issuing, sibling } = makeChain(scratchFolder(t));
  const port = await serveCa(t, leaf, issuing);
  const entry = { ...(await startEntry(t, '127.0.0.1')), port };
  for (const check of CHECKS) {
    assert.equal(await probeUpstream({ ...entry, ca: issuing }, check, TIMEOUT_MS), undefined);
    const reason = await probeUpstream({ ...entry, ca: sibling }, check, TIMEOUT_MS);
    assert.equal(reason, 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', check.kind);
  }
});
