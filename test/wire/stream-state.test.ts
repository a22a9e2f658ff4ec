// The whole table of stream states, written out a second time, and what follows from it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  canReceive,
  canSend,
  EVENT,
  hasSentFin,
  REFUSED,
  STREAM,
  type StreamEvent,
  type StreamState,
  transition,
} from '../../src/wire/stream-state.ts';

const STATES = Object.values(STREAM);
const EVENTS = Object.values(EVENT);

/** Every move that is allowed; all other pairs are refused. */
const MOVES: readonly (readonly [keyof typeof STREAM, keyof typeof EVENT, keyof typeof STREAM])[] =
  [
    ['OPENING', 'GET_OPENED', 'OPEN'],
    ['OPENING', 'SEND_FIN', 'OPENING_SENT_FIN'],
    ['OPENING_SENT_FIN', 'GET_OPENED', 'SENT_FIN'],
    ['ACCEPTING', 'SEND_OPENED', 'OPEN'],
    ['ACCEPTING', 'GET_FIN', 'ACCEPTING_GOT_FIN'],
    ['ACCEPTING_GOT_FIN', 'SEND_OPENED', 'GOT_FIN'],
    ['OPEN', 'SEND_FIN', 'SENT_FIN'],
    ['OPEN', 'GET_FIN', 'GOT_FIN'],
    ['SENT_FIN', 'GET_FIN', 'ENDED'],
    ['GOT_FIN', 'SEND_FIN', 'ENDED'],
  ];

function expected(state: StreamState, event: StreamEvent): StreamState | typeof REFUSED {
  if (event === EVENT.RESET) return STREAM.ENDED;
  const move = MOVES.find(([from, by]) => STREAM[from] === state && EVENT[by] === event);
  return move === undefined ? REFUSED : STREAM[move[2]];
}

test('every pair of state and event moves as the table says, or is refused', () => {
  for (const state of STATES) {
    for (const event of EVENTS) {
      assert.equal(transition(state, event), expected(state, event), `${state} by ${event}`);
    }
  }
});

test('states and events have numbers of their own', () => {
  assert.deepEqual([...STATES], [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual([...EVENTS], [0, 1, 2, 3, 4]);
});

test('an end is final, and a reset ends every state', () => {
  for (const event of EVENTS) {
    const next = transition(STREAM.ENDED, event);
    assert.ok(next === REFUSED || next === STREAM.ENDED);
  }
  for (const state of STATES) assert.equal(transition(state, EVENT.RESET), STREAM.ENDED);
});

test('whoever may send may also send FIN, and loses both by it', () => {
  for (const state of STATES) {
    const next = transition(state, EVENT.SEND_FIN);
    assert.equal(canSend(state), next !== REFUSED, `state ${state}`);
    if (next === REFUSED) continue;
    assert.equal(canSend(next), false);
    assert.equal(hasSentFin(next), true);
  }
});

test('where DATA may come FIN may come, and then neither', () => {
  for (const state of STATES) {
    const next = transition(state, EVENT.GET_FIN);
    assert.equal(canReceive(state), next !== REFUSED, `state ${state}`);
    if (next !== REFUSED) assert.equal(canReceive(next), false);
  }
});

test('an unanswered acceptor sends nothing, an unanswered opener gets nothing', () => {
  for (const state of [STREAM.ACCEPTING, STREAM.ACCEPTING_GOT_FIN]) {
    assert.equal(canSend(state), false);
  }
  for (const state of [STREAM.OPENING, STREAM.OPENING_SENT_FIN]) {
    assert.equal(canReceive(state), false);
  }
});

test('a stream ends cleanly only after both FINs', () => {
  // Every walk without a reset, by breadth: how many FINs each state has behind it.
  const fins = new Map<number, number>([
    [STREAM.OPENING, 0],
    [STREAM.ACCEPTING, 0],
  ]);
  const waiting: StreamState[] = [STREAM.OPENING, STREAM.ACCEPTING];
  for (let state = waiting.shift(); state !== undefined; state = waiting.shift()) {
    for (const event of EVENTS) {
      const next = transition(state, event);
      if (next === REFUSED || event === EVENT.RESET) continue;
      const isFin = event === EVENT.SEND_FIN || event === EVENT.GET_FIN;
      const count: number = (fins.get(state) ?? 0) + (isFin ? 1 : 0);
      if (!fins.has(next)) waiting.push(next);
      assert.equal(fins.get(next) ?? count, count, `state ${next} by two ways`);
      fins.set(next, count);
    }
  }
  assert.equal(fins.get(STREAM.ENDED), 2);
  assert.equal(fins.size, STATES.length, 'every state is reached');
});
