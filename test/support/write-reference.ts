// Writes the pages of docs that are made from the schema: `npm run docs`.
//
// Must not know: what is on them.

import { writeFileSync } from 'node:fs';
import { renderExample, renderReference } from './reference.ts';

const DOCS = new URL('../../docs/', import.meta.url);

writeFileSync(new URL('reference.md', DOCS), renderReference());
for (const command of ['server', 'client'] as const) {
  writeFileSync(new URL(`examples/${command}.yaml`, DOCS), renderExample(command));
}
