// A log that says nothing, for what demands one.
//
// Must not know: what is logged.

import { createLogger } from '../../src/base/log.ts';

export const SILENT_LOG = createLogger({ level: 'silent', format: 'json', component: 'test' });
