// Goal: a client that offers its tunnels again, as it does while one of them is refused, is told
// each time, but the log of the exit node once, and who orders certificates. Method: a client of
// the test's own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { systemClock } from '../../src/base/clock.ts';
import { CertificateFolder } from '../../src/control/certificate-folder.ts';
import { checkPair } from '../../src/control/certificate-pair.ts';
import { FRAME } from '../../src/wire/frame.ts';
import {
  decodeRegistered,
  encodeHello,
  encodeRegister,
  encodeUnregister,
  type Registered,
  type TunnelOffer,
} from '../../src/wire/hello.ts';
import { bodyFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK, TOKEN } from '../support/configs.ts';
import { readBodies } from '../support/control-bodies.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startNode } from '../support/local-tunnel.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_B } from '../support/test-pairs.ts';

const WAIT_MS = 10_000;
const LIMITS = { frame: 262_144, streams: 100, credit: 65_536 };

interface HandLink {
  /** Gives the code of the answer. */
  readonly offer: (name: string, options?: TunnelOffer['options']) => Promise<string | undefined>;
  readonly withdraw: (name: string) => void;
}

async function link(t: TestContext, node: LocalNode, client: string): Promise<HandLink> {
  const socket = new WebSocket(`ws://${LOOPBACK}:${node.controlPort}/connect`, 'sluiceway.1', {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  undoAfter(t, () => socket.terminate());
  await once(socket, 'open');
  const welcomed = Promise.withResolvers<void>();
  let answered = Promise.withResolvers<Registered>();
  readBodies(socket, (type, body) => {
    if (type === FRAME.WELCOME) welcomed.resolve();
    else if (type === FRAME.REGISTERED) answered.resolve(decodeRegistered(body));
  });
  const hello = { versions: [1], features: [], client, instance: 'i', agent: 'test/1' };
  socket.send(bodyFrame(FRAME.HELLO, 0, encodeHello({ ...hello, limits: LIMITS })));
  await within(WAIT_MS, 'the welcome', welcomed.promise);
  const withdraw = (name: string): void =>
    socket.send(bodyFrame(FRAME.UNREGISTER, 0, encodeUnregister({ names: [name] })));
  const offer: HandLink['offer'] = async (name, options = []) => {
    answered = Promise.withResolvers();
    const tunnels = [{ name, label: name, options }];
    socket.send(bodyFrame(FRAME.REGISTER, 0, encodeRegister({ call: 1, tunnels })));
    const { results } = await within(WAIT_MS, 'the answer', answered.promise);
    return results[0]?.code;
  };
  return { offer, withdraw };
}

test('a refusal is told at each offer, and logged once until it is another', async (t) => {
  const squatter = net.createServer();
  squatter.listen(0, LOOPBACK);
  undoAfter(t, () => void squatter.close());
  await once(squatter, 'listening');
  const name = `tcp:${(squatter.address() as net.AddressInfo).port}`;
  const node = await startNode(t, { complains: true });
  const logged = () => node.log.all('tunnel refused').map(({ client, code }) => [client, code]);
  const links = [await link(t, node, 'c'), await link(t, node, 'c')];
  const offerAll = async (code: string, options: TunnelOffer['options'] = []): Promise<void> => {
    for (const { offer } of [...links, ...links]) assert.equal(await offer(name, options), code);
  };
  const unknown: TunnelOffer['options'] = [['no-such-option', ['yes']]];
  const [taken, option] = ['SLW_TUNNEL_PORT_TAKEN', 'SLW_TUNNEL_OPTION'] as const;
  await offerAll(taken);
  const lines = [['c', taken]];
  assert.deepEqual(logged(), lines);
  await offerAll(option, unknown);
  lines.push(['c', option]);
  assert.deepEqual(logged(), lines, 'another code');
  const other = await link(t, node, 'd');
  assert.equal(await other.offer(name), taken);
  lines.push(['d', taken]);
  assert.deepEqual(logged(), lines, 'another client');
  squatter.close();
  await once(squatter, 'close');
  await offerAll('');
  assert.deepEqual(logged(), lines);
  await offerAll(option, unknown);
  lines.push(['c', option]);
  assert.deepEqual(logged(), lines, 'it was up meanwhile');
});

test('a host that is offered again beside one that is refused is visited once', async (t) => {
  const dir = scratchFolder(t);
  const issuer = `https://localhost:${await freePort()}/dir`;
  const log = new LogLines('test').log;
  const folder = new CertificateFolder({ dir, issuer, clock: systemClock, log });
  await folder.prepare();
  // Four orders already: visits end with a warning, and a wait of most of an hour.
  const nowMs = systemClock.wallMs();
  for (const name of ['a.test', 'c.test']) await folder.noteOrder(name, [nowMs, nowMs, nowMs]);
  await folder.save(checkPair({ name: 'b.test', ...PAIR_B }));
  const node = await startNode(t, {
    complains: true,
    flags: {
      ...{ 'https-addr': `${LOOPBACK}:0`, 'letsencrypt-on-demand': ['a.test', 'b.test', 'c.test'] },
      ...{ 'letsencrypt-issuer': issuer, 'letsencrypt-dir': dir },
    },
  });
  const { offer } = await link(t, node, 'c');
  assert.equal(await offer('a.test'), '');
  assert.equal(await offer('c.test'), '');
  // Visits follow each other: that of a.test is over.
  await node.log.line('too many orders in an hour, waiting', { name: 'c.test' });
  // Whoever reads it says so.
  writeFileSync(path.join(folder.path, 'a.test.pem'), 'garbage');
  assert.equal(await offer('a.test'), '');
  assert.equal(await offer('b.test'), '');
  await node.log.line('certificate in use', { name: 'b.test' });
  assert.equal(node.log.complaints().length, 2);
});

test('a tunnel that is offered again beside one that is refused comes up once a link', async (t) => {
  const node = await startNode(t);
  const name = 'site.example.com';
  const logged = () => node.log.all('tunnel up').length;
  const links = [await link(t, node, 'c'), await link(t, node, 'c')];
  for (const { offer } of [...links, ...links]) assert.equal(await offer(name), '');
  assert.equal(logged(), links.length);
  for (const { offer, withdraw } of links) {
    withdraw(name);
    assert.equal(await offer(name), '');
  }
  assert.equal(logged(), 2 * links.length, 'it was away');
});
