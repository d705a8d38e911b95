// A table of any number of rows of which only those in view exist as elements.
//
// Browsers limit the height of an element to some millions of pixels, so a long table scrolls over a shorter stretch:
// the scroll bar stands for the place, and wheel and keys move by rows.

import { h, newId } from "../dom";
import { count, t } from "../text";
import type { Rows } from "./rows";

/** A row's height in pixels, as the style sheet has it. */
const ROW_PIXELS = 28;
/** The stretch that is scrolled over is never higher than this. */
const STRETCH_PIXELS_MAX = 6_000_000;
/** The rows at the start from which widths are taken. */
const WIDTH_ROWS = 200;
const WIDTH_CHARACTERS_MIN = 5;
const WIDTH_CHARACTERS_MAX = 42;
/** What stands left and right of a cell's text, in characters. */
const PADDING_CHARACTERS = 4;
/** A longer cell is cut in the table; below it the whole cell is shown. */
const CELL_CHARACTERS_MAX = 200;

/** A scrolling table of rows. */
export class Grid {
  readonly element = h("div", { class: "grid-frame" });
  private readonly id = newId("grid");
  private readonly view: HTMLDivElement;
  private readonly space = h("div", { class: "grid-space" });
  private readonly body = h("tbody", { role: "rowgroup" });
  private readonly table: HTMLTableElement;
  private readonly readout = h("p", { class: "readout" });
  private readonly watcher: ResizeObserver;
  // The first row in view, and the cell that keys move.
  private top = 0;
  private row = 0;
  private column = 0;
  private isOwnScroll = false;
  private frame = 0;
  private count = -1;

