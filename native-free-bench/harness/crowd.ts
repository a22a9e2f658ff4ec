// A crowd of clients in one process: each dials by the client's own rules and holds the client's
// own link, but none has a thread of its own: five hundred of them would be the load themselves.
//
// Arguments: the URL of the exit node, the token, the port of the origin, how many. Tells its
// parent of each that comes up and goes down, with the time.
// Must not know: when or why links are lost.

import { randomBytes } from 'node:crypto';
import { MessageChannel } from 'node:worker_threads';
import { systemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { Bridge } from '../../src/bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LinkDial,
} from '../../src/bridge/client-messages.ts';
import { ServerLinks } from '../../src/client/server-links.ts';
import { readUpstreams } from '../../src/client/upstream-entries.ts';
import { type ClientConfig, resolveConfig } from '../../src/config/config.ts';
import { runClientShard } from '../../src/shard/client-shard.ts';
import { type CrowdEvent, crowdHost } from './crowd-event.ts';

const log = createLogger({ level: 'silent', format: 'json', component: 'crowd' });

function configOf(url: string, token: string, upstream: string): ClientConfig {
  return resolveConfig({
    command: 'client',
    flags: { url: [url], token, upstream: [upstream], 'log-level': 'silent', 'status-dir': 'off' },
    env: {},
    defaults: { cores: 1, logFormat: 'json' },
    readFile: () => '',
  });
}

async function startOne(client: number, config: ClientConfig, token: string): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  const tell = (isUp: boolean): void => {
    const event: CrowdEvent = { client, isUp, atMs: performance.timeOrigin + performance.now() };
    process.send?.(event);
  };
  const serve = {
    welcomed: (welcome: ClientControlMethods['welcomed']['takes']) => links.onWelcome(welcome),
    registered: ({ results }: ClientControlMethods['registered']['takes']) =>
      tell(results.every(({ code }) => code === '')),
    goAway: ({ link, code }: ClientControlMethods['goAway']['takes']) => links.onGoAway(link, code),
    ended: ({ link, code, detail }: ClientControlMethods['ended']['takes']) => {
      tell(false);
      links.onEnd(link, code, detail);
    },
    lastSample: () => {},
  };
  const bridge = new Bridge<ClientControlMethods, ClientShardMethods>(port1, serve, (error) => {
    throw error;
  });
  const { tuning, logLevel, logFormat } = config;
  void runClientShard({
    ...{ role: 'client', shard: 0, tls: undefined, fault: undefined },
    port: port2,
    settings: { ...tuning, agent: 'sluiceway/crowd', logLevel, logFormat },
  });
  await bridge.call('upstreams', await readUpstreams(config, log));
  let count = 0;
  const id = randomBytes(16).toString('hex');
  const links: ServerLinks = new ServerLinks({
    ...{
      url: config.urls[0] ?? '',
      ownShards: 1,
      links: 1,
      clock: systemClock,
      log,
      random: Math.random,
    },
    dial: (server) => {
      count += 1;
      const dial: LinkDial = {
        ...{ link: `link-${count}`, server: 0, url: server.url, token, ca: undefined },
        ...{ client: id, instance: id, mask: 'auto' },
      };
      bridge.tell('dial', dial);
      return dial.link;
    },
    keep: (link) => bridge.tell('keep', { link }),
    close: (link, code) => bridge.tell('close', { link, code }),
    onFailure: () => undefined,
  });
  links.fill();
}

const [url = '', token = '', origin = '', clients = '0'] = process.argv.slice(2);
process.setMaxListeners(0);
process.on('disconnect', () => process.exit(0));
for (let client = 0; client < Number(clients); client += 1) {
  const upstream = `${crowdHost(client)}=http://127.0.0.1:${origin}`;
  await startOne(client, configOf(url, token, upstream), token);
}
