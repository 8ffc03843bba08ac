// The crosshair: one line over all strips, a ring on each line, and the read-out.

import { h, setHidden } from "../dom";
import type { Size } from "../frame";
import { clock } from "../state";
import type { Store } from "../store";
import { cellName } from "../views/header";
import type { Window } from "./axis";
import { AXIS_HEIGHT, LABELS_HEIGHT, type Geometry } from "./ground";

let count = 0;

export class Crosshair {
  readonly line = h("div", "rm-cross");
  readonly markers = h("div", "rm-markers");
  readonly readout = h("span", "rm-readout");
  /** Time of the sample under it, on the kernel's clock; null while it is not shown. */
  at: number | null = null;

  constructor() {
    count += 1;
    this.readout.id = `resmon-readout-${count}`;
  }

  resize({ height }: Geometry): void {
    this.line.style.height = `${height - AXIS_HEIGHT - LABELS_HEIGHT + 4}px`;
  }

  /** Takes the sample nearest to `t`. */
  moveTo(t: number | null, store: Store): void {
    const i = t === null ? -1 : store.series.nearest(t);
    this.at = i < 0 ? null : (store.series.t[i] as number);
  }

  /** Line and rings where the window now has them. */
  draw({ left, width, plots }: Geometry, { from, to }: Window, store: Store): void {
    const t = this.at;
    const hidden = t === null || t < from || t > to;
    setHidden(this.line, hidden);
    setHidden(this.markers, hidden);
    if (hidden) return;
    const x = Math.round(left + ((t - from) / (to - from)) * width);
    this.line.style.transform = `translate(${x}px, ${LABELS_HEIGHT - 3}px)`;
    const i = store.series.nearest(t);
    const rings: HTMLElement[] = [];
    for (const { plot, top } of plots) {
      for (const line of plot.strip.lines) {
        const value = line.at(i);
        if (Number.isNaN(value)) continue;
        const ring = h("i", "rm-marker");
        ring.dataset["resource"] = line.color;
        ring.style.transform = `translate(${x - 3.5}px, ${Math.round(top + plot.y(value)) - 4}px)`;
        rings.push(ring);
      }
    }
    this.markers.replaceChildren(...rings);
  }

  read({ plots }: Geometry, store: Store, size: Size): void {
    const i = this.at === null ? -1 : store.series.nearest(this.at);
    if (i < 0) {
      if (this.readout.childElementCount) this.readout.replaceChildren();
      return;
    }
    const t = store.series.t[i] as number;
    const facts: HTMLElement[] = [h("b", "", clock(store, t))];
    const cell = store.cells.find((c) => c.t0 !== null && c.t0 <= t && t <= (c.t1 ?? Infinity));
    if (cell) facts.push(h("span", "rm-readout-cell", cellName(cell)));
    for (const { plot } of plots) {
      for (const line of plot.strip.lines) {
        const text = line.read(i);
        if (!text || (line.kept === "wide" && size === "medium")) continue;
        // of a stack each layer is read for itself: no "+", and no count before a sum
        const name = plot.strip.id === "power" ? line.name.replace(/^\+ /, "").replace(/^\d+ /, "") : line.name;
        facts.push(h("span", "", `${name} `, h("b", "", text)));
      }
    }
    this.readout.replaceChildren(...facts);
  }
}