  constructor(private readonly rows: Rows) {
    this.table = this.makeTable();
    this.view = h(
      "div",
      {
        class: "grid",
        role: "grid",
        tabindex: 0,
        "aria-label": t("result_table"),
        "aria-colcount": rows.columns.length + 1,
        onscroll: () => this.scrolled(),
        onkeydown: (event: KeyboardEvent) => this.key(event),
        onclick: (event: MouseEvent) => this.clicked(event),
        oncopy: (event: ClipboardEvent) => this.copy(event),
      },
      this.table,
      this.space,
    );
    this.view.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.append(this.view, this.readout);
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.view);
    this.grow();
  }

  /** Stops watching its own size. */
  close(): void {
    this.watcher.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** Takes notice of rows that were added. */
  grow(): void {
    if (this.count === this.rows.length) return;
    // Widths are measured once, on the first rows that come.
    if (this.count <= 0) this.measure();
    this.count = this.rows.length;
    this.view.setAttribute("aria-rowcount", String(this.count + 1));
    this.space.style.height = `${this.stretch()}px`;
    this.schedule();
  }

  private makeTable(): HTMLTableElement {
    const head = h("tr", { role: "row", "aria-rowindex": 1 });
    head.append(h("th", { role: "columnheader", scope: "col", class: "row-number", "aria-colindex": 1 }, "#"));
    this.rows.columns.forEach((column, index) => {
      const name = h("span", { class: "name" }, column.name);
      const type = h("span", { class: "type" }, column.type);
      const label = { role: "columnheader", scope: "col", "aria-colindex": index + 2, class: column.kind };
      head.append(h("th", label, name, type));
    });
    const columns = h("colgroup", {}, h("col"), ...this.rows.columns.map(() => h("col")));
    return h("table", { role: "presentation" }, columns, h("thead", { role: "rowgroup" }, head), this.body);
  }

  private measure(): void {
    const sample = Math.min(WIDTH_ROWS, this.rows.length);
    const columns = this.table.querySelectorAll("col");
    const widths = this.rows.columns.map((column, index) => {
      let width = Math.max(column.name.length, Math.min(column.type.length * 0.85, 14));
      for (let row = 0; row < sample; row += 1) width = Math.max(width, this.rows.text(row, index)?.length ?? 0);
      return Math.min(WIDTH_CHARACTERS_MAX, Math.max(WIDTH_CHARACTERS_MIN, width)) + PADDING_CHARACTERS;
    });
    const first = 9;
    let total = first;
    columns.item(0).style.width = `${first}ch`;
    widths.forEach((width, index) => {
      columns.item(index + 1).style.width = `${width}ch`;
      total += width;
    });
    this.table.style.width = `${total}ch`;
  }

  private rowsInView(): number {
    return Math.max(1, Math.floor((this.view.clientHeight - this.headHeight()) / ROW_PIXELS));
  }

  private headHeight(): number {
    return this.table.tHead?.offsetHeight ?? 0;
  }

  private stretch(): number {
    return Math.min(STRETCH_PIXELS_MAX, this.count * ROW_PIXELS + this.headHeight() + ROW_PIXELS);
  }

  private topMax(): number {
    return Math.max(0, this.count - this.rowsInView());
  }

  private scrolled(): void {
    if (this.isOwnScroll) {
      this.isOwnScroll = false;
      return;
    }
    const range = this.view.scrollHeight - this.view.clientHeight;
    this.top = range > 0 ? Math.round((this.view.scrollTop / range) * this.topMax()) : 0;
    this.schedule();
  }

  /** Puts a row at the top and the scroll bar where it belongs. */
  private moveTo(top: number): void {
    this.top = Math.min(this.topMax(), Math.max(0, top));
    const range = this.view.scrollHeight - this.view.clientHeight;
    const place = this.topMax() > 0 ? (this.top / this.topMax()) * range : 0;
    if (Math.abs(place - this.view.scrollTop) >= 1) {
      this.isOwnScroll = true;
      this.view.scrollTop = place;
    }
    this.schedule();
  }

  private wheel(event: WheelEvent): void {
    // A sideways wheel is the browser's; at either end the page goes on scrolling.
    if (event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * ROW_PIXELS : event.deltaY;
    const step = Math.sign(pixels) * Math.max(1, Math.round(Math.abs(pixels) / ROW_PIXELS));
    const next = Math.min(this.topMax(), Math.max(0, this.top + step));
    if (next === this.top) return;
    event.preventDefault();
    this.moveTo(next);
  }

  private schedule(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** Writes the rows in view into as many elements as fit. */
  private draw(): void {
    const fit = Math.min(this.count, this.rowsInView() + 1);
    while (this.body.rows.length > fit) this.body.deleteRow(-1);
    while (this.body.rows.length < fit) this.body.append(this.makeRow());
    this.top = Math.min(this.top, this.topMax());
    for (let index = 0; index < fit; index += 1) {
      const element = this.body.rows.item(index);
      if (element) this.fill(element, this.top + index);
    }
    this.mark();
  }

  private makeRow(): HTMLTableRowElement {
    const row = h("tr", { role: "row" });
    row.append(h("th", { role: "rowheader", scope: "row", class: "row-number", "aria-colindex": 1 }));
    this.rows.columns.forEach((column, index) => {
      row.append(h("td", { role: "gridcell", class: column.kind, "aria-colindex": index + 2 }));
    });
    return row;
  }

  private fill(element: HTMLTableRowElement, row: number): void {
    element.hidden = row >= this.count;
    if (element.hidden || element.dataset["row"] === String(row)) return;
    element.dataset["row"] = String(row);
    element.setAttribute("aria-rowindex", String(row + 2));
    const cells = element.cells;
    for (let index = 0; index < cells.length; index += 1) {
      const cell = cells.item(index);
      if (!cell) continue;
      if (index === 0) {
        cell.textContent = count(row + 1);
        continue;
      }
      cell.id = `${this.id}-${row}-${index - 1}`;
      const text = this.rows.text(row, index - 1);
      cell.classList.toggle("null", text === null);
      cell.textContent = text === null ? "NULL" : text.slice(0, CELL_CHARACTERS_MAX);
    }
  }

  /** Shows which cell is the current one. */
  private mark(): void {
    this.body.querySelector(".current")?.classList.remove("current");
    const id = `${this.id}-${this.row}-${this.column}`;
    const cell = this.body.querySelector(`#${id}`);
    cell?.classList.add("current");
    if (cell) this.view.setAttribute("aria-activedescendant", id);
    else this.view.removeAttribute("aria-activedescendant");
  }

  private key(event: KeyboardEvent): void {
    const page = this.rowsInView() - 1;
    const ends = event.ctrlKey || event.metaKey;
    const lastColumn = this.rows.columns.length - 1;
    const moves: Record<string, () => [number, number]> = {
      ArrowDown: () => [this.row + 1, this.column],
      ArrowUp: () => [this.row - 1, this.column],
      ArrowRight: () => [this.row, this.column + 1],
      ArrowLeft: () => [this.row, this.column - 1],
      PageDown: () => [this.row + page, this.column],
      PageUp: () => [this.row - page, this.column],
      Home: () => (ends ? [0, 0] : [this.row, 0]),
      End: () => (ends ? [this.count - 1, lastColumn] : [this.row, lastColumn]),
    };
    const move = moves[event.key];
    if (!move || event.altKey) return;
    event.preventDefault();
    const [row, column] = move();
    this.select(row, column);
  }

  /** Makes a cell the current one and brings it into view. */
  select(row: number, column: number): void {
    this.row = Math.min(this.count - 1, Math.max(0, row));
    this.column = Math.min(this.rows.columns.length - 1, Math.max(0, column));
    if (this.row < this.top) this.moveTo(this.row);
    else if (this.row >= this.top + this.rowsInView()) this.moveTo(this.row - this.rowsInView() + 1);
    this.draw();
    const cell = this.body.querySelector<HTMLElement>(".current");
    if (cell) this.reveal(cell);
    const name = this.rows.columns[this.column]?.name ?? "";
    const text = this.rows.text(this.row, this.column);
    this.readout.textContent = `${t("cell_at", { row: this.row + 1, column: name })}: ${text ?? t("null_value")}`;
  }

  private reveal(cell: HTMLElement): void {
    const fixed = this.table.rows.item(0)?.cells.item(0)?.offsetWidth ?? 0;
    const left = cell.offsetLeft - fixed;
    if (left < this.view.scrollLeft) this.view.scrollLeft = left;
    const right = cell.offsetLeft + cell.offsetWidth - this.view.clientWidth;
    if (right > this.view.scrollLeft) this.view.scrollLeft = right;
  }

  private clicked(event: MouseEvent): void {
    const cell = event.target instanceof Element ? event.target.closest("td") : null;
    const row = Number(cell?.parentElement?.dataset["row"] ?? NaN);
    if (cell && Number.isInteger(row)) this.select(row, cell.cellIndex - 1);
  }

  private copy(event: ClipboardEvent): void {
    if (getSelection()?.isCollapsed === false) return;
    event.clipboardData?.setData("text/plain", this.rows.text(this.row, this.column) ?? "");
    event.preventDefault();
  }
}
