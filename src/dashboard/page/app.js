// The dashboard: takes a snapshot a second from /api/events and shows it.
//
//   waiting --snapshot--> live --the feed breaks--> lost --snapshot--> live
//                                   --a session is over--> the login page

import { Chart } from './charts.js';
import { byId, setClass, setText } from './elements.js';
import * as show from './format.js';
import { InspectorView } from './inspector.js';
import { Table } from './tables.js';

const RETRY_MS = 5000;
const DAYS_SOON = 14;
const LINES_MAX = 4;
/** Above this share of 5xx the figure is red. */
const ERRORS_BAD = 0.01;

const charts = {
  requests: new Chart(byId('charts'), {
    title: 'Requests a second',
    labels: ['requests', 'errors'],
    format: show.rate,
    hasFill: true,
  }),
  bytes: new Chart(byId('charts'), {
    title: 'Payload',
    labels: ['to visitors', 'from visitors'],
    format: show.bytesRate,
    hasFill: true,
    isBytes: true,
  }),
  latency: new Chart(byId('charts'), {
    title: 'Latency of requests',
    labels: ['p50', 'p95', 'p99'],
    format: show.ms,
  }),
  loop: new Chart(byId('charts'), {
    title: 'Event-loop delay, p99',
    labels: ['shard 0'],
    format: show.ms,
  }),
};

const tables = {
  tunnels: new Table(byId('tunnels'), {
    label: 'Tunnels',
    empty: 'No client offers a tunnel yet.',
    columns: [
      { title: 'Name', cell: (row) => row.name },
      number('Requests', (row) => show.rate(ofHttp(row, row.requestsPerSecond))),
      number('Errors', (row) => [
        show.rate(ofHttp(row, row.errorsPerSecond)),
        row.errorsPerSecond > 0 ? 'bad' : 'faint',
      ]),
      number('To visitors', (row) => show.bytesRate(row.bytesOutPerSecond)),
      number('From visitors', (row) => show.bytesRate(row.bytesInPerSecond)),
      number('Streams', (row) => show.count(row.streams)),
      number('Clients', (row) => show.count(row.clients)),
      later(number('Sum out', (row) => show.bytes(row.bytesOut))),
      later(number('Sum in', (row) => show.bytes(row.bytesIn))),
    ],
  }),
  clients: new Table(byId('clients'), {
    label: 'Clients',
    empty: 'No client is connected.',
    columns: [
      { title: 'Client', cell: (row) => row.clientID },
      later({ title: 'Serves', cell: (row) => show.some(row.upstreams, row.tunnelsCount) }),
      later({ title: 'From', cell: (row) => row.remoteAddr }),
      later({ title: 'Token', cell: (row) => row.token ?? row.identity ?? '–' }),
      later({ title: 'Version', cell: (row) => row.version }),
      number('Connected', (row, { atMs }) => show.span(atMs - Date.parse(row.since))),
      number('Restarts', (row) => show.count(row.restarts)),
      number('Links', (row) => show.count(row.links)),
      number('Round trip', (row) => show.ms(row.rttMs === 0 ? null : row.rttMs)),
      number('Streams', (row) => show.count(row.streams)),
      later(number('Sum out', (row) => show.bytes(row.bytesOut))),
      later(number('Sum in', (row) => show.bytes(row.bytesIn))),
    ],
  }),
  certificates: new Table(byId('certificates'), {
    label: 'Certificates',
    empty: 'This exit node has no certificate.',
    columns: [
      { title: 'Name', cell: (row) => row.name },
      number('Ends', (row) => show.day(row.notAfterMs)),
      number('Left', (row, { atMs }) => {
        const days = show.daysUntil(row.notAfterMs, atMs);
        return [show.daysLeft(days), days < DAYS_SOON ? 'bad' : ''];
      }),
    ],
  }),
  shards: new Table(byId('shards'), {
    label: 'Shards',
    empty: 'No shard has answered yet.',
    columns: [
      { title: 'Shard', cell: (row) => String(row.shard) },
      number('Loop delay p50', (row) => show.ms(row.loopP50Ms)),
      number('p99', (row) => show.ms(row.loopP99Ms)),
      number('Longest', (row) => show.ms(row.loopMaxMs)),
    ],
  }),
};

/** Ports and TLS passthrough have no requests that could be counted. */
function ofHttp({ name }, value) {
  return /^(?:tcp|tls):/.test(name) ? null : value;
}

function number(title, cell) {
  return { title, cell, isNumber: true };
}

function later(column) {
  return { ...column, isLater: true };
}

function setFigure(id, parts) {
  const [text, unit] = parts;
  const node = byId(id);
  const wanted = `${text}${unit}`;
  if (node.textContent === wanted) return;
  const small = document.createElement('small');
  small.textContent = unit;
  node.replaceChildren(text, ...(unit === '' ? [] : [small]));
}

