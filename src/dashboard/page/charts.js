// One chart of the last ten minutes, with a legend that says the newest figures or, under a
// pointer, those of that moment.

import uPlot from '/assets/uplot.js';
import { make, setText } from './elements.js';

/** Ten minutes, one point a second. */
const POINTS_MAX = 600;
/** Steps of an axis of bytes: round in the units that bytes are shown in. */
const BYTE_STEPS = [0, 1, 2, 3, 4].flatMap((power) =>
  [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** power),
);
/** At first a minute is shown, then what there is. */
const SPAN_SECONDS_MIN = 60;
const HEIGHT = 170;
const SYNC = uPlot.sync('time');

export class Chart {
  #root;
  #title;
  #format;
  #hasFill;
  #isBytes;
  #labels = [];
  #values = [];
  #plot;
  #plotRoot = make('div', { class: 'plot' });
  #times = [];
  #series = [];

  /** `hasFill`: the first series is the area under it; `isBytes`: the axis counts in KiB, MiB. */
  constructor(root, { title, labels, format, hasFill = false, isBytes = false }) {
    this.#title = title;
    this.#format = format;
    this.#hasFill = hasFill;
    this.#isBytes = isBytes;
    this.#plotRoot.setAttribute('role', 'img');
    this.#root = make('figure');
    root.append(this.#root);
    this.#relabel(labels);
    new ResizeObserver(() => this.#resize()).observe(this.#plotRoot);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#build());
  }

  /** One moment: a figure for each label, null where there is none. */
  push(atMs, figures, labels = this.#labels) {
    if (labels.join() !== this.#labels.join()) this.#relabel(labels);
    this.#times.push(atMs / 1000);
    for (const [index, series] of this.#series.entries()) series.push(figures[index] ?? null);
    if (this.#times.length > POINTS_MAX) {
      for (const list of [this.#times, ...this.#series]) list.shift();
    }
  }

  /** Nothing was seen for a while: the line has a gap. */
  break(atMs) {
    if (this.#times.length > 0) this.push(atMs, []);
  }

  draw() {
    if (this.#plot === undefined) this.#build();
    else this.#plot.setData([this.#times, ...this.#series]);
    if (this.#plot?.cursor.idx == null) this.#tell(this.#times.length - 1);
  }

  #relabel(labels) {
    this.#labels = labels;
    // What was drawn under other names is not theirs.
    this.#times = [];
    this.#series = labels.map(() => []);
    this.#values = labels.map(() => make('b', {}, '–'));
    const items = labels.map((label, index) => make('li', {}, `${label} `, this.#values[index]));
    const caption = make(
      'figcaption',
      {},
      make('h2', {}, this.#title),
      make('ul', { class: 'legend' }, ...items),
    );
    this.#root.replaceChildren(caption, this.#plotRoot);
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  #tell(index) {
    for (const [at, node] of this.#values.entries()) {
      setText(node, this.#format(this.#series[at]?.[index] ?? null));
    }
    const parts = this.#labels.map((label, at) => `${label} ${this.#values[at].textContent}`);
    this.#plotRoot.setAttribute('aria-label', `${this.#title}: ${parts.join(', ')}`);
  }

  #build() {
    const width = this.#plotRoot.clientWidth;
    if (width === 0 || this.#times.length === 0) return;
    this.#plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour('--soft'),
      grid: { stroke: colour('--grid'), width: 1 },
      ticks: { show: false },
      font: '12px system-ui, sans-serif',
    };
    const series = this.#labels.map((label, index) => ({
      label,
      stroke: colour(`--series-${(index % 4) + 1}`),
      width: 1.6,
      points: { show: false },
      ...(index === 0 && this.#hasFill ? { fill: colour('--wash-1') } : {}),
    }));
    const data = [this.#times, ...this.#series];
    this.#plot = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [10, 8, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: SYNC.key }, drag: { x: false, y: false }, y: false },
        scales: {
          x: { time: true, range: () => [this.#startSeconds(), this.#times.at(-1) ?? 0] },
          y: { range: (_plot, _low, high) => [0, topOf(high)] },
        },
        axes: [
          { ...axis, values: (_plot, splits) => splits.map(timeOf), space: 80, size: 28 },
          {
            ...axis,
            values: (_plot, splits) => splits.map((at) => this.#format(at)),
            size: 76,
            ...(this.#isBytes ? { incrs: BYTE_STEPS } : {}),
          },
        ],
        series: [{}, ...series],
        hooks: {
          setCursor: [(plot) => this.#tell(plot.cursor.idx ?? this.#times.length - 1)],
        },
      },
      data,
      this.#plotRoot,
    );
  }

  #startSeconds() {
    const last = this.#times.at(-1) ?? 0;
    return Math.min(this.#times[0] ?? last, last - SPAN_SECONDS_MIN);
  }

  #resize() {
    const width = this.#plotRoot.clientWidth;
    if (this.#plot === undefined) this.#build();
    else if (width > 0) this.#plot.setSize({ width, height: HEIGHT });
  }
}

/** Some room above the highest point, and a scale where all is zero. */
function topOf(high) {
  return high === null || high === undefined || high <= 0 ? 1 : high * 1.15;
}

function timeOf(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
  });
}
