// Tables that are filled anew each second without being made anew: rows and cells are used again.

import { make, setClass, setText } from './elements.js';

/**
 * `columns`: each with `title`, `cell(row, snapshot)` (a text, or a text, a class and perhaps
 * where it leads), and, if so,
 * `isNumber` and `isLater` (left out on a phone). The first column names the row.
 */
export class Table {
  #root;
  #columns;
  #empty;
  #scroll;
  #body = make('tbody');

  constructor(root, { label, columns, empty }) {
    this.#root = root;
    this.#columns = columns;
    this.#empty = make('p', { class: 'empty' }, empty);
    const heads = columns.map((column) =>
      make('th', { scope: 'col', class: classOf(column) }, column.title),
    );
    const table = make('table', {}, make('thead', {}, make('tr', {}, ...heads)), this.#body);
    // To be scrolled by keyboard where it is wider than the screen.
    const region = { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label };
    this.#scroll = make('div', region, table);
  }

  /** `isChosen` marks a row. */
  show(rows, snapshot, isChosen = (_row) => false) {
    const shown = rows.length === 0 ? this.#empty : this.#scroll;
    if (this.#root.firstChild !== shown) this.#root.replaceChildren(shown);
    const body = this.#body;
    while (body.rows.length > rows.length) body.deleteRow(-1);
    while (body.rows.length < rows.length) body.append(this.#makeRow());
    for (const [index, row] of rows.entries()) {
      setClass(body.rows[index], isChosen(row) ? 'chosen' : '');
      this.#fill(body.rows[index], row, snapshot);
    }
  }

  #makeRow() {
    const cells = this.#columns.map((column, index) =>
      index === 0 ? make('th', { scope: 'row' }) : make('td', { class: classOf(column) }),
    );
    return make('tr', {}, ...cells);
  }

  #fill(line, row, snapshot) {
    for (const [index, column] of this.#columns.entries()) {
      const found = column.cell(row, snapshot);
      const [text, extra, href] = Array.isArray(found) ? found : [found, ''];
      const cell = line.cells[index];
      if (href === undefined) setText(cell, text);
      else setLink(cell, text, href);
      setClass(cell, `${classOf(column)} ${extra ?? ''}`.trim());
      if (!column.isNumber && cell.title !== text) cell.title = text;
    }
  }
}

function setLink(cell, text, href) {
  const known = cell.firstElementChild;
  if (known === null) {
    cell.replaceChildren(make('a', { href }, text));
    return;
  }
  setText(known, text);
  if (known.getAttribute('href') !== href) known.setAttribute('href', href);
}

function classOf({ isNumber, isLater }) {
  return `${isNumber ? 'number' : 'text'}${isLater ? ' later' : ''}`;
}
