// The operator's command for DNS records.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { createDnsHook } from '../../src/cli/dns-hook.ts';
import { scratchFolder } from '../support/programs.ts';

const REQUEST = {
  action: 'present',
  domain: 'a.test',
  name: '_acme-challenge.a.test',
  value: "x'; touch /tmp/never; $(id)",
} as const;

test('the command has what it needs in variables, as it is', async (t) => {
  const file = path.join(scratchFolder(t), 'out');
  const hook = createDnsHook(`printf '%s|' "$ACTION" "$DOMAIN" "$NAME" "$VALUE" > ${file}`);
  await hook(REQUEST);
  const { action, domain, name, value } = REQUEST;
  assert.equal(readFileSync(file, 'utf8'), `${[action, domain, name, value].join('|')}|`);
});

test('a failure says how the command ended, and its last words', async () => {
  const hook = createDnsHook('echo no such zone >&2; exit 3');
  await assert.rejects(hook(REQUEST), {
    message: 'the DNS hook ended with 3 at present: no such zone',
  });
});
