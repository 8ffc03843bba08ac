// The timeline: strips over one time axis and one crosshair.

import { h, setAttribute, setText } from "../dom";
import type { Frame, Section } from "../frame";
import { density } from "../frame";
import { clock } from "../state";
import { RANGES, windowOf, type Range, type Window } from "./axis";
import { Crosshair } from "./crosshair";
import { AXIS_HEIGHT, Ground, LABELS_HEIGHT, STRIP_GAP, type Geometry } from "./ground";
import { Gestures } from "./gestures";
import { LineNames } from "./names";
import { Plot } from "./plot";
import { stripsOf } from "./strips";

const RIGHT = 92;
const SUMMARY_MS = 5000;
const SHORTEST_S = 2;

export class Timeline implements Section {
  readonly el = h("div", "rm-timeline");
  readonly #ranges = h("div", "rm-ranges");
  readonly #plot = h("div", "rm-plot");
  readonly #names = new LineNames();
  readonly #cross = new Crosshair();
  readonly #selection = h("div", "rm-selection");
  readonly #ground = new Ground();
  readonly #gestures: Gestures;
  #plots: { plot: Plot; top: number; title: HTMLElement }[] = [];
  #range: Range = "10 min";
  #zoom: Window | null = null;
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
    const head = h("div", "rm-timeline-head", h("span", "rm-timeline-name", "Timeline"), this.#cross.readout, this.#ranges);
    this.#plot.tabIndex = 0;
    this.#plot.setAttribute("role", "img");
    this.#plot.setAttribute("aria-describedby", this.#cross.readout.id);
    this.el.append(head, this.#names.legend, this.#plot);
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
    this.#names.move(this.#plots, frame.store.series, this.#shown);
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
    this.#plot.replaceChildren(this.#ground.picture.el, ...layers, this.#names.ends, this.#cross.markers, this.#cross.line, this.#selection);
    this.#cross.resize(this.#geometry);
    this.#selection.style.height = this.#cross.line.style.height;
    this.#names.build(this.#plots, size);
  }

  #place(frame: Frame): void {
    const { size, width } = frame;
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
    this.#names.ends.style.left = `${left + wide + 6}px`;
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
    const cells = store.cells.map((cell) => `${cell.id} ${cell.t0} ${cell.state}`).join();
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
    this.#cross.draw(this.#geometry, window, store);
  }

  // ---- crosshair

  #timeAt(x: number): number {
    const { left, width } = this.#geometry;
    const part = Math.min(1, Math.max(0, (x - left) / Math.max(1, width)));
    return this.#shown.from + part * (this.#shown.to - this.#shown.from);
  }

  #moveCross(t: number | null): void {
    if (!this.#frame) return;
    this.#cross.moveTo(t, this.#frame.store);
    this.#showCross(this.#frame);
  }

  #stepCross(by: number): void {
    const series = this.#frame?.store.series;
    if (!series?.length) return;
    const at = this.#cross.at === null ? series.length - 1 : series.nearest(this.#cross.at) + by;
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

  #showCross({ store, size }: Frame): void {
    this.#cross.draw(this.#geometry, this.#shown, store);
    this.#cross.read(this.#geometry, store, size);
    setAttribute(this.el, "data-cross", this.#cross.at === null ? null : "");
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
    const fixed = around ?? this.#cross.at ?? to;
    this.#zoomTo(fixed - (fixed - from) * factor, fixed + (to - fixed) * factor);
  }

  #zoomTo(from: number, to: number): void {
    const series = this.#frame?.store.series;
    if (!series?.length) return;
    const whole = { from: series.oldest, to: Math.max(series.newest, series.oldest + 15) };
    const span = Math.min(whole.to - whole.from, Math.max(SHORTEST_S, to - from));
    const start = Math.min(Math.max(whole.from, from), whole.to - span);
    this.#zoom = { from: start, to: start + span };
    this.#markRange();
    this.#redraw();
  }

  #reset(): void {
    this.#zoom = null;
    this.#cross.at = null;
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
  }
}
