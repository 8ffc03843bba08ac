// The timeline: strips over one time axis and one crosshair.

import { h, icon, setAttribute, setHidden, setText } from "../dom";
import type { Frame, Section } from "../frame";
import { density } from "../frame";
import { clock } from "../state";
import type { Store } from "../store";
import { cellName } from "../views/header";
import { RANGES, spread, windowOf, type Range, type Window } from "./axis";
import { AXIS_HEIGHT, Ground, LABELS_HEIGHT, STRIP_GAP, type Geometry } from "./ground";
import { Gestures } from "./gestures";
import { DASHES, Plot } from "./plot";
import { stripsOf, type Line } from "./strips";

const LABEL_GAP = 14;
const RIGHT = 92;
const SUMMARY_MS = 5000;
const SHORTEST_S = 2;

interface EndLabel {
  readonly el: HTMLElement;
  readonly word: HTMLElement;
  readonly line: Line;
  readonly plot: Plot;
  readonly top: number;
}

export class Timeline implements Section {
  readonly el = h("div", "rm-timeline");
  readonly #readout = h("span", "rm-readout");
  readonly #ranges = h("div", "rm-ranges");
  readonly #plot = h("div", "rm-plot");
  readonly #ends = h("div", "rm-ends");
  readonly #legend = h("div", "rm-legend");
  readonly #cross = h("div", "rm-cross");
  readonly #selection = h("div", "rm-selection");
  readonly #markers = h("div", "rm-markers");
  readonly #ground = new Ground();
  readonly #gestures: Gestures;
  #plots: { plot: Plot; top: number; title: HTMLElement }[] = [];
  #labels: EndLabel[] = [];
  #range: Range = "10 min";
  #zoom: Window | null = null;
  #crossAt: number | null = null;
  #frame: Frame | null = null;
  #geometry: Geometry = { left: 0, width: 0, height: 0, plots: [] };
  #shown: Window = { from: 0, to: 1 };
  #drawn = "";
  #builtFor = "";
  #summaryAt = -Infinity;

