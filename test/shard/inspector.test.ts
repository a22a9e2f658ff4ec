// Goal: only inspected tunnels are kept, so many requests and bytes of them, and another setting
// holds at once. Method: heads of one parser, begun by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from '../../src/http/body-reader.ts';
import { Forwarding } from '../../src/http/forwarding.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { Inspector } from '../../src/shard/inspector.ts';
import { FakeClock } from '../support/fake-clock.ts';

const forwarding = new Forwarding({
  ...{ address: '192.0.2.1', scheme: 'http', localAuthority: 'x' },
});
const LIFE = 'a1b2c3';
const ON = { tunnels: ['a.example'], requestsMax: 3, bodyBytesMax: 0 };

function head(target = '/', fields = ''): RequestParser {
  const parser = new RequestParser();
  const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n`);
  assert.ok(parser.push(bytes, 0) > 0);
  return parser;
}

function begin(inspector: Inspector, tunnel: string, parser = head()) {
  return inspector.begin({ tunnel, forwarding, port: 1, replayOf: '' }, parser);
}

/** A body of one span. */
function span(bytes: number, text = 'b'): BodyReader {
  const reader = new BodyReader();
  reader.begin('length', bytes, 'raw');
  reader.step(Buffer.alloc(bytes, text), 0);
  return reader;
}

test('off, and for other tunnels, nothing is kept', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  assert.equal(inspector.isOn, false);
  assert.equal(begin(inspector, 'a.example'), undefined);
  inspector.apply(ON);
  assert.equal(begin(inspector, 'b.example'), undefined);
  assert.equal(
    inspector.arrive({ socket: {} as never, forwarding }, undefined, 'a.example'),
    undefined,
  );
  assert.equal(inspector.arrive({ socket: {} as never, forwarding }, head(), undefined), undefined);
  assert.deepEqual([inspector.keptBytes, inspector.newest(undefined, 9)], [0, []]);
});

test('the oldest of a tunnel goes when there are too many; * is every tunnel', () => {
  const inspector = new Inspector(2, LIFE, new FakeClock());
  inspector.apply({ ...ON, tunnels: ['*'] });
  for (let count = 0; count < 5; count += 1) begin(inspector, 'a.example', head(`/${count}`));
  begin(inspector, 'b.example');
  const targets = inspector.newest('a.example', 9).map((trace) => trace.show().target);
  assert.deepEqual(targets, ['/4', '/3', '/2']);
  assert.deepEqual(
    inspector.newest(undefined, 2).map(({ id }) => id),
    [`2-${LIFE}-6`, `2-${LIFE}-5`],
  );
  assert.equal(inspector.traceOf(`2-${LIFE}-1`), undefined);
  assert.equal(inspector.traceOf(`2-${LIFE}-3`)?.show().target, '/2');
});

test('bytes are bounded over all tunnels, bodies that come later included', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  inspector.apply({ tunnels: ['*'], requestsMax: 1000, bodyBytesMax: 1024 * 1024 });
  const first = begin(inspector, 'a.example');
  for (let count = 0; count < 40; count += 1) {
    const trace = begin(inspector, `t${count}.example`);
    for (let times = 0; times < 4; times += 1) trace?.received(span(512 * 1024));
    assert.ok(inspector.keptBytes <= 16 * 1024 * 1024, `${inspector.keptBytes}`);
  }
  assert.ok(first !== undefined && inspector.traceOf(first.id) === undefined, 'the oldest went');
  const before = inspector.keptBytes;
  first.received(span(1024));
  assert.equal(inspector.keptBytes, before, 'what was forgotten weighs nothing');
  const kept = inspector.newest(undefined, 1000);
  assert.ok(kept.length >= 15 && kept.length <= 16, `${kept.length}`);
  const body = kept[0]?.describe().responseBody;
  assert.deepEqual([body?.bytes, body?.isWhole], [1024 * 1024, false]);
  inspector.apply({ ...ON, tunnels: [] });
  assert.deepEqual([inspector.keptBytes, inspector.newest(undefined, 9)], [0, []]);
});

test('a body that comes byte by byte is kept in one piece, and not once it is forgotten', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  inspector.apply({ ...ON, requestsMax: 1, bodyBytesMax: 4096 });
  const trace = begin(inspector, 'a.example');
  const before = inspector.keptBytes;
  for (let count = 0; count < 5000; count += 1) trace?.received(span(1));
  assert.equal(inspector.keptBytes - before, 4096);
  const body = trace?.describe().responseBody;
  assert.deepEqual([body?.text, body?.isWhole], ['b'.repeat(4096), false]);
  begin(inspector, 'a.example');
  const weightBytes = trace?.bytes;
  trace?.received(span(100));
  assert.equal(trace?.bytes, weightBytes, 'it keeps nothing any more');
  assert.equal(trace?.describe().responseBody, null);
});

test('a lower limit of bodies holds at once, also for those that are kept or under way', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  inspector.apply({ ...ON, bodyBytesMax: 4096 });
  const trace = begin(inspector, 'a.example');
  const emptyBytes = inspector.keptBytes;
  const grownBytes = (): unknown => [inspector.keptBytes - emptyBytes, trace?.bytes];
  const ownBytes = trace?.bytes ?? 0;
  trace?.sent(span(500, 'r'));
  trace?.received(span(3000, 'a'));
  assert.deepEqual(grownBytes(), [3500, ownBytes + 3500]);
  inspector.apply({ ...ON, bodyBytesMax: 1000 });
  assert.deepEqual(grownBytes(), [1500, ownBytes + 1500]);
  trace?.sent(span(400, 's'));
  trace?.received(span(3000, 'b'));
  const { requestBody, responseBody } = trace?.describe() ?? {};
  assert.deepEqual(
    [requestBody?.text, requestBody?.isWhole],
    [`${'r'.repeat(500)}${'s'.repeat(400)}`, true],
  );
  assert.deepEqual([responseBody?.text, responseBody?.isWhole], ['a'.repeat(1000), false]);
  inspector.apply(ON);
  const none = [0, ownBytes];
  assert.deepEqual(grownBytes(), none);
  trace?.received(span(100));
  // A higher one is for requests to come: of this one the beginning is gone.
  inspector.apply({ ...ON, bodyBytesMax: 4096 });
  trace?.received(span(100));
  assert.deepEqual(grownBytes(), none);
  const bodies = [trace?.describe().requestBody, trace?.describe().responseBody];
  assert.deepEqual(bodies, [null, null]);
  inspector.apply({ ...ON, tunnels: [] });
  assert.equal(inspector.keptBytes, 0);
});

test('fewer requests, or other tunnels, are forgotten at once', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  inspector.apply({ ...ON, tunnels: ['a.example', 'b.example'] });
  for (const tunnel of ['a.example', 'b.example', 'a.example', 'b.example'])
    begin(inspector, tunnel);
  inspector.apply({ ...ON, requestsMax: 1 });
  assert.deepEqual(
    inspector.newest(undefined, 9).map(({ id }) => id),
    [`0-${LIFE}-3`],
  );
});

test('what is shown is masked, what is sent again is not', () => {
  const inspector = new Inspector(0, LIFE, new FakeClock());
  inspector.apply(ON);
  const parser = head('/x?token=abc', 'Authorization: Bearer real\r\n');
  const trace = begin(inspector, 'a.example', parser);
  trace?.admitted();
  trace?.end(200, 0, 5);
  const detail = trace?.describe();
  assert.equal(detail?.target, '/x?token=•••');
  assert.doesNotMatch(JSON.stringify(detail), /real|abc/u);
  assert.match(trace?.head.toString() ?? '', /Bearer real/u);
  assert.equal(detail?.requestBody, null);
  assert.equal(detail?.replayProblem, '');
});
