// Charts as HTML: bars that are plain boxes, and curves that are SVG without a script.
//
// Invariant: every text is escaped here, so that nothing from outside becomes markup; letters are
// HTML, not SVG, so that they keep their size on a phone. Must not know: what is drawn.

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** Points of the drawing; the page stretches it. */
const [WIDTH, HEIGHT] = [1000, 400];
/** Colours of the page's style, taken in turn. */
const COLOURS = 6;

export function escaped(text: string): string {
  return text.replace(/[&<>"']/gu, (sign) => ESCAPES[sign] ?? '');
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly text: string;
}

/** Groups of bars, each group with a scale of its own: their units differ. */
export function bars(groups: readonly { title: string; bars: readonly Bar[] }[]): string {
  const drawn = groups.map(({ title, bars: all }) => {
    const known = all.map(({ value }) => value).filter(Number.isFinite);
    const most = Math.max(...known, Number.MIN_VALUE);
    const rows = all.map(({ name, value, text }, index) => {
      const share = Number.isFinite(value) ? Math.max(0, (100 * value) / most) : 0;
      return (
        `<span class="name">${escaped(name)}</span>` +
        `<span class="way"><i class="c${index % COLOURS}" style="width:${share.toFixed(1)}%"></i>` +
        `</span><span class="value">${escaped(text)}</span>`
      );
    });
    return `<section><h3>${escaped(title)}</h3><div class="bars">${rows.join('')}</div></section>`;
  });
  return `<div class="groups">${drawn.join('')}</div>`;
}

export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Axis {
  /** Where a value lies, from 0 to 1. */
  readonly place: (value: number) => number;
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
  readonly title: string;
}

/** Curves over two axes, with a legend; what it shows is told in words by `label`. */
export function curves(all: readonly Curve[], axes: { x: Axis; y: Axis; label: string }): string {
  const { x, y, label } = axes;
  const at = ([left, up]: readonly [number, number]): string =>
    `${(x.place(left) * WIDTH).toFixed(1)},${((1 - y.place(up)) * HEIGHT).toFixed(1)}`;
  const lines = all.map(
    ({ points }, index) =>
      `<polyline class="c${index % COLOURS}" points="${points.map(at).join(' ')}"/>`,
  );
  const across = y.ticks.map(({ value }) => {
    const up = ((1 - y.place(value)) * HEIGHT).toFixed(1);
    return `<line x1="0" x2="${WIDTH}" y1="${up}" y2="${up}"/>`;
  });
  const left = y.ticks.map(
    ({ value, text }) =>
      `<span style="bottom:${(y.place(value) * 100).toFixed(1)}%">${escaped(text)}</span>`,
  );
  const below = x.ticks.map(({ value, text }) => {
    const right = x.place(value) * 100;
    // One at the edge would be wider than the page.
    const end = right > 99 ? ' class="end"' : '';
    return `<span${end} style="left:${right.toFixed(1)}%">${escaped(text)}</span>`;
  });
  const names = all.map(
    ({ name }, index) => `<li><i class="c${index % COLOURS}"></i>${escaped(name)}</li>`,
  );
  return (
    `<figure><figcaption>${escaped(y.title)}</figcaption><div class="plot">` +
    `<div class="left">${left.join('')}</div>` +
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" ` +
    `aria-label="${escaped(label)}">${across.join('')}${lines.join('')}</svg>` +
    `<div class="below">${below.join('')}</div></div>` +
    `<p class="axis">${escaped(x.title)}</p>` +
    `${all.length > 1 ? `<ul class="legend">${names.join('')}</ul>` : ''}</figure>`
  );
}

/** From 0 to a round number above `most`, in at most five steps. */
export function linearAxis(most: number, title: string, show: (value: number) => string): Axis {
  const rough = (most > 0 ? most : 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step =
    [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? power;
  const count = Math.max(1, Math.ceil(most / step));
  return {
    title,
    place: (value) => value / (step * count),
    ticks: Array.from({ length: count + 1 }, (_, at) => ({
      value: at * step,
      text: show(at * step),
    })),
  };
}

/** Powers of ten around all values, with 2 and 5 where there are few. */
export function logAxis(
  values: readonly number[],
  title: string,
  show: (value: number) => string,
): Axis {
  const positive = values.filter((value) => value > 0);
  const [least, most] = [Math.min(...positive, 1e9), Math.max(...positive, 1)];
  const low = Math.floor(Math.log10(Math.min(least, most)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(most)));
  const steps = high - low <= 2 ? [1, 2, 5] : [1];
  const ticks = Array.from({ length: high - low }, (_, at) =>
    steps.map((step) => step * 10 ** (low + at)),
  );
  return {
    title,
    place: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low),
    ticks: [...ticks.flat(), 10 ** high].map((value) => ({ value, text: show(value) })),
  };
}

export function tableOf(rows: readonly (readonly string[])[]): string {
  const [titles = [], ...rest] = rows;
  const head = titles.map((cell) => `<th scope="col">${escaped(cell)}</th>`).join('');
  const body = rest.map(([first = '', ...cells]) => {
    const more = cells.map((cell) => `<td>${escaped(cell)}</td>`).join('');
    return `<tr><th scope="row">${escaped(first)}</th>${more}</tr>`;
  });
  return (
    `<div class="wide" tabindex="0"><table><thead><tr>${head}</tr></thead>` +
    `<tbody>${body.join('')}</tbody></table></div>`
  );
}
