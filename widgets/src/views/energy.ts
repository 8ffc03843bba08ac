// Energy of this cell and of the session: measured and estimated are two rows on one scale, never one total.

import { Picture, hatch } from "../canvas";
import { h, setAttribute, setHidden, setText, setTip, swatch } from "../dom";
import type { EnergyText } from "../format";
import {
  THIN,
  UNKNOWN,
  estimatedParts,
  format_duration,
  known,
  measuredParts,
  powerParts,
} from "../format";
import type { Frame, Section } from "../frame";
import type { Store } from "../store";
import type { Palette } from "../theme";
import type { Basis, EnergySourceSchema, Schema } from "../wire";

const NAMES: Record<string, string> = {
  J: "joule",
  kJ: "kilojoule",
  MJ: "megajoule",
  GJ: "gigajoule",
  mWh: "milliwatt hour",
  Wh: "watt hour",
  kWh: "kilowatt hour",
  MWh: "megawatt hour",
};
/** Full scales of the energy bars, times a power of ten: they grow in steps, so that bars rarely rescale. */
const SCALES = [1, 1.5, 2, 3, 5, 7.5, 10];
const BAR_TOP = 3;
const BAR_HEIGHT = 12;

interface Source {
  readonly schema: EnergySourceSchema;
  readonly j: number;
}

class EnergyValue {
  readonly el = h("span", "rm-energy-value");
  readonly #value = h("b");
  readonly #interval = h("span", "rm-interval");
  readonly #unit = h("span", "rm-energy-unit");
  #prefix: number | undefined;

