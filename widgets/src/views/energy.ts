// Energy of this cell and of the session: measured and estimated are two rows on one scale, never one total.

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
import type { Basis } from "../wire";
import { EnergyBar, fullScale, sourcesOf, type Source } from "./energybar";

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
    const long = text.value.length + text.interval.length + text.unit.length;
    setAttribute(this.el, "data-long", long > 15 ? "very" : text.unit.length > 3 ? "" : null);
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
  readonly #bar: EnergyBar;
  readonly #parts = h("div", "rm-parts");
  readonly #share: HTMLElement;
  readonly #now = h("b");
  readonly #nowUnit = h("span");
  readonly #without = h("span", "rm-sub");
  unit = "";

  constructor(basis: Basis) {
    this.basis = basis;
    this.#bar = new EnergyBar(basis);
    this.#share = h("td", "rm-share", this.#bar.el, this.#parts);
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
    this.#bar.resize();
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
    const caption = (measured ? schema.measured_caption : schema.estimated_caption) || "no counter";
    setText(this.#caption, caption);
    setTip(this.#caption, caption);
    const cell = parts(...read("cell"), unit, this.#cell.prefix ?? prefix);
    this.#cell.show(cell);
    this.unit = cell.unit;
    this.#session.show(parts(...read("session"), unit, this.#session.prefix ?? prefix));
    const unknown = cell.value === UNKNOWN;
    const reason = measured && schema.no_measured_reason ? schema.no_measured_reason : "";
    const pieces = unknown && reason ? [`${reason}, see `, h("span", "rm-code", "%resmon doctor")] : partTexts(sourcesOf(store, schema, this.basis), cell, unit);
    setParts(this.#parts, pieces);
    setAttribute(this.#share, "data-reason", unknown && reason ? "" : null);
    setTip(this.#cellBox, unknown ? (store.row ? reason || "no energy was seen in this cell yet" : null) : unit.about || null);
    if (unknown || unit.about) this.#cellBox.tabIndex = 0;
    else this.#cellBox.removeAttribute("tabindex");
    this.#cellBox.setAttribute("aria-label", spoken(this.basis, "this cell", cell, reason));
    this.#power(frame);
  }

  graphics(frame: Frame, full: number): void {
    this.#bar.draw(frame, full);
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

function listed(names: readonly string[]): string {
  return names.length === 1 ? (names[0] as string) : `${names.length} devices`;
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
export function inPrefix(j: number, total: EnergyText, unit: Frame["unit"]): string {
  const text = measuredParts(j, null, null, unit, total.prefix);
  if (text.prefix !== total.prefix) return `${text.value}${THIN}${text.unit}`;
  const value = Number(text.value);
  if (!Number.isFinite(value)) return text.value;
  const decimals = total.value.split(".")[1]?.length ?? 0;
  // an estimate ends in zeros where nothing is known of its last places: nor is it of its parts
  const zeros = decimals || !total.interval.startsWith("[") ? 0 : (/0*$/.exec(total.value)?.[0].length ?? 0);
  const place = 10 ** Math.max(0, Math.min(zeros, Math.floor(Math.log10(value))));
  return (zeros ? Math.round(value / place) * place : value).toFixed(Math.min(decimals, 4));
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
