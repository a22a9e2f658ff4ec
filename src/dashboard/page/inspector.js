// The request inspector: the last requests of inspected tunnels, one of them in full, and again.
//
//   hidden --show--> list, asked for every two seconds --a row--> detail --replay--> its new detail

import { make, setClass, setText } from './elements.js';
import * as show from './format.js';
import { Table } from './tables.js';

const POLL_MS = 2000;
const COUNT = 100;
const ALL = '';
const STATUS_GONE = 404;
const GONE = 'This request is no longer kept.';

export class InspectorView {
  #isShown = false;
  #id;
  #timer;
  #table;
  #split = make('div', { class: 'split' });
  #list = make('div');
  #detail = make('section', { class: 'list detail', 'aria-label': 'A request' });
  #select = make('select', { id: 'inspector-tunnel' });
  #note = make('p', { class: 'empty' });
  #shownDetail = '';
  #shownID;

  constructor(root) {
    this.#select.append(make('option', { value: ALL }, 'all inspected tunnels'));
    this.#select.addEventListener('change', () => void this.#refresh());
    const filter = make(
      'div',
      { class: 'filter' },
      make('h2', {}, 'Requests'),
      make('label', { for: 'inspector-tunnel' }, 'Tunnel'),
      this.#select,
    );
    const section = make('section', { class: 'list' }, filter, this.#note, this.#list);
    this.#split.append(section, this.#detail);
    root.append(this.#split);
    this.#table = new Table(this.#list, {
      label: 'Inspected requests',
      empty: 'No request has come yet.',
      columns: [
        { title: 'Request', cell: (row) => [titleOf(row), 'mono', `#/requests/${row.id}`] },
        { title: 'Status', cell: (row) => statusOf(row), isNumber: true },
        { title: 'Took', cell: (row) => show.ms(row.durationMs), isNumber: true },
        { title: 'Size', cell: (row) => show.bytes(row.bytesOut), isNumber: true, isLater: true },
        { title: 'Tunnel', cell: (row) => row.tunnel, isLater: true },
        { title: 'Visitor', cell: (row) => row.visitor, isLater: true },
        { title: 'At', cell: (row) => timeOf(row.startedMs), isNumber: true },
      ],
    });
  }

