// One strip's lines and areas, drawn by uPlot; everything around them (grid, bands, labels) is drawn by the timeline.

import uPlot from "uplot";
import { hatch } from "../canvas";
import type { Series } from "../series";
import { withAlpha, type Palette } from "../theme";
import { scaleTop, type Window } from "./axis";
import type { Dash, Line, Strip } from "./strips";

export const DASHES: Record<Dash, number[]> = { solid: [], dashed: [4, 2.5], dotted: [1.5, 2.5] };
const AREA = 0.3;
const BAND = 0.22;
/** The strip's title stands above its data. */
const HEADROOM = 1.2;

export class Plot {
  readonly el = document.createElement("div");
  readonly strip: Strip;
  top: number;
  #plot: uPlot | null = null;
  /** A stacked layer comes before the one it stands on, whose line it would cover. */
  readonly #order: readonly Line[];
  #window: Window = { from: 0, to: 1 };
  readonly #palette: () => Palette;
  #hatches = new Map<string, CanvasPattern | string>();

  constructor(strip: Strip, palette: () => Palette) {
    this.strip = strip;
    const stacked = strip.lines.some((line) => line.stacked);
    this.#order = stacked ? [...strip.lines].reverse() : strip.lines;
    this.#palette = palette;
    this.top = strip.top;
    this.el.className = "rm-strip";
  }

  destroy(): void {
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** Colours are read again at the next drawing. */
  recolour(): void {
    this.#hatches.clear();
  }

  resize(width: number): void {
    const { height } = this.strip;
    if (width < 10) return;
    if (this.#plot) this.#plot.setSize({ width, height });
    else this.#plot = new uPlot(this.#options(width, height), this.#empty(), this.el);
  }

  draw(series: Series, window: Window): void {
    if (!this.#plot) return;
    this.#window = window;
    const from = Math.max(0, series.firstAt(window.from) - 1);
    const to = Math.min(series.length, series.firstAt(window.to) + 1);
    const x: number[] = [];
    const columns: (number | null)[][] = this.#empty().slice(1).map(() => []);
    let most = 0;
    for (let i = from; i < to; i += 1) {
      x.push(series.t[i] as number);
      let c = 0;
      for (const line of this.#order) {
        const at = line.at(i);
        (columns[c++] as (number | null)[]).push(Number.isNaN(at) ? null : at);
        if (line.low && line.high) {
          const [low, high] = [line.low(i), line.high(i)];
          (columns[c++] as (number | null)[]).push(Number.isNaN(low) ? null : low);
          (columns[c++] as (number | null)[]).push(Number.isNaN(high) ? null : high);
          if (high > most) most = high;
        }
        if (at > most) most = at;
      }
    }
    if (!this.strip.top) {
      const unit = this.strip.id === "memory" ? 1024 ** 3 : 1;
      this.top = scaleTop((most * HEADROOM) / unit, this.top / unit) * unit;
    }
    this.#plot.setData([x, ...columns] as uPlot.AlignedData, true);
  }

  /** Distance of a value from the top of the strip, px. */
  y(value: number): number {
    return this.strip.height * (1 - value / this.top);
  }

  #empty(): uPlot.AlignedData {
    const count = this.strip.lines.reduce((n, line) => n + (line.low ? 3 : 1), 1);
    return Array.from({ length: count }, () => []) as unknown as uPlot.AlignedData;
  }

  #hatch(u: uPlot, color: string): CanvasPattern | string {
    const kept = this.#hatches.get(color);
    if (kept) return kept;
    const made = hatch(u.ctx, color, this.#palette().surface, window.devicePixelRatio || 1);
    this.#hatches.set(color, made);
    return made;
  }

  #options(width: number, height: number): uPlot.Options {
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    for (const line of this.#order) {
      const color = (): string => this.#palette()[line.color];
      const fill = (u: uPlot): CanvasPattern | string =>
        line.fill === "hatched" ? this.#hatch(u, color()) : withAlpha(color(), AREA);
      const own = series.length;
      series.push({
        stroke: color,
        width: 1.5,
        dash: DASHES[line.dash],
        points: { show: false },
        spanGaps: false,
        // a stacked layer is filled down to the one below, by the band
        ...(line.fill !== "none" && !line.stacked ? { fill: fill as unknown as uPlot.Series.Fill } : {}),
      });
      if (line.stacked && line.fill !== "none") {
        bands.push({ series: [own, own + 1], fill: fill as unknown as uPlot.Series.Fill });
      }
      if (line.low && line.high) {
        const edge: uPlot.Series = { width: 0, points: { show: false }, spanGaps: false };
        series.push({ ...edge }, { ...edge });
        bands.push({ series: [own + 2, own + 1], fill: (() => withAlpha(color(), BAND)) as unknown as uPlot.Series.Fill });
      }
    }
    return {
      width,
      height,
      padding: [0, 0, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      axes: [{ show: false }, { show: false }],
      scales: {
        x: { time: false, range: () => [this.#window.from, this.#window.to] },
        y: { range: () => [0, this.top || 1] },
      },
      series,
      bands,
    };
  }
}
