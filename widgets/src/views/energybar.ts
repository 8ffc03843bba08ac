// The bar of an energy row: one segment per device, a whisker for the interval, dashed where nothing is known.

import { Picture, hatch } from "../canvas";
import { known } from "../format";
import type { Frame } from "../frame";
import type { Store } from "../store";
import type { Palette } from "../theme";
import type { Basis, EnergySourceSchema, Schema } from "../wire";

/** Full scales of the energy bars, times a power of ten: they grow in steps, so that bars rarely rescale. */
const SCALES = [1, 1.5, 2, 3, 5, 7.5, 10];
const BAR_TOP = 3;
const BAR_HEIGHT = 12;

export interface Source {
  readonly schema: EnergySourceSchema;
  readonly j: number;
}

export function sourcesOf(store: Store, schema: Schema, basis: Basis): Source[] {
  return schema.energy
    .map((source, i) => ({ schema: source, j: store.value(`energy.${i}.cell_j`) }))
    .filter((source) => source.schema.basis === basis);
}

/** The smallest step that holds both rows. */
export function fullScale(store: Store): number {
  const highs = ["measured", "estimated"].flatMap((b) => [store.value(`cell.${b}_high_j`), store.value(`cell.${b}_j`)]);
  const most = Math.max(0, ...highs.filter(known)) * 1.02;
  if (most <= 0) return 1;
  const decade = 10 ** Math.floor(Math.log10(most));
  return (SCALES.find((s) => s * decade >= most) ?? 10) * decade;
}

export class EnergyBar {
  readonly #basis: Basis;
  readonly #picture = new Picture("rm-energy-bar", BAR_TOP * 2 + BAR_HEIGHT);
  #drawn = "";
  #palette: Palette | null = null;

  constructor(basis: Basis) {
    this.#basis = basis;
  }

  get el(): HTMLElement {
    return this.#picture.el;
  }

  resize(): void {
    if (this.#picture.measure()) this.#drawn = "";
  }

  /** `full` joules fill the width. */
  draw(frame: Frame, full: number): void {
    const { store, schema, theme } = frame;
    const { palette } = theme;
    const sources = sourcesOf(store, schema, this.#basis);
    const [value, low, high] = ["", "_low", "_high"].map((end) => store.value(`cell.${this.#basis}${end}_j`)) as [number, number, number];
    const x = (j: number): number => (j / full) * this.#picture.width;
    const places = [value, low, high, ...sources.map(({ j }) => j)].map((j) => Math.round(2 * x(j)));
    const key = [...places, this.#picture.width, store.row === null].join();
    if (key === this.#drawn && palette === this.#palette) return;
    const c = this.#picture.begin();
    if (!c) return;
    this.#drawn = key;
    this.#palette = palette;
    const { width, ratio } = this.#picture;
    let start = 0;
    for (const { schema: source, j } of sources) {
      if (!known(j) || j <= 0) continue;
      const [from, to] = [x(start), x(start + j)];
      const color = palette[source.resource as keyof Palette] ?? palette.text;
      const wide = Math.max(0, to - from - (start > 0 ? 1 : 0));
      const left = start > 0 ? from + 1 : from;
      if (this.#basis === "measured") {
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
}

function uncovered(c: CanvasRenderingContext2D, width: number, palette: Palette): void {
  c.strokeStyle = palette.muted;
  c.lineWidth = 1;
  c.setLineDash([3, 2]);
  c.strokeRect(0.5, BAR_TOP + 0.5, width - 1, BAR_HEIGHT - 1);
  c.setLineDash([]);
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