  show(isShown, id) {
    this.#isShown = isShown;
    this.#id = id;
    clearTimeout(this.#timer);
    setClass(this.#split, id === undefined ? 'split' : 'split open');
    this.#detail.hidden = id === undefined;
    if (isShown) void this.#refresh();
  }

  async #refresh() {
    clearTimeout(this.#timer);
    try {
      const tunnel = this.#select.value;
      const filter = tunnel === ALL ? '' : `&tunnel=${encodeURIComponent(tunnel)}`;
      this.#fill(await ask(`/api/requests?limit=${COUNT}${filter}`));
      if (this.#id !== undefined) await this.#open(this.#id);
    } catch (error) {
      this.#say(`No answer: ${error.message}`);
    }
    // Another may have been begun meanwhile: one timer is left, of the last that ends.
    clearTimeout(this.#timer);
    if (this.#isShown) this.#timer = setTimeout(() => void this.#refresh(), POLL_MS);
  }

  #fill({ isOn, tunnels, requests }) {
    this.#list.hidden = !isOn;
    if (isOn) this.#say('');
    else {
      this.#say('Nothing is inspected: name a tunnel with --inspect, or * for all, and reload.');
    }
    // With `*`, those that have requests.
    const named = tunnels.includes('*') ? requests.map(({ tunnel }) => tunnel) : tunnels;
    const known = new Set([...this.#select.options].map(({ value }) => value));
    for (const name of new Set(named)) {
      if (!known.has(name)) this.#select.append(make('option', { value: name }, name));
    }
    this.#table.show(requests, undefined, (row) => row.id === this.#id);
  }

  #say(text) {
    this.#note.hidden = text === '';
    setText(this.#note, text);
  }

  async #open(id) {
    let detail;
    try {
      detail = await ask(`/api/requests/${encodeURIComponent(id)}`);
    } catch (error) {
      const isGone = error.cause === STATUS_GONE;
      // A shard that is busy now will answer later: what is being read stays.
      if (!isGone && id === this.#id && id === this.#shownID) throw error;
      detail = { id, problem: isGone ? GONE : `No answer: ${error.message}` };
    }
    // Another one was chosen while this one was asked for.
    if (id !== this.#id) return;
    this.#shownID = id;
    // Drawn again only when it has changed: a selection in it stays.
    const text = JSON.stringify(detail);
    if (text === this.#shownDetail && this.#detail.childElementCount > 0) return;
    this.#shownDetail = text;
    this.#detail.replaceChildren(...this.#describe(detail));
  }

  #describe(detail) {
    const close = make('a', { class: 'act', href: '#/requests' }, 'Close');
    if (detail.problem !== undefined) {
      return [make('p', {}, detail.problem), make('div', { class: 'bar' }, close)];
    }
    const again = make('button', { class: 'act main', type: 'button' }, 'Replay');
    const said = make('span', { role: 'status', class: 'note' }, detail.replayProblem);
    again.disabled = detail.replayProblem !== '';
    again.addEventListener('click', () => void this.#replay(detail.id, again, said));
    return [
      make('h2', { class: 'mono' }, titleOf(detail)),
      make('div', { class: 'bar' }, again, close, said),
      pairs(factsOf(detail)),
      make('h3', {}, 'Request headers'),
      pairs(detail.requestFields),
      ...bodyOf('Request body', detail.requestBody),
      make('h3', {}, 'Response headers'),
      pairs(detail.responseFields),
      ...bodyOf('Response body', detail.responseBody),
    ];
  }

  async #replay(id, button, said) {
    button.disabled = true;
    setText(said, 'under way');
    try {
      const path = `/api/requests/${encodeURIComponent(id)}/replay`;
      const { id: next } = await ask(path, { method: 'POST' });
      location.hash = `#/requests/${next}`;
    } catch (error) {
      setText(said, error.message);
      button.disabled = false;
    }
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.status === 401) location.assign('/login');
  const value = await answer.json();
  if (!answer.ok) {
    throw new Error(value.problem ?? `status ${answer.status}`, { cause: answer.status });
  }
  return value;
}

function titleOf({ method, target }) {
  return `${method} ${target}`;
}

function statusOf({ status, code }) {
  const text = status === 0 ? '–' : String(status);
  return [text, status >= 500 || code !== 'SLW_NONE' ? 'bad' : ''];
}

function factsOf(detail) {
  const { status, code, firstByteMs, durationMs } = detail;
  return [
    ['Tunnel', detail.tunnel],
    ['Visitor', detail.visitor],
    ['Status', status === 0 ? 'under way' : String(status)],
    ...(code === 'SLW_NONE' ? [] : [['Failed', code]]),
    ['First byte', `${show.ms(firstByteMs)}, all of it ${show.ms(durationMs)}`],
    ['Bodies', `${show.bytes(detail.bytesIn)} in, ${show.bytes(detail.bytesOut)} out`],
    ['At', new Date(detail.startedMs).toLocaleString()],
    ...(detail.replayOf === '' ? [] : [['Replay of', detail.replayOf]]),
  ];
}

function pairs(list) {
  if (list.length === 0) return make('p', { class: 'note' }, 'none');
  return make(
    'dl',
    {},
    ...list.flatMap(([name, value]) => [
      make('dt', {}, name),
      make('dd', { class: 'mono' }, value),
    ]),
  );
}

function bodyOf(title, body) {
  if (body === null || (body.bytes === 0 && body.isWhole)) return [];
  const cut = body.isWhole ? '' : ', the beginning of it';
  const kind = body.text === undefined ? ', base64' : '';
  const label = `${title}: ${show.bytes(body.bytes)}${cut}${kind}`;
  const attributes = { tabindex: '0', role: 'region', 'aria-label': label };
  return [make('h3', {}, label), make('pre', attributes, body.text ?? body.base64)];
}

function timeOf(wallMs) {
  return new Date(wallMs).toLocaleTimeString([], { hour12: false });
}
