// What every section of the panel is given when it draws, and what it promises.

import type { RankFacts } from "./rankwire";
import type { Store } from "./store";
import type { Theme } from "./theme";
import type { Unit } from "./units";
import type { Schema } from "./wire";

export type Size = "wide" | "medium" | "small" | "narrow";

export interface Frame {
  readonly store: Store;
  readonly schema: Schema;
  readonly theme: Theme;
  readonly size: Size;
  readonly width: number;
  readonly unit: Unit;
  readonly expanded: boolean;
  /** The ranks of the cell that is shown. */
  readonly ranks: RankFacts | null;
}

/** How the device section shows its devices. Beside ranks it is brief: they are what the cell is about. */
export type Density = "full" | "compact" | "bands";

export const COMPACT_FROM = 5;
export const BANDS_FROM = 17;

export function density(frame: Frame): Density {
  const gpus = frame.schema.gpus.length;
  if (frame.expanded || (gpus < COMPACT_FROM && !frame.ranks)) return "full";
  return gpus < BANDS_FROM ? "compact" : "bands";
}

export function sizeOf(width: number): Size {
  return width >= 760 ? "wide" : width >= 640 ? "medium" : width >= 420 ? "small" : "narrow";
}

/** A part of the panel. `build` makes its elements for a schema and a density; the others only write what changed. */
export interface Section {
  readonly el: HTMLElement;
  build(frame: Frame): void;
  /** Width or theme changed: measure canvases again. */
  resize(frame: Frame): void;
  /** At most twice a second. */
  text(frame: Frame): void;
  /** At most four times a second. */
  graphics(frame: Frame): void;
}
