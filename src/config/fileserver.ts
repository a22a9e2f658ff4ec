// The options of `sluiceway fileserver`, and the configuration that they make.
//
// Invariant: it listens on loopback unless it is told otherwise. Must not know: what is in the
// folder.

import { type Address, address } from './address.ts';
import { DRAIN_TIMEOUT_OPTION } from './drain.ts';
import { CONFIG_OPTION } from './file.ts';
import { LOG_OPTIONS, type LogLevel } from './log.ts';
import { type LogFormat, one, type ValuesOf } from './option.ts';
import { boolean, path } from './quantity.ts';

export const FILESERVER_OPTIONS = {
  ...CONFIG_OPTION,
  dir: one(path, { default: '.', help: 'folder to serve' }),
  addr: one(address, {
    default: '127.0.0.1:8080',
    help: 'where to listen; whoever can connect can read the folder',
  }),
  listing: one(boolean, {
    default: 'true',
    help: 'show what is in a folder that has no index.html',
  }),
  hidden: one(boolean, {
    default: 'false',
    help: 'serve files and folders whose names begin with a dot, too',
  }),
  json: one(boolean, { default: 'false', help: 'print where it listens as a line of JSON' }),
  'access-log': one(boolean, { default: 'false', help: 'log a JSON line for each request' }),
  ...DRAIN_TIMEOUT_OPTION,
  ...LOG_OPTIONS,
};

export interface FileServerConfig {
  readonly dir: string;
  readonly addr: Address;
  readonly listing: boolean;
  readonly hidden: boolean;
  readonly json: boolean;
  readonly accessLog: boolean;
  readonly drainTimeoutMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

export function buildFileServer({
  values,
}: {
  readonly values: ValuesOf<typeof FILESERVER_OPTIONS>;
}): FileServerConfig {
  return {
    dir: values.dir,
    addr: values.addr,
    listing: values.listing,
    hidden: values.hidden,
    json: values.json,
    accessLog: values['access-log'],
    drainTimeoutMs: values['drain-timeout'],
    logLevel: values['log-level'],
    logFormat: values['log-format'],
  };
}
