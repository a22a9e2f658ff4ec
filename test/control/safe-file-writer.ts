// Stores two pairs in turn until it is killed: for the test of what a kill leaves behind.

import { systemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { CertificateFolder } from '../../src/control/certificate-folder.ts';
import { checkPair } from '../../src/control/certificate-pair.ts';
import { PAIR_90_DAYS, PAIR_150_DAYS } from '../support/test-pairs.ts';

const folder = new CertificateFolder({
  dir: process.argv[2] ?? '',
  issuer: 'https://ca.test/dir',
  clock: systemClock,
  log: createLogger({ level: 'silent', component: 'test', format: 'json' }),
});
await folder.prepare();
const pairs = [PAIR_90_DAYS, PAIR_150_DAYS].map((pair) => checkPair({ name: 'a.test', ...pair }));
for (let count = 0; ; count += 1) {
  const pair = pairs[count % 2];
  if (pair !== undefined) await folder.save(pair);
  if (count === 0) process.stdout.write('stored\n');
}
