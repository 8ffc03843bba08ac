// What one widget model knows, shared by all its views: schema, newest row, bounded history, cells, states.

import type { Model } from "./anywidget";
import { watchKernel } from "./kernel";
import { Ranks } from "./ranks";
import { Series } from "./series";
import { Watch } from "./watch";
import type { Cell, History, Message, Row, Schema } from "./wire";
import { WIRE_VERSION, decodeHistory, decodeRow, readMessage, readSchema } from "./wire";

/** What happened, so that a view redraws no more than it must. */
export type Change = "row" | "schema" | "history" | "cell" | "state" | "ranks" | "now";

const STOP_ANSWER_MS = 1000;
/** A snapshot older than this may be from before the page was loaded. */
const STALE_S = 5;
/** Longer without a row is silence, not a slow tick. */
const SILENCE_S = 10;
const MOST_CELLS = 500;

export class Store {
  schema: Schema | null = null;
  /** Counts the schemas that differ. */
  schemaNumber = 0;
  /** Column name → place in a row. */
  columns: ReadonlyMap<string, number> = new Map();
  series = new Series([]);
  /** Counts the series objects: what was derived from an earlier one is void. */
  seriesNumber = 0;
  row: Row | null = null;
  /** Rows received since the store was made. */
  rows = 0;
  /** Browser clock at which the newest row came, ms. */
  rowAt = NaN;
  cells: Cell[] = [];
  monitor: "running" | "idle" | "stopped" = "running";
  said = "";
  disconnected = false;
  /** History has come, or there is none to come: what is drawn is complete. */
  complete = false;
  /** Why nothing can be drawn. */
  refused = "";
  watch = new Watch();
  readonly ranks = new Ranks();

  readonly #listeners = new Set<(change: Change) => void>();
  readonly #model: Model;
  readonly #onMessage: (content: unknown, buffers: unknown) => void;
  #unwatch: () => void;
  #stopTimer: ReturnType<typeof setTimeout> | undefined;
  /** Id of the cell whose energy the newest row has; null where it does not say. */
  #rowCell: number | null = null;

  constructor(model: Model) {
    this.#model = model;
    this.#onMessage = (content, buffers) => this.#receive(content, Array.isArray(buffers) ? buffers : []);
    this.#adoptSchema(model.get("_schema"));
    this.#adoptCells(model.get("_cells"));
    const snapshot = this.schema && decodeHistory(model.get("_snapshot"), this.schema);
    if (snapshot) this.#adoptHistory(snapshot);
    this.#adoptRanks(model.get("_ranks"), model.get("_rank_numbers"));
    model.on("msg:custom", this.#onMessage as (...args: never[]) => void);
    this.#unwatch = watchKernel(model, (gone) => {
      if (gone === this.disconnected) return;
      this.disconnected = gone;
      this.#tell("state");
    });
    const age = this.schema ? Date.now() / 1000 - this.schema.wall_offset_s - this.series.newest : NaN;
    if (!(age < STALE_S)) this.#send({ k: "hello" });
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The store is over, the views may still stand: they keep the last values and say so. */
  close(): void {
    clearTimeout(this.#stopTimer);
    this.#model.off("msg:custom", this.#onMessage as (...args: never[]) => void);
    this.#unwatch();
    if (!this.disconnected) {
      this.disconnected = true;
      this.#tell("state");
    }
    this.#listeners.clear();
  }

  /** A value of the newest row; NaN where there is no such column or no row. */
  value(column: string): number {
    const i = this.columns.get(column);
    return i === undefined ? NaN : (this.row?.values[i] ?? NaN);
  }

  /** The cell that the panel is about: the running one, else the last. */
  get cell(): Cell | null {
    for (let i = this.cells.length - 1; i >= 0; i -= 1) {
      if (this.cells[i]?.state === "running") return this.cells[i] as Cell;
    }
    return this.cells.at(-1) ?? null;
  }

  stop(): void {
    this.#send({ k: "stop" });
    if (this.schema && !this.schema.subshells) return this.#say("stops when the cell ends");
    clearTimeout(this.#stopTimer);
    this.#stopTimer = setTimeout(() => this.#say("stops when the cell ends"), STOP_ANSWER_MS);
  }

  start(): void {
    this.#send({ k: "start" });
  }

  #send(content: unknown): void {
    try {
      this.#model.send(content);
    } catch {
      // the comm is closed: there is nobody to ask, and the panel says so
      this.disconnected = true;
      this.#tell("state");
    }
  }

  #say(text: string): void {
    this.said = text;
    this.#tell("state");
  }

  #tell(change: Change): void {
    for (const listener of [...this.#listeners]) listener(change);
  }

  #receive(content: unknown, buffers: readonly unknown[]): void {
    const message = readMessage(content);
    if (message) this.#take(message, buffers);
  }