  constructor() {
    this.el.append(this.#value, this.#interval, this.#unit);
  }

  show(text: EnergyText): void {
    this.#prefix = text.value === UNKNOWN ? this.#prefix : text.prefix;
    setText(this.#value, text.value);
    setText(this.#interval, text.interval && ` ${text.interval}`);
    setText(this.#unit, THIN + text.unit);
  }

  get prefix(): number | undefined {
    return this.#prefix;
  }

  forget(): void {
    this.#prefix = undefined;
  }
}

class EnergyRow {
  readonly el: HTMLTableRowElement;
  readonly basis: Basis;
  readonly #caption = h("span", "rm-sub");
  readonly #cell = new EnergyValue();
  readonly #session = new EnergyValue();
  readonly #cellBox = h("td", "rm-energy-cell", this.#cell.el);
  readonly #bar = new Picture("rm-energy-bar", BAR_TOP * 2 + BAR_HEIGHT);
  readonly #parts = h("div", "rm-parts");
  readonly #share = h("td", "rm-share", this.#bar.el, this.#parts);
  readonly #now = h("b");
  readonly #nowUnit = h("span");
  readonly #without = h("span", "rm-sub");
  unit = "";
  #drawn = "";
  #palette: Palette | null = null;

  constructor(basis: Basis) {
    this.basis = basis;
    const how = h("th", "rm-how", h("span", "rm-word", swatch(basis), h("b", "", basis)), this.#caption);
    how.scope = "row";
    const session = h("td", "rm-session", h("span", "rm-key", "session"), this.#session.el);
    const now = h("td", "rm-now", h("span", "rm-now-value", this.#now, this.#nowUnit), this.#without);
    this.el = h("tr", "rm-energy-row", how, this.#cellBox, this.#share, session, now);
  }

  get prefix(): number | undefined {
    return this.#cell.prefix;
  }

  forgetPrefixes(): void {
    this.#cell.forget();
    this.#session.forget();
  }

  resize(): void {
    if (this.#bar.measure()) this.#drawn = "";
  }

  /** `prefix` is that of the leading row, in which an unknown value is written. */
  text(frame: Frame, prefix?: number): void {
    const { store, schema, unit } = frame;
    const measured = this.basis === "measured";
    const parts = measured ? measuredParts : estimatedParts;
    const read = (scope: string): [number, number, number] => [
      store.value(`${scope}.${this.basis}_j`),
      store.value(`${scope}.${this.basis}_low_j`),
      store.value(`${scope}.${this.basis}_high_j`),
    ];
    setText(this.#caption, (measured ? schema.measured_caption : schema.estimated_caption) || "no counter");
    const cell = parts(...read("cell"), unit, this.#cell.prefix ?? prefix);
    this.#cell.show(cell);
    this.unit = cell.unit;
    this.#session.show(parts(...read("session"), unit, this.#session.prefix ?? prefix));
    const unknown = cell.value === UNKNOWN;
    const reason = measured && schema.no_measured_reason ? schema.no_measured_reason : "";
    const pieces = unknown && reason ? [`${reason}, see `, h("span", "rm-code", "%resmon doctor")] : partTexts(sourcesOf(store, schema, this.basis), cell, unit);
    setParts(this.#parts, pieces);
    setAttribute(this.#share, "data-reason", unknown && reason ? "" : null);
    setTip(this.#cellBox, unknown && store.row ? reason || "no energy was seen in this cell yet" : null);
    if (unknown) this.#cellBox.tabIndex = 0;
    else this.#cellBox.removeAttribute("tabindex");
    this.#cellBox.setAttribute("aria-label", spoken(this.basis, "this cell", cell, reason));
    this.#power(frame);
  }

  graphics(frame: Frame, full: number): void {
    const { store, schema, theme } = frame;
    const { palette } = theme;
    const sources = sourcesOf(store, schema, this.basis);
    const [value, low, high] = ["", "_low", "_high"].map((end) => store.value(`cell.${this.basis}${end}_j`)) as [number, number, number];
    const x = (j: number): number => (j / full) * this.#bar.width;
    const places = [value, low, high, ...sources.map(({ j }) => j)].map((j) => Math.round(2 * x(j)));
    const key = [...places, this.#bar.width, store.row === null].join();
    if (key === this.#drawn && palette === this.#palette) return;
    const c = this.#bar.begin();
    if (!c) return;
    this.#drawn = key;
    this.#palette = palette;
    const { width, ratio } = this.#bar;
    let start = 0;
    for (const { schema: source, j } of sources) {
      if (!known(j) || j <= 0) continue;
      const [from, to] = [x(start), x(start + j)];
      const color = palette[source.resource as keyof Palette] ?? palette.text;
      const wide = Math.max(0, to - from - (start > 0 ? 1 : 0));
      const left = start > 0 ? from + 1 : from;
      if (this.basis === "measured") {
        c.fillStyle = color;
        c.fillRect(left, BAR_TOP, wide, BAR_HEIGHT);
      } else {
        c.save();
        c.setTransform(1, 0, 0, 1, 0, 0);
        c.fillStyle = hatch(c, color, palette.surface, ratio);
        c.fillRect(left * ratio, BAR_TOP * ratio, wide * ratio, BAR_HEIGHT * ratio);
        c.restore();
        c.strokeStyle = color;
        c.lineWidth = 1;
        if (wide > 1) c.strokeRect(left + 0.5, BAR_TOP + 0.5, wide - 1, BAR_HEIGHT - 1);
      }
      start += j;
    }
    if (known(value) && known(low) && known(high) && high > 0) whisker(c, x(low), x(high), palette);
    if (!known(value) && store.row) uncovered(c, width, palette);
  }

  #power({ store, schema }: Frame): void {
    const watts: number[] = [];
    const without: string[] = [];
    const add = (basis: string, label: string, value: number): void => {
      if (basis !== this.basis) return;
      if (known(value)) watts.push(value);
      else without.push(label);
    };
    schema.gpus.forEach((gpu, i) => add(gpu.power_basis, gpu.label, store.value(`gpu.${i}.power_w`)));
    add(schema.host.power_basis, schema.host.label, store.value("host.power_w"));
    const sum = watts.length ? watts.reduce((a, b) => a + b, 0) : NaN;
    const { value, unit } = powerParts(sum);
    setText(this.#now, value);
    setText(this.#nowUnit, THIN + unit);
    const partial = watts.length > 0 && without.length > 0;
    setText(this.#without, partial ? `without ${listed(without)}` : "");
    setTip(this.#without, partial && without.length > 1 ? without.join(", ") : null);
  }
}

function uncovered(c: CanvasRenderingContext2D, width: number, palette: Palette): void {
  c.strokeStyle = palette.muted;
  c.lineWidth = 1;
  c.setLineDash([3, 2]);
  c.strokeRect(0.5, BAR_TOP + 0.5, width - 1, BAR_HEIGHT - 1);
  c.setLineDash([]);
}

function listed(names: readonly string[]): string {
  return names.length === 1 ? (names[0] as string) : `${names.length} devices`;
}

function whisker(c: CanvasRenderingContext2D, low: number, high: number, palette: Palette): void {
  const middle = BAR_TOP + BAR_HEIGHT / 2;
  const [top, bottom] = [BAR_TOP + 0.5, BAR_TOP + BAR_HEIGHT - 0.5];
  const left = Math.max(1, Math.round(low));
  const right = Math.max(left + 2, Math.round(high) - 1);
  const path = (): void => {
    c.beginPath();
    c.moveTo(left, top);
    c.lineTo(left, bottom);
    c.moveTo(left, middle);
    c.lineTo(right, middle);
    c.moveTo(right, top);
    c.lineTo(right, bottom);
    c.stroke();
  };
  c.lineCap = "square";
  c.strokeStyle = palette.surface;
  c.lineWidth = 3.4;
  path();
  c.strokeStyle = palette.text;
  c.lineWidth = 1.4;
  path();
  c.lineCap = "butt";
}

function sourcesOf(store: Store, schema: Schema, basis: Basis): Source[] {
  return schema.energy
    .map((source, i) => ({ schema: source, j: store.value(`energy.${i}.cell_j`) }))
    .filter((source) => source.schema.basis === basis);
}

function setParts(el: HTMLElement, pieces: readonly (Node | string)[]): void {
  const text = pieces.map((piece) => (typeof piece === "string" ? piece : piece.textContent)).join("");
  if (el.textContent === text) return;
  el.replaceChildren(...pieces);
  setTip(el, text);
}

const NAMED_SOURCES = 2;

/** "GPU 0 82 + GPU 1 74", or "8 GPUs 1.05" where there are more than a line holds. */
function partTexts(sources: readonly Source[], total: EnergyText, unit: Frame["unit"]): (Node | string)[] {
  const seen = sources.filter((s) => known(s.j));
  const lost = sources.filter((s) => !known(s.j)).map((s) => s.schema.label);
  if (!seen.length || total.value === UNKNOWN) return [];
  const groups = new Map<string, { label: string; j: number; count: number }>();
  for (const { schema, j } of seen) {
    const key = seen.length <= NAMED_SOURCES ? schema.id : schema.resource;
    const group = groups.get(key) ?? { label: schema.label, j: 0, count: 0 };
    group.j += j;
    group.count += 1;
    if (group.count > 1) group.label = `${group.count} ${schema.resource === "gpu" ? "GPUs" : schema.resource.toUpperCase()}`;
    groups.set(key, group);
  }
  const nodes: (Node | string)[] = [];
  for (const { label, j } of groups.values()) {
    if (nodes.length) nodes.push(" + ");
    nodes.push(`${label} `, h("b", "", inPrefix(j, total, unit)));
  }
  if (lost.length) nodes.push(` · without ${listed(lost)}`);
  return nodes;
}

/** A part written with the prefix and the places of its total. */
function inPrefix(j: number, total: EnergyText, unit: Frame["unit"]): string {
  const text = measuredParts(j, null, null, unit, total.prefix);
  if (text.prefix !== total.prefix) return `${text.value}${THIN}${text.unit}`;
  const decimals = total.value.split(".")[1]?.length ?? 0;
  return Number.isFinite(Number(text.value)) ? Number(text.value).toFixed(Math.min(decimals, 2)) : text.value;
}

function spoken(basis: Basis, scope: string, text: EnergyText, reason: string): string {
  if (text.value === UNKNOWN) return `${basis}, ${scope}, unknown${reason ? `: ${reason}` : ""}`;
  const unit = NAMES[text.unit] ?? text.unit;
  if (text.interval.startsWith("±")) {
    return `${basis}, ${scope}, ${text.value} plus or minus ${text.interval.slice(2)} ${unit}, 95 percent`;
  }
  const bounds = /^\[(.+), (.+)\]$/.exec(text.interval);
  const range = bounds ? `, from ${bounds[1]} to ${bounds[2]}, 95 percent` : "";
  return `${basis}, ${scope}, ${text.value.replace("<", "less than")} ${unit}${range}`;
}

/** The smallest step that holds both rows. */
function fullScale(store: Store): number {
  const highs = ["measured", "estimated"].flatMap((b) => [store.value(`cell.${b}_high_j`), store.value(`cell.${b}_j`)]);
  const most = Math.max(0, ...highs.filter(known)) * 1.02;
  if (most <= 0) return 1;
  const decade = 10 ** Math.floor(Math.log10(most));
  return (SCALES.find((s) => s * decade >= most) ?? 10) * decade;
}

export class EnergySection implements Section {
  readonly el = h("div", "rm-energy");
  readonly #measured = new EnergyRow("measured");
  readonly #estimated = new EnergyRow("estimated");
  readonly #session = h("th", "rm-session-heading");
  readonly #notCovered = h("span", "rm-not-covered-list");
  readonly #body = h("tbody");
  readonly #bottom: HTMLElement;
  #unit: Frame["unit"] | undefined;
  #cell: number | undefined;
  #leading: EnergyRow = this.#measured;

  constructor() {
    const heading = (text: string, className = ""): HTMLElement => h("th", className, text);
    const head = h(
      "tr",
      "rm-energy-row rm-energy-head",
      heading("Energy", "rm-how"),
      heading("This cell", "rm-energy-cell"),
      h("td", "rm-share"),
      this.#session,
      heading("Now", "rm-now"),
    );
    const how = h("th", "rm-how", h("span", "rm-word", swatch("uncovered"), "not covered"));
    this.#bottom = h("tr", "rm-energy-row rm-not-covered", how, h("td", "rm-energy-cell", this.#notCovered));
    const table = h("table", "rm-energy-table", h("thead", "", head), this.#body);
    this.el.append(table);
    // a grid takes the table's meaning away in some browsers: the roles bring it back
    table.setAttribute("role", "table");
    table.setAttribute("aria-label", "energy");
    for (const group of table.querySelectorAll("thead, tbody")) group.setAttribute("role", "rowgroup");
    for (const row of [head, this.#measured.el, this.#estimated.el, this.#bottom]) {
      row.setAttribute("role", "row");
      for (const cell of row.children) {
        const role = cell.tagName === "TD" ? "cell" : row === head ? "columnheader" : "rowheader";
        cell.setAttribute("role", role);
      }
    }
  }

  /** Prefix and unit of the headline, for the units button. */
  get headlineUnit(): string {
    return this.#leading.unit;
  }

  build({ schema }: Frame): void {
    const measured = schema.energy.some((source) => source.basis === "measured");
    const estimated = schema.energy.some((source) => source.basis === "estimated");
    const rows = measured || !estimated ? [this.#measured, this.#estimated] : [this.#estimated, this.#measured];
    this.#leading = rows[0] as EnergyRow;
    rows.forEach((row, i) => row.el.classList.toggle("rm-headline", i === 0));
    setHidden(this.#estimated.el, !estimated);
    this.#body.replaceChildren(...rows.map((row) => row.el), this.#bottom);
  }

  resize(frame: Frame): void {
    this.#measured.resize();
    this.#estimated.resize();
    this.graphics(frame);
  }

  text(frame: Frame): void {
    const { store, schema, unit } = frame;
    if (unit !== this.#unit || store.cell?.id !== this.#cell) {
      this.#unit = unit;
      this.#cell = store.cell?.id;
      this.#measured.forgetPrefixes();
      this.#estimated.forgetPrefixes();
    }
    this.#leading.text(frame);
    const second = this.#leading === this.#measured ? this.#estimated : this.#measured;
    second.text(frame, this.#leading.prefix);
    setText(this.#session, sessionHeading(frame));
    const now = store.row?.t ?? NaN;
    const lost = store.watch.lost.filter((l) => l.what === "power");
    const gone = lost.map((l) => `${l.device} for the last ${Math.round(now - l.since)} s`);
    const names = schema.not_covered.join(", ");
    const list = [names, ...gone].filter(Boolean).join(" · ");
    setText(this.#notCovered, list);
    setHidden(this.#bottom, !list);
    setTip(this.#notCovered, list);
  }

  graphics(frame: Frame): void {
    const full = fullScale(frame.store);
    this.#measured.graphics(frame, full);
    this.#estimated.graphics(frame, full);
  }
}

function sessionHeading({ store, schema, size }: Frame): string {
  if (size === "narrow") return "";
  const cells = store.cells.length;
  const count = cells === 1 ? "1 cell" : `${cells} cells`;
  const started = schema.session_started_s;
  const seconds = started === null ? NaN : (store.row?.t ?? store.series.newest) - started;
  if (!known(seconds)) return cells ? `Session, ${count}` : "Session";
  const minutes = Math.floor(seconds / 60);
  const short = minutes < 1 ? `${Math.max(0, Math.floor(seconds))}${THIN}s` : `${minutes}${THIN}min`;
  const long = minutes < 60 ? short : `${format_duration(minutes)}${THIN}h`;
  return `Session, ${count}, ${long}`;
}