  constructor() {
    this.#ranges.setAttribute("role", "radiogroup");
    this.#ranges.setAttribute("aria-label", "time range");
    for (const range of RANGES) {
      const button = h("button", "rm-button", range);
      button.type = "button";
      button.dataset["range"] = range;
      button.setAttribute("role", "radio");
      button.addEventListener("click", () => this.#choose(range));
      this.#ranges.append(button);
    }
    this.#ranges.addEventListener("keydown", (event) => this.#arrowRange(event));
    this.#markRange();
    const head = h("div", "rm-timeline-head", h("span", "rm-timeline-name", "Timeline"), this.#readout, this.#ranges);
    this.#plot.tabIndex = 0;
    this.#plot.setAttribute("role", "img");
    this.el.append(head, this.#legend, this.#plot);
    this.#gestures = new Gestures(this.#plot, this.#selection, {
      timeAt: (x) => this.#timeAt(x),
      cross: (t) => this.#moveCross(t),
      step: (by) => this.#stepCross(by),
      end: (first) => this.#endCross(first),
      zoomBy: (factor, around) => this.#zoomBy(factor, around),
      zoomTo: (from, to) => this.#zoomTo(from, to),
      reset: () => this.#reset(),
    });
  }

  destroy(): void {
    this.#gestures.destroy();
    for (const { plot } of this.#plots) plot.destroy();
    this.#plots = [];
  }

  build(frame: Frame): void {
    this.#frame = frame;
    this.#builtFor = "";
  }

  resize(frame: Frame): void {
    this.#frame = frame;
    this.#rebuild(frame);
    this.#place(frame);
    this.#drawn = "";
    for (const { plot } of this.#plots) plot.recolour();
  }

  text(frame: Frame): void {
    this.#frame = frame;
    this.#draw(frame);
    this.#moveLabels(frame);
    this.#showCross(frame);
    this.#summarise(frame);
  }

  graphics(frame: Frame): void {
    this.#frame = frame;
    this.#draw(frame);
  }

  /** New strips when what they show changed: another size, density, or series object. */
  #rebuild(frame: Frame): void {
    const { store, schema, size, theme, expanded } = frame;
    const key = `${schema.revision} ${size} ${density(frame)} ${expanded} ${store.seriesNumber}`;
    if (key === this.#builtFor) return;
    this.#builtFor = key;
    for (const { plot } of this.#plots) plot.destroy();
    let top = LABELS_HEIGHT;
    this.#plots = stripsOf(schema, store.series, size, density(frame) !== "full", expanded).map((strip) => {
      const plot = new Plot(strip, () => theme.palette);
      const at = top;
      top += strip.height + STRIP_GAP;
      plot.el.style.top = `${at}px`;
      plot.el.style.height = `${strip.height}px`;
      const title = h("span", "rm-strip-title");
      title.style.top = `${at + 2}px`;
      return { plot, top: at, title };
    });
    const height = top - STRIP_GAP + AXIS_HEIGHT;
    this.#plot.style.height = `${height}px`;
    this.#geometry = { ...this.#geometry, height, plots: this.#plots };
    const layers = this.#plots.flatMap(({ plot, title }) => [plot.el, title]);
    this.#plot.replaceChildren(this.#ground.picture.el, ...layers, this.#ends, this.#markers, this.#cross, this.#selection);
    this.#cross.style.height = `${height - AXIS_HEIGHT - LABELS_HEIGHT + 4}px`;
    this.#selection.style.height = this.#cross.style.height;
    this.#nameLines(frame);
  }

  #nameLines({ size, theme }: Frame): void {
    const narrow = size === "narrow";
    this.#labels = [];
    this.#ends.replaceChildren();
    this.#legend.replaceChildren();
    this.#plots.forEach(({ plot, top }, p) => {
      // the topmost layer of a stack is named first
      for (const line of [...plot.strip.lines].reverse()) {
        const word = h("span", "", line.name);
        const el = h("span", "rm-line-name", lineSwatch(line, theme.palette[line.color]), word);
        if (!narrow) this.#labels.push({ el, word, line, plot, top });
        if (narrow ? p === 0 : true) (narrow ? this.#legend : this.#ends)[narrow ? "prepend" : "append"](el);
      }
    });
    setHidden(this.#legend, !narrow);
  }

  #place(frame: Frame): void {
    const { size, width, theme } = frame;
    const side = size === "narrow" ? 10 : 16;
    const left = size === "narrow" ? 31 : 34;
    const inner = width - 2 - 2 * side;
    const wide = inner - left - (size === "narrow" ? 0 : RIGHT);
    this.#geometry = { ...this.#geometry, left, width: wide };
    this.#ground.picture.setHeight(this.#geometry.height);
    this.#ground.picture.measure();
    for (const { plot, title } of this.#plots) {
      plot.el.style.left = `${left}px`;
      plot.el.style.width = `${wide}px`;
      title.style.left = `${left + 4}px`;
      plot.resize(wide);
    }
    this.#ends.style.left = `${left + wide + 6}px`;
    for (const { el, line } of this.#labels) {
      el.querySelector("path")?.setAttribute("stroke", theme.palette[line.color]);
    }
    for (const [i, el] of [...this.#legend.children].entries()) {
      const line = this.#plots[0]?.plot.strip.lines[i];
      if (line) el.querySelector("path")?.setAttribute("stroke", theme.palette[line.color]);
    }
  }

  /** Draws when something moved by at least a pixel. */
  #draw(frame: Frame): void {
    const { store, schema, theme } = frame;
    if (this.#builtFor && !this.#builtFor.endsWith(` ${store.seriesNumber}`)) {
      this.#rebuild(frame);
      this.#place(frame);
    }
    const { series } = store;
    const window = this.#zoom ?? windowOf(this.#range, series);
    const pixel = (window.to - window.from) / Math.max(1, this.#geometry.width);
    const cells = store.cells.map((cell) => `${cell.id}${cell.state}`).join();
    const newest = this.#zoom && this.#zoom.to < series.newest - pixel ? "past" : Math.floor(series.newest / pixel);
    const key = `${window.to - window.from} ${Math.floor(window.from / pixel)} ${newest} ${series.epoch} ${cells}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.#shown = window;
    for (const { plot, title } of this.#plots) {
      plot.draw(series, window);
      setText(title, plot.strip.title(plot.top));
    }
    this.#ground.draw(this.#geometry, window, store.cells, series.newest, schema.wall_offset_s, theme.palette);
    this.#moveCrossLine(store);
  }

  #moveLabels({ store }: Frame): void {
    setHidden(this.#ends, !store.series.length);
    const first = store.series.firstAt(this.#shown.from);
    const last = Math.min(store.series.length, store.series.firstAt(this.#shown.to) + 1) - 1;
    for (const { plot, top } of this.#plots) {
      const labels = this.#labels.filter((label) => label.plot === plot);
      const wanted = labels.map(({ line }) => {
        const at = lastKnown(line, first, last);
        return Number.isNaN(at) ? plot.strip.height : plot.y(at);
      });
      for (const { word, line } of labels) setText(word, line.name);
      const places = spread(wanted, LABEL_GAP, plot.strip.height + 2);
      labels.forEach(({ el }, i) => {
        const transform = `translateY(${Math.round(top + (places[i] as number) - 8)}px)`;
        if (el.style.transform !== transform) el.style.transform = transform;
      });
    }
  }

  // ---- crosshair

  #timeAt(x: number): number {
    const { left, width } = this.#geometry;
    const part = Math.min(1, Math.max(0, (x - left) / Math.max(1, width)));
    return this.#shown.from + part * (this.#shown.to - this.#shown.from);
  }

  #moveCross(t: number | null): void {
    const series = this.#frame?.store.series;
    const i = t === null || !series ? -1 : series.nearest(t);
    this.#crossAt = i < 0 || !series ? null : (series.t[i] as number);
    if (this.#frame) this.#showCross(this.#frame);
  }

  #stepCross(by: number): void {
    const series = this.#frame?.store.series;
    if (!series?.length) return;
    const at = this.#crossAt === null ? series.length - 1 : series.nearest(this.#crossAt) + by;
    const i = Math.min(series.length - 1, Math.max(0, at));
    const t = series.t[i] as number;
    this.#keepVisible(t);
    this.#moveCross(t);
  }

  #endCross(first: boolean): void {
    const series = this.#frame?.store.series;
    if (!series?.length) return;
    const from = series.firstAt(this.#shown.from);
    const to = Math.min(series.length - 1, series.firstAt(this.#shown.to));
    this.#moveCross(series.t[first ? from : to] as number);
  }

  #keepVisible(t: number): void {
    const { from, to } = this.#shown;
    if (t >= from && t <= to) return;
    const shift = t < from ? t - from : t - to;
    this.#zoomTo(from + shift, to + shift);
  }

  #showCross(frame: Frame): void {
    this.#moveCrossLine(frame.store);
    const { store, size } = frame;
    const i = this.#crossAt === null ? -1 : store.series.nearest(this.#crossAt);
    if (i < 0) {
      if (this.#readout.childElementCount) this.#readout.replaceChildren();
      setAttribute(this.el, "data-cross", null);
      return;
    }
    setAttribute(this.el, "data-cross", "");
    const t = store.series.t[i] as number;
    const facts: HTMLElement[] = [h("b", "", clock(store, t))];
    const cell = cellAt(store, t);
    if (cell) facts.push(h("span", "rm-readout-cell", cell));
    for (const { plot } of this.#plots) {
      for (const line of plot.strip.lines) {
        const text = line.read(i);
        if (!text || (line.kept === "wide" && size === "medium")) continue;
        const name = plot.strip.id === "power" ? line.name.replace(/^\+ /, "").replace(/^\d+ /, "") : line.name;
        facts.push(h("span", "", `${name} `, h("b", "", text)));
      }
    }
    this.#readout.replaceChildren(...facts);
  }

  #moveCrossLine(store: Store): void {
    const t = this.#crossAt;
    const { from, to } = this.#shown;
    const hidden = t === null || t < from || t > to;
    setHidden(this.#cross, hidden);
    setHidden(this.#markers, hidden);
    if (hidden) return;
    const x = this.#geometry.left + ((t - from) / (to - from)) * this.#geometry.width;
    this.#cross.style.transform = `translate(${Math.round(x)}px, ${LABELS_HEIGHT - 3}px)`;
    const i = store.series.nearest(t);
    const markers: HTMLElement[] = [];
    for (const { plot, top } of this.#plots) {
      for (const line of plot.strip.lines) {
        const value = line.at(i);
        if (Number.isNaN(value)) continue;
        const el = h("i", "rm-marker");
        el.dataset["resource"] = line.color;
        el.style.transform = `translate(${Math.round(x) - 3.5}px, ${Math.round(top + plot.y(value)) - 4}px)`;
        markers.push(el);
      }
    }
    this.#markers.replaceChildren(...markers);
  }

  // ---- range and zoom

  #choose(range: Range): void {
    this.#range = range;
    this.#zoom = null;
    this.#markRange();
    this.#redraw();
  }

  #markRange(): void {
    for (const button of this.#ranges.children) {
      const chosen = (button as HTMLElement).dataset["range"] === this.#range;
      button.setAttribute("aria-checked", String(chosen));
      (button as HTMLElement).tabIndex = chosen ? 0 : -1;
    }
    setAttribute(this.#ranges, "data-zoomed", this.#zoom ? "" : null);
  }

  #arrowRange(event: KeyboardEvent): void {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const range = RANGES[(RANGES.indexOf(this.#range) + by + RANGES.length) % RANGES.length] as Range;
    this.#choose(range);
    (this.#ranges.querySelector('[aria-checked="true"]') as HTMLElement).focus();
  }

  #zoomBy(factor: number, around?: number): void {
    const { from, to } = this.#shown;
    const fixed = around ?? this.#crossAt ?? to;
    this.#zoomTo(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
  }

  #zoomTo(from: number, to: number): void {
    const series = this.#frame?.store.series;
    if (!series?.length) return;
    const whole = { from: series.oldest, to: Math.max(series.newest, series.oldest + 60) };
    const span = Math.min(whole.to - whole.from, Math.max(SHORTEST_S, to - from));
    const start = Math.min(Math.max(whole.from, from), whole.to - span);
    this.#zoom = { from: start, to: start + span };
    this.#markRange();
    this.#redraw();
  }

  #reset(): void {
    this.#zoom = null;
    this.#crossAt = null;
    this.#markRange();
    this.#redraw();
  }

  #redraw(): void {
    if (this.#frame) this.text(this.#frame);
  }

  /** One sentence for those who do not see it, refreshed at leisure. */
  #summarise({ store }: Frame): void {
    const now = performance.now();
    if (now - this.#summaryAt < SUMMARY_MS || !store.series.length) return;
    this.#summaryAt = now;
    const last = store.series.length - 1;
    const values = this.#plots.flatMap(({ plot }) => plot.strip.lines.map((line) => [line.name.replace(/^\+ /, ""), line.read(last)] as const));
    const read = values.filter(([, text]) => text).map(([name, text]) => `${name} ${text}`);
    const cells = store.cells.filter((cell) => (cell.t1 ?? Infinity) > this.#shown.from && (cell.t0 ?? Infinity) < this.#shown.to).length;
    const span = `${clock(store, this.#shown.from)} to ${clock(store, Math.min(this.#shown.to, store.series.newest))}`;
    setAttribute(this.#plot, "aria-label", `Timeline from ${span}, ${cells} cells; now ${read.join(", ")}`);
    this.#readout.id ||= `resmon-readout-${Math.random().toString(36).slice(2, 9)}`;
    setAttribute(this.#plot, "aria-describedby", this.#readout.id);
  }
}

function lastKnown(line: Line, first: number, last: number): number {
  for (let i = last; i >= first; i -= 1) {
    const at = line.at(i);
    if (!Number.isNaN(at)) return at;
  }
  return NaN;
}

function cellAt(store: Store, t: number): string {
  const cell = store.cells.find((c) => c.t0 !== null && c.t0 <= t && t <= (c.t1 ?? Infinity));
  return cell ? cellName(cell) : "";
}

function lineSwatch(line: Line, color: string): SVGSVGElement {
  const svg = icon("rm-line-swatch", 18, {
    d: "M0 9h18",
    fill: "none",
    stroke: color,
    "stroke-width": "2",
    "stroke-dasharray": DASHES[line.dash].join(" ") || "none",
  });
  svg.setAttribute("viewBox", "0 3 18 12");
  svg.setAttribute("height", "12");
  return svg;
}
