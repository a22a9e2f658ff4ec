// A command with nothing in it: what the first argument names happens to it. Says "ready" when it
// can take a signal.

import { once } from 'node:events';
import { SluicewayError } from '../../src/base/errors.ts';
import { type Ending, type Running, runToExit } from '../../src/cli/lifecycle.ts';

const [, , what = ''] = process.argv;
let close: (ending: Ending) => void = () => undefined;
const closed = new Promise<Ending>((resolve) => {
  close = resolve;
});

function say(...words: readonly string[]): void {
  process.stdout.write(`${words.join('\n')}\n`);
}

function afterStart(): void {
  if (what === 'refused') close({ exitCode: 3, message: 'the server refused the token' });
  if (what === 'throws' || what === 'throws-and-stops-never') throw new Error('surprise');
  if (what === 'rejects') void Promise.reject(new Error('surprise'));
  if (!['refused', 'throws', 'rejects'].includes(what)) say('ready');
}

async function start(): Promise<Running> {
  if (what === 'cannot-listen') throw new SluicewayError('SLW_LISTEN_FAILED', 'port 80 is in use');
  if (what === 'cannot-start') throw new Error('surprise');
  if (what === 'starts-slowly') {
    say('starting');
    await once(process.stdin.resume(), 'end');
  }
  // Keeps the process alive as a listener would.
  setInterval(() => undefined, 60_000);
  setImmediate(afterStart);
  return {
    closed,
    drain: () => {
      if (what === 'throws-in-drain') {
        say('drain');
        setImmediate(() => {
          throw new Error('surprise');
        });
      } else if (what === 'drains' || what === 'starts-slowly') {
        say('drain');
        close({ exitCode: 0 });
      } else say('drain', 'ready');
    },
    ...(what === 'starts-slowly' ? { reload: () => say('reload') } : {}),
    stop: () => {
      if (what.endsWith('stops-never')) return;
      say('stop');
      close({ exitCode: what === 'throws-in-drain' ? 0 : 1 });
    },
  };
}

await runToExit({ component: 'test', logLevel: 'info', logFormat: 'json', start });
