// When a certificate is renewed, and its name toward the issuer.

import assert from 'node:assert/strict';
import test from 'node:test';
import { ariIdOf, readWindow, renewAtMs } from '../../src/control/renewal.ts';

/** RFC 9773, appendix A. */
const EXAMPLE = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;

test('names a certificate as the example of RFC 9773', () => {
  assert.equal(ariIdOf(EXAMPLE), 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE');
});

test('reads windows, and nothing else, out of answers', () => {
  const window = { start: '2026-01-02T04:00:00Z', end: '2026-01-03T04:00:00Z' };
  const read = readWindow({ suggestedWindow: window });
  assert.equal((read?.endMs ?? 0) - (read?.startMs ?? 0), 86_400_000);
  const { start, end } = window;
  for (const wrong of [
    ...[undefined, null, 'text', 7, {}, { suggestedWindow: null }],
    ...[{ suggestedWindow: { start } }, { suggestedWindow: { start: end, end: start } }],
    { suggestedWindow: { start: 'soon', end: 'later' } },
  ]) {
    assert.equal(readWindow(wrong), undefined);
  }
});

test('renews with a third left, in a window, and never with less than a tenth', () => {
  const life = { notBeforeMs: 0, notAfterMs: 900 };
  assert.equal(renewAtMs({ ...life, window: undefined, draw: 0 }), 600);
  assert.equal(renewAtMs({ ...life, window: undefined, draw: 0.5 }), 591);
  const window = { startMs: 100, endMs: 300 };
  assert.equal(renewAtMs({ ...life, window, draw: 0.25 }), 150);
  const late = { startMs: 1000, endMs: 3000 };
  assert.equal(renewAtMs({ ...life, window: late, draw: 0.9 }), 810);
});
