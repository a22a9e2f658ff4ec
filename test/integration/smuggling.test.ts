// Goal: no request reaches an upstream that the exit node did not count, whatever bytes a visitor
// sends. Method: every vector of test/fixtures/smuggling.ts through a real tunnel to upstreams that
// read HTTP in their own ways, between two ordinary requests on the same connection, pipelined and
// one after the other. Each upstream then tells every target it saw.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fill, REQUEST_VECTORS, type RequestVector } from '../fixtures/smuggling.ts';
import { eventually } from '../support/deadline.ts';
import { RECORDERS, type Recorder } from '../support/http-recorders.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { skipOrFail } from '../support/programs.ts';
import { type RawAnswer, RawVisitor } from '../support/raw-visitor.ts';

const MODES = ['pipelined', 'in turn'] as const;
type Mode = (typeof MODES)[number];
/** Connections at the same time. */
const VISITORS = 16;
const VECTORS_LEAST = 90;

interface Case {
  readonly vector: RequestVector;
  readonly host: string;
  readonly nonce: string;
  readonly mode: Mode;
}

interface Outcome extends Case {
  readonly text: string;
  readonly answers: readonly RawAnswer[];
  readonly ending: 'fin' | 'cut';
}

function ordinary(name: string, { host, nonce }: Case): string {
  return `GET /${name}-${nonce} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
}

async function pipelined(visitor: RawVisitor, one: Case, bytes: Buffer): Promise<void> {
  const before = Buffer.from(ordinary('before', one));
  visitor.send(Buffer.concat([before, bytes, Buffer.from(ordinary('after', one))]));
  visitor.end();
  await visitor.ended();
}

async function inTurn(visitor: RawVisitor, one: Case, bytes: Buffer): Promise<void> {
  visitor.send(Buffer.from(ordinary('before', one)));
  await visitor.answersCount(1);
  visitor.send(bytes);
  const { outcome, seen, keepsOpen } = one.vector;
  if (outcome === 'unfinished') visitor.end();
  if (outcome === 'passed' && keepsOpen) {
    await visitor.answersCount(1 + seen.length);
    visitor.send(Buffer.from(ordinary('after', one)));
    visitor.end();
  }
  await visitor.ended();
}

async function run(port: number, one: Case): Promise<Outcome> {
  const visitor = await RawVisitor.connect(port);
  const { bytes } = fill(one.vector, one.host, one.nonce);
  try {
    await (one.mode === 'pipelined' ? pipelined : inTurn)(visitor, one, bytes);
  } catch (error) {
    const so = JSON.stringify(visitor.text.slice(0, 400));
    throw new Error(`${one.vector.name}, ${one.mode}: so far ${so}`, { cause: error });
  } finally {
    visitor.destroy();
  }
  return { ...one, text: visitor.text, answers: visitor.answers(), ending: visitor.ending };
}

async function runAll(port: number, host: string): Promise<Outcome[]> {
  const cases = REQUEST_VECTORS.flatMap((vector, index) =>
    MODES.map((mode, at): Case => ({ vector, host, nonce: `${index}x${at}x`, mode })),
  );
  const outcomes: Outcome[] = [];
  const next = cases.values();
  const visit = async (): Promise<void> => {
    for (const one of next) outcomes.push(await run(port, one));
  };
  await Promise.all(Array.from({ length: VISITORS }, visit));
  return outcomes;
}

/** What upstreams may have seen for a vector: the first so many must, the others may. */
function expectedTargets({ vector, host, nonce }: Case): { must: string[]; may: string[] } {
  const { seen } = fill(vector, host, nonce);
  const before = `/before-${nonce}`;
  if (vector.outcome === 'refused') return { must: [before], may: [] };
  if (vector.outcome !== 'passed') return { must: [before], may: [...seen] };
  const after = vector.keepsOpen ? [`/after-${nonce}`] : [];
  return { must: [before, ...seen, ...after], may: [] };
}

function checkVisitor(outcome: Outcome): void {
  const { vector, answers, text, ending, nonce } = outcome;
  assert.ok(!text.includes('smuggled'), 'the visitor got an answer to what was smuggled');
  const last = answers.at(-1);
  if (vector.outcome === 'passed') {
    const { must } = expectedTargets(outcome);
    assert.deepEqual(
      answers.map(({ target }) => target),
      must,
    );
    return;
  }
  assert.ok(!text.includes(`/after-${nonce}`), 'the connection went on');
  if (vector.outcome === 'refused') {
    assert.deepEqual(
      answers.map(({ target }) => target),
      [`/before-${nonce}`, undefined],
    );
    assert.ok(last !== undefined && last.status >= 400 && last.status !== 502, `${last?.status}`);
    assert.match(last.body, /^<!doctype html><title>[45]\d\d /u, 'refused by somebody else');
    assert.equal(ending, 'fin');
  } else if (ending === 'fin' && last?.target === undefined) {
    assert.equal(last?.status, 400);
  }
}

function checkUpstream(outcomes: readonly Outcome[], seen: readonly string[]): void {
  const strays = seen.filter((target) => /smuggled|^fault/u.test(target));
  assert.deepEqual(strays, [], 'reached the upstream');
  const left = new Set(seen);
  for (const outcome of outcomes) {
    const { must, may } = expectedTargets(outcome);
    for (const target of must) {
      assert.ok(left.delete(target), `${outcome.vector.name}: ${target} was not seen`);
    }
    for (const target of may) left.delete(target);
  }
  assert.deepEqual([...left], [], 'seen, and sent by nobody');
  assert.equal(seen.length, new Set(seen).size, 'seen twice');
}

/** Requests that the exit node counted for a tunnel. */
async function countedFor(node: LocalNode, host: string): Promise<number> {
  const { body } = await node.ask('/metrics');
  const rows = body.matchAll(/^http_dataplane_requests_total\{(.*)\} (\d+)$/gmu);
  return [...rows]
    .filter(([, labels]) => labels?.includes(`host="${host}"`))
    .reduce((sum, [, , count]) => sum + Number(count), 0);
}

test('no upstream sees a request that was not counted, and no visitor a stray answer', async (t) => {
  assert.ok(REQUEST_VECTORS.length >= VECTORS_LEAST, `${REQUEST_VECTORS.length} vectors`);
  assert.equal(new Set(REQUEST_VECTORS.map(({ name }) => name)).size, REQUEST_VECTORS.length);
  const recorders = new Map<string, Recorder | string>();
  for (const [name, start] of Object.entries(RECORDERS)) recorders.set(name, await start(t));
  const upstream = [...recorders].flatMap(([name, recorder]) =>
    typeof recorder === 'string' ? [] : [`${name}.example=http://127.0.0.1:${recorder.port}`],
  );
  const node = await startNode(t);
  await startLocalClient(t, node, { flags: { upstream } });
  t.diagnostic(`${REQUEST_VECTORS.length} vectors, ${MODES.length} ways each`);
  for (const [name, recorder] of recorders) {
    await t.test(name, async (t) => {
      if (typeof recorder === 'string') return skipOrFail(t, recorder);
      const host = `${name}.example`;
      const outcomes = await runAll(node.httpPort, host);
      for (const outcome of outcomes) {
        try {
          checkVisitor(outcome);
        } catch (error) {
          const got = JSON.stringify(outcome.text.slice(0, 600));
          const what = `${outcome.vector.name}, ${outcome.mode}: ${String(error)}`;
          throw new Error(`${what}; ended by ${outcome.ending}, got ${got}`, { cause: error });
        }
      }
      const seen = await recorder.seen();
      checkUpstream(outcomes, seen);
      const expected = outcomes.flatMap((one) => Object.values(expectedTargets(one)).flat());
      // Whoever leaves amid a request is counted too, once the exit node has seen it.
      await eventually(5000, 'every request is counted', async () => {
        assert.equal(await countedFor(node, host), expected.length);
      });
    });
  }
});
