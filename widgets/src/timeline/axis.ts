// Round steps for both axes, and the window in time that is shown.

import type { Series } from "../series";

export type Range = "1 min" | "10 min" | "all";

export const RANGES: readonly Range[] = ["1 min", "10 min", "all"];

const SPANS: Record<Range, number> = { "1 min": 60, "10 min": 600, all: Infinity };
/** A young session fills one of these before the window moves. */
const STEPS = [15, 30, 60, 120, 300, 600];
const TIME_STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const MAXIMA = [1.1, 1.3, 1.7, 2.2, 2.7, 3.3, 4.4, 5.5, 7, 8.8, 11];
/** A scale shrinks only when this much of it is empty. */
const SHRINK = 0.4;

export interface Window {
  readonly from: number;
  readonly to: number;
}

export function windowOf(range: Range, series: Series): Window {
  const { oldest: first, newest } = series;
  if (!series.length) return { from: 0, to: 60 };
  const have = newest - first;
  const span = SPANS[range];
  if (have >= span) return { from: newest - span, to: newest };
  const step = STEPS.find((s) => s >= have && s <= span);
  return { from: first, to: step === undefined ? newest : first + step };
}

/** Upper end of a scale that starts at 0, kept while it still fits. */
export function scaleTop(most: number, previous: number): number {
  if (!(most > 0)) return previous || 1;
  if (most <= previous && most > previous * SHRINK) return previous;
  const decade = 10 ** Math.floor(Math.log10(most));
  return (MAXIMA.find((m) => m * decade >= most * 1.001) ?? 11) * decade;
}

const TICK_STEPS = [1, 2, 2.5, 5, 10];
/** Below, a quarter of ten takes more digits than there is room for: 0.025. */
const LEAST_QUARTER = 0.1;

/** Three round values from 0 on, the highest a little below the top: labels of two strips must not meet. */
export function valueTicks(top: number): number[] {
  const half = (top * 0.92) / 2;
  const decade = 10 ** Math.floor(Math.log10(half));
  const step = TICK_STEPS.filter((s) => s * decade <= half && (s !== 2.5 || decade >= LEAST_QUARTER)).at(-1) ?? 1;
  return [0, step * decade, 2 * step * decade];
}

export interface Tick {
  readonly at: number;
  readonly label: string;
}

/** Clock times in the browser's zone, at most `most` of them; `offset` turns `from` and `to` into Unix time. */
export function timeTicks({ from, to }: Window, offset: number, most: number): Tick[] {
  const span = to - from;
  const step = TIME_STEPS.find((s) => span / s <= most) ?? 86400;
  const zone = new Date((from + offset) * 1000).getTimezoneOffset() * 60;
  const ticks: Tick[] = [];
  for (let local = Math.ceil((from + offset - zone) / step) * step; local <= to + offset - zone; local += step) {
    const at = local + zone - offset;
    ticks.push({ at, label: clockLabel(new Date((local + zone) * 1000), step) });
  }
  return ticks;
}

function clockLabel(date: Date, step: number): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const minutes = `${date.getHours()}:${two(date.getMinutes())}`;
  return step < 60 ? `${minutes}:${two(date.getSeconds())}` : minutes;
}

/** Moves labels apart by at least `gap`, in their order, within [0, height]. */
export function spread(wanted: readonly number[], gap: number, height: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => (wanted[a] as number) - (wanted[b] as number));
  const at = [...wanted];
  let least = 0;
  for (const i of order) {
    at[i] = Math.max(least, at[i] as number);
    least = (at[i] as number) + gap;
  }
  let most = height;
  for (const i of order.reverse()) {
    at[i] = Math.min(most, at[i] as number);
    most = (at[i] as number) - gap;
  }
  return at;
}