function showFigures(snapshot) {
  const { latencyMs, errorShare } = snapshot;
  setFigure('requests', show.rateParts(snapshot.requestsPerSecond));
  setText(byId('requests-note'), `${show.count(snapshot.requestsInFlight)} under way`);
  setFigure('bytes-out', show.bytesRateParts(snapshot.bytesOutPerSecond));
  setText(byId('bytes-note'), `${show.bytesRate(snapshot.bytesInPerSecond)} from visitors`);
  setFigure('latency', show.msParts(latencyMs?.p95));
  setText(
    byId('latency-note'),
    latencyMs === null
      ? 'no request in ten seconds'
      : `p50 ${show.ms(latencyMs.p50)} · p99 ${show.ms(latencyMs.p99)}`,
  );
  setFigure('errors', show.shareParts(errorShare));
  setText(byId('errors-note'), `${show.rate(snapshot.errorsPerSecond)} with status 5xx`);
  setClass(
    byId('errors-tile'),
    errorShare !== null && errorShare > ERRORS_BAD ? 'tile bad' : 'tile',
  );
  setFigure('streams', show.countParts(snapshot.streams));
  setText(byId('streams-note'), show.plural(snapshot.visitors, 'connection', 'connections'));
  setFigure('clients-figure', show.countParts(snapshot.clientsCount));
  setText(byId('clients-note'), show.plural(snapshot.links, 'link', 'links'));
}

function showInfo({ info, atMs, shardRestarts }) {
  setText(byId('hostname'), info.hostname);
  setText(byId('modes'), info.mode.split(',').join(', '));
  setText(byId('version'), `version ${info.version}`);
  const restarts =
    shardRestarts === 0 ? '' : `, ${show.plural(shardRestarts, 'shard restart', 'shard restarts')}`;
  setText(byId('uptime'), `up ${show.span(atMs - Date.parse(info.startTime))}${restarts}`);
}

function showLists(snapshot) {
  const more = (all, shown) => (all > shown ? `${all}, the busiest ${shown} shown` : String(all));
  setText(byId('tunnels-count'), more(snapshot.tunnelsCount, snapshot.tunnels.length));
  setText(byId('clients-count'), more(snapshot.clientsCount, snapshot.clients.length));
  for (const [name, table] of Object.entries(tables)) table.show(snapshot[name], snapshot);
}

/** A line a shard while they can be told apart, else those that matter. */
function loopLines(shards) {
  const figures = shards.map((shard) => shard.loopP99Ms);
  if (shards.length <= LINES_MAX) {
    return { figures, labels: shards.map(({ shard }) => `shard ${shard}`) };
  }
  const sorted = figures.sort((a, b) => b - a);
  const middle = sorted[Math.floor(sorted.length / 2)];
  return { figures: [sorted[0], middle], labels: ['slowest shard', 'middle one'] };
}

function remember(snapshot) {
  const { atMs, latencyMs, shards } = snapshot;
  charts.requests.push(atMs, [snapshot.requestsPerSecond, snapshot.errorsPerSecond]);
  charts.bytes.push(atMs, [snapshot.bytesOutPerSecond, snapshot.bytesInPerSecond]);
  charts.latency.push(atMs, [latencyMs?.p50, latencyMs?.p95, latencyMs?.p99]);
  const { labels, figures } = loopLines(shards);
  charts.loop.push(atMs, figures, labels);
}

let last;

function setState(state, text) {
  const node = byId('state');
  node.dataset.state = state;
  setText(node, text);
}

function draw() {
  // Nobody sees it; what was missed is there when somebody does.
  if (document.hidden || last === undefined) return;
  showInfo(last);
  showFigures(last);
  showLists(last);
  for (const chart of Object.values(charts)) chart.draw();
}

function follow() {
  const feed = new EventSource('/api/events');
  feed.addEventListener('hello', (event) => {
    byId('logout').hidden = !JSON.parse(event.data).hasSession;
  });
  feed.addEventListener('over', () => location.assign('/login'));
  feed.addEventListener('message', (event) => {
    const isBack = last !== undefined && byId('state').dataset.state === 'lost';
    last = JSON.parse(event.data);
    if (isBack) for (const chart of Object.values(charts)) chart.break(last.atMs - 1);
    setState('live', 'live');
    remember(last);
    draw();
  });
  feed.addEventListener('error', () => {
    setState('lost', 'no connection, trying again');
    // Else the browser comes again by itself.
    if (feed.readyState === EventSource.CLOSED) void comeAgain();
  });
}

/** Refused: the session is over, or too many look at it. */
async function comeAgain() {
  try {
    const answer = await fetch('/', { method: 'HEAD', redirect: 'manual' });
    if (answer.type === 'opaqueredirect') {
      location.assign('/login');
      return;
    }
    if (answer.ok) setState('lost', 'too many look at this dashboard');
  } catch {
    // The server is gone for now.
  }
  setTimeout(follow, RETRY_MS);
}

const inspector = new InspectorView(byId('requests-view'));

/** `#/requests`, or `#/requests/ID` with one of them open; all else is the overview. */
function showView() {
  const [, view, id] = location.hash.split('/');
  const isInspector = view === 'requests';
  byId('overview').hidden = isInspector;
  byId('requests-view').hidden = !isInspector;
  for (const [name, isHere] of [
    ['to-overview', !isInspector],
    ['to-requests', isInspector],
  ]) {
    if (isHere) byId(name).setAttribute('aria-current', 'page');
    else byId(name).removeAttribute('aria-current');
  }
  inspector.show(isInspector, id);
  if (!isInspector) draw();
}

window.addEventListener('hashchange', showView);
document.addEventListener('visibilitychange', draw);
showView();
follow();