  #take(message: Message, [buffer, second]: readonly unknown[]): void {
    switch (message.k) {
      case "row":
        this.ranks.take(message.ranks, second, (text) => this.watch.say(text));
        return this.#takeRow(buffer, message.cell);
      case "now":
        this.ranks.take(message.ranks, buffer, (text) => this.watch.say(text));
        return this.#tell("now");
      case "ranks":
        if (this.#adoptRanks(message.ranks, buffer)) this.#tell("ranks");
        return;
      case "schema":
        if (this.#adoptSchema(message.schema)) this.#tell("schema");
        return;
      case "history": {
        if (message.cells) this.#adoptCells(message.cells);
        const history = this.schema && decodeHistory(buffer, this.schema);
        if (history) this.#adoptHistory(history);
        return this.#tell("history");
      }
      case "cell":
        this.#adoptCell(message.cell);
        this.#blankOtherCell();
        return this.#tell("cell");
      case "state":
        clearTimeout(this.#stopTimer);
        this.monitor = message.state;
        this.said = message.text ?? "";
        return this.#tell("state");
      case "said":
        clearTimeout(this.#stopTimer);
        return this.#say(message.text);
    }
  }

  #takeRow(buffer: unknown, cell: number | null = null): void {
    const row = this.schema && decodeRow(buffer, this.schema);
    if (!row) return;
    const missed = this.value("resmon.missed");
    this.row = row;
    this.#rowCell = cell;
    this.#blankOtherCell();
    this.rows += 1;
    this.rowAt = Date.now();
    if (this.monitor === "idle") this.monitor = "running";
    this.#markGap(row.t, this.value("resmon.missed") > missed);
    const places = this.series.names.map((name) => this.columns.get(name));
    this.series.push(row.t, (c) => {
      const place = places[c];
      return place === undefined ? NaN : (row.values[place] as number);
    });
    this.watch.take(row.t, this);
    this.#tell("row");
  }

  /**
   * What did not come is not bridged: ticks that were missed, or the silence of an idle kernel. It kept measuring
   * through the latter, so the history is asked for again.
   */
  #markGap(t: number, missedMore: boolean): void {
    const interval = this.schema?.interval_s ?? 0;
    const jump = t - this.series.newest;
    const silent = jump > Math.max(6 * interval, SILENCE_S);
    if (silent || (missedMore && jump > 3 * interval)) this.series.push(this.series.newest + interval, () => NaN);
    if (silent) this.#send({ k: "hello" });
  }

  #adoptSchema(raw: unknown): boolean {
    const schema = readSchema(raw);
    if (!schema) {
      const version = (raw as { v?: unknown } | null | undefined)?.v;
      if (version !== undefined && version !== WIRE_VERSION) {
        this.refused = `this panel reads format ${WIRE_VERSION}, the kernel sends ${String(version)}: reload the page`;
      }
      return false;
    }
    this.refused = "";
    const same = this.schema?.revision === schema.revision && this.schema.columns.join() === schema.columns.join();
    this.schema = schema;
    if (same) return true;
    this.schemaNumber += 1;
    this.columns = new Map(schema.columns.map((name, i) => [name, i]));
    const names = [...new Set([...schema.timeline, ...schema.columns.filter(isDrawn)])];
    if (names.join() !== this.series.names.join()) this.#regrow(names);
    this.row = null;
    this.watch = new Watch(this.watch.count);
    return true;
  }

  /** Other columns, same past: what is new is unknown for the time before it came. */
  #regrow(names: readonly string[]): void {
    const old = this.series;
    const series = new Series(names);
    const columns = names.map((name) => old.mean(name));
    for (let i = 0; i < old.length; i += 1) series.push(old.t[i] as number, (c) => columns[c]?.[i] ?? NaN);
    this.series = series;
    this.seriesNumber += 1;
  }

  #adoptHistory(history: History): void {
    const schema = this.schema as Schema;
    const old = this.series;
    const series = new Series(old.names);
    const places = old.names.map((name) => schema.timeline.indexOf(name));
    for (let i = 0; i < history.t.length; i += 1) {
      series.push(history.t[i] as number, (c) => history.columns[places[c] as number]?.[i] ?? NaN);
    }
    // rows that came before the answer did
    for (let i = series.length ? old.firstAt(series.newest) : 0; i < old.length; i += 1) {
      series.push(old.t[i] as number, (c) => old.mean(old.names[c] as string)?.[i] ?? NaN);
    }
    this.series = series;
    this.seriesNumber += 1;
    this.complete = true;
  }

  #adoptRanks(raw: unknown, buffer: unknown): boolean {
    return this.ranks.adopt(raw, buffer, (text) => this.watch.say(text));
  }

  #adoptCells(raw: unknown): void {
    if (!Array.isArray(raw)) return;
    for (const cell of raw as Cell[]) this.#adoptCell(cell);
  }

  /** What a row says of one cell is not shown as that of another. */
  #blankOtherCell(): void {
    if (this.#rowCell === null || !this.row || this.cell?.id === this.#rowCell) return;
    for (const [name, i] of this.columns) if (OF_CELL.test(name)) this.row.values[i] = NaN;
  }

  #adoptCell(cell: Cell): void {
    const at = this.cells.findIndex((c) => c.id === cell.id);
    if (at >= 0) this.cells[at] = cell;
    else this.cells.push(cell);
    this.cells.sort((a, b) => (a.t0 ?? Infinity) - (b.t0 ?? Infinity) || a.id - b.id);
    if (this.cells.length > MOST_CELLS) this.cells.splice(0, this.cells.length - MOST_CELLS);
  }
}

const OF_CELL = /^(cell\.|energy\.\d+\.cell_j$)/;
const HOST_DRAWN = /^host\.(cpu_utilization|memory_(used|tree)_bytes|disk_\w+|net_\w+|power_w)$/;
const GPU_DRAWN = /^gpu\.\d+\.(utilization|memory_(used|own)_bytes|power_w)$/;

function isDrawn(column: string): boolean {
  return HOST_DRAWN.test(column) || GPU_DRAWN.test(column);
}
