// What is offered to be served, against what an exit node has.

import assert from 'node:assert/strict';
import test from 'node:test';
import { declareProviderLogin } from '../../src/base/visitor-login.ts';
import { checkPort, type OfferRules, readOffer } from '../../src/control/tunnel-offer.ts';

const RULES: OfferRules = {
  isPortAllowed: ({ port }) => port >= 2000,
  hasHttps: true,
  hasLoginProvider: (name) => name === 'staff',
};

/** Of an HTTP tunnel whose visitors log in there. */
const withLogin = (provider: string) => ({
  name: 'a.example',
  label: 'a',
  options: [['visitor-login', [declareProviderLogin(provider, 'anyone')]]] as const,
});

test('gives the port that a name names, and the options as they are kept', () => {
  assert.deepEqual(readOffer({ name: 'tcp:2000', label: '' }, RULES).port, {
    transport: 'tcp',
    port: 2000,
  });
  const options = [['host-header', ['inner.example']]] as const;
  assert.deepEqual(readOffer({ name: 'a.example', label: '', options }, RULES), {
    port: undefined,
    options: { 'host-header': ['inner.example'] },
  });
});

test('refuses a name, an option and a passthrough that cannot be served', () => {
  const refuses = (name: string, code: string, rules = RULES) =>
    assert.throws(() => readOffer({ name, label: '' }, rules), { code });
  refuses('A.example', 'SLW_TUNNEL_NAME');
  refuses('tls:a.example', 'SLW_TUNNEL_NO_HTTPS', { ...RULES, hasHttps: false });
  assert.doesNotThrow(() => readOffer({ name: 'tls:a.example', label: '' }, RULES));
  const unknown = { name: 'a.example', label: '', options: [['guard', ['x']]] as const };
  assert.throws(() => readOffer(unknown, RULES), { code: 'SLW_TUNNEL_OPTION' });
});

test('refuses a login at a provider that the exit node does not have, and names it', () => {
  assert.doesNotThrow(() => readOffer(withLogin('staff'), RULES));
  const wrong = { code: 'SLW_TUNNEL_OPTION', message: /provider guests/ };
  assert.throws(() => readOffer(withLogin('guests'), RULES), wrong);
  const { isPortAllowed, hasHttps } = RULES;
  const none = { code: 'SLW_TUNNEL_OPTION', message: /provider staff/ };
  assert.throws(() => readOffer(withLogin('staff'), { isPortAllowed, hasHttps }), none);
});

test('a port outside the range is refused by the option that gives it', () => {
  const code = 'SLW_TUNNEL_PORT_NOT_ALLOWED';
  const refusal = { code, message: /--udp-ports: 1999/ };
  assert.throws(() => checkPort({ transport: 'udp', port: 1999 }, RULES), refusal);
  assert.doesNotThrow(() => checkPort({ transport: 'udp', port: 2000 }, RULES));
});
