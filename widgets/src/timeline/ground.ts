// What lies behind the strips: bands of cells with their rules and labels, grid lines, and both axes.

import { Picture } from "../canvas";
import { cellName } from "../views/header";
import type { Palette } from "../theme";
import type { Cell } from "../wire";
import { timeTicks, valueTicks, type Window } from "./axis";
import type { Plot } from "./plot";

export const LABELS_HEIGHT = 20;
export const STRIP_GAP = 10;
export const AXIS_HEIGHT = 18;
const SMALL = 11;
const LABEL_PAD = 2;

export interface Geometry {
  readonly left: number;
  readonly width: number;
  /** Height of everything, labels and time axis included. */
  readonly height: number;
  readonly plots: readonly { readonly plot: Plot; readonly top: number }[];
}

export class Ground {
  readonly picture = new Picture("rm-ground", 0);

  draw(geometry: Geometry, window: Window, cells: readonly Cell[], newest: number, offset: number, palette: Palette): void {
    const c = this.picture.begin();
    if (!c) return;
    const { left, width, height, plots } = geometry;
    const x = (t: number): number => left + ((t - window.from) / (window.to - window.from)) * width;
    const bottom = height - AXIS_HEIGHT;
    c.textBaseline = "alphabetic";
    this.#cells(c, { left, right: left + width, bottom, x }, cells, newest, palette);
    c.font = `${SMALL}px ${palette.font}`;
    for (const { plot, top } of plots) this.#grid(c, plot, top, { left, width, empty: Number.isNaN(newest) }, palette);
    if (Number.isNaN(newest)) return;
    c.fillStyle = palette.muted;
    c.strokeStyle = palette.frame;
    const most = Math.max(2, Math.floor(width / 84));
    for (const { at, label } of timeTicks(window, offset, most)) {
      const tick = Math.round(x(at)) + 0.5;
      line(c, tick, bottom, tick, bottom + 4);
      const wide = c.measureText(label).width;
      c.fillText(label, Math.min(Math.max(left, tick - wide / 2), left + width - wide), bottom + 15);
    }
  }

  #cells(
    c: CanvasRenderingContext2D,
    area: { left: number; right: number; bottom: number; x: (t: number) => number },
    cells: readonly Cell[],
    newest: number,
    palette: Palette,
  ): void {
    // from the newest back: where labels meet, the newer one stays
    let free = Infinity;
    for (const cell of [...cells].reverse()) {
      if (cell.t0 === null) continue;
      const running = cell.state === "running";
      const from = Math.max(area.left, area.x(cell.t0));
      const to = Math.min(area.right, area.x(cell.t1 ?? newest));
      if (to < area.left || from > area.right || to < from) continue;
      const wide = Math.max(1, to - from);
      c.fillStyle = running ? palette.bandRunning : palette.band;
      c.fillRect(from, LABELS_HEIGHT, wide, area.bottom - LABELS_HEIGHT);
      const thick = running ? 2.5 : 1;
      c.fillStyle = running ? palette.text : palette.muted;
      c.fillRect(from, LABELS_HEIGHT - thick - 1, wide, thick);
      const label = cellName(cell) + (cell.state === "failed" ? " ×" : "");
      c.font = `${running ? "600 " : ""}${SMALL}px ${palette.font}`;
      const labelWide = c.measureText(label).width;
      if (labelWide + LABEL_PAD > wide || from + labelWide > free) continue;
      c.fillText(label, from + 1, LABELS_HEIGHT - 7);
      free = from - LABEL_PAD;
    }
  }

  #grid(c: CanvasRenderingContext2D, plot: Plot, top: number, at: { left: number; width: number; empty: boolean }, palette: Palette): void {
    const { left, width, empty } = at;
    const unit = plot.strip.unit(plot.top);
    c.lineWidth = 1;
    const values = plot.strip.top ? [0, 0.5, 1].map((part) => (part * plot.top) / unit) : valueTicks(plot.top / unit);
    for (const value of values) {
      const y = Math.round(top + plot.y(value * unit)) + 0.5;
      c.strokeStyle = value === 0 ? palette.frame : palette.hairline;
      line(c, left, y, left + width, y);
      if (empty && value > 0) return;
      const label = trimmed(value);
      c.fillStyle = palette.muted;
      c.fillText(label, left - 5 - c.measureText(label).width, y + 3.5);
    }
  }
}

function line(c: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
}

function trimmed(x: number): string {
  return String(Number(x.toPrecision(3)));
}
