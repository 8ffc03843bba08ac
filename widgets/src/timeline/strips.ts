// What each strip of the timeline shows for a schema: lines, areas and bands over the columns of the history.

import { THIN, UNKNOWN, format_gib, format_percent, format_power_w } from "../format";
import type { Size } from "../frame";
import type { Series } from "../series";
import type { Palette } from "../theme";
import type { Schema } from "../wire";

export type Dash = "solid" | "dashed" | "dotted";
export type Fill = "none" | "solid" | "hatched";
type ColorName = "gpu" | "cpu" | "memory";

/** One line of a strip; `at(i)` is its value at point i of the series, NaN for unknown. */
export interface Line {
  /** Asked again at each drawing: a sum names how many devices are in it now. */
  readonly name: string;
  readonly color: ColorName & keyof Palette;
  readonly dash: Dash;
  readonly fill: Fill;
  /** Stands on the line before it, down to which it is filled. */
  readonly stacked?: boolean;
  at(i: number): number;
  low?(i: number): number;
  high?(i: number): number;
  /** What the read-out says at point i; empty for nothing. */
  read(i: number): string;
  /** Sizes at which the read-out keeps this line. */
  readonly kept: "always" | "wide";
}

export interface Strip {
  readonly id: "utilization" | "power" | "memory";
  /** For the maximum that the strip shows: watts become kilowatts from 2000. */
  title(top: number): string;
  readonly height: number;
  readonly lines: readonly Line[];
  /** A fixed full scale; 0 follows the data. */
  readonly top: number;
  /** What one unit of the axis is in the values. */
  unit(top: number): number;
}

const GIB = 1024 ** 3;
/** Up to here every GPU has a line of its own. */
const OWN_LINES = 2;

type Column = Float32Array | undefined;

function valueAt(column: Column, i: number): number {
  return column?.[i] ?? NaN;
}

function gpuColumns(series: Series, schema: Schema, name: string): Column[] {
  return schema.gpus.map((_, i) => series.mean(`gpu.${i}.${name}`));
}

interface Statistic {
  mean: number;
  low: number;
  high: number;
}

function over(columns: readonly Column[], i: number): Statistic {
  let [sum, n, low, high] = [0, 0, Infinity, -Infinity];
  for (const column of columns) {
    const v = valueAt(column, i);
    if (Number.isNaN(v)) continue;
    sum += v;
    n += 1;
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  return n ? { mean: sum / n, low, high } : { mean: NaN, low: NaN, high: NaN };
}

/** A line per GPU up to two, from three the mean and the band between the least and the most. */
function gpuLines(columns: readonly Column[], labels: readonly string[], color: ColorName, write: (v: number) => string): Line[] {
  if (columns.length <= OWN_LINES) {
    return columns.map((column, g) => ({
      name: labels[g] as string,
      color,
      dash: g === 0 ? "solid" : "dashed",
      fill: "none",
      at: (i) => valueAt(column, i),
      read: (i) => write(valueAt(column, i)),
      kept: "always",
    }));
  }
  return [
    {
      name: `${columns.length} GPUs`,
      color,
      dash: "solid",
      fill: "none",
      at: (i) => over(columns, i).mean,
      low: (i) => over(columns, i).low,
      high: (i) => over(columns, i).high,
      read: (i) => {
        const { mean, low, high } = over(columns, i);
        const bare = (v: number): string => write(v).split(THIN)[0] ?? "";
        return write(mean) === UNKNOWN ? UNKNOWN : `${write(mean)} (${bare(low)}–${bare(high)})`;
      },
      kept: "always",
    },
  ];
}

function utilization(schema: Schema, series: Series): Line[] {
  const labels = schema.gpus.map((gpu) => gpu.label);
  const host = series.mean("host.cpu_utilization");
  const alone = schema.gpus.length === 0;
  return [
    ...gpuLines(gpuColumns(series, schema, "utilization"), labels, "gpu", format_percent),
    {
      name: schema.host.label,
      color: "cpu",
      dash: "solid",
      fill: alone ? "solid" : "none",
      at: (i) => valueAt(host, i),
      read: (i) => format_percent(valueAt(host, i)),
      kept: "always",
    },
  ];
}

function memory(schema: Schema, series: Series): Line[] {
  const labels = schema.gpus.map((gpu) => gpu.label);
  // one meaning over all of the time: rows know more than the history, so the history decides
  const first = (...names: string[]): Column => series.mean(names.find((name) => schema.timeline.includes(name)) ?? (names[0] as string));
  const columns = schema.gpus.map((gpu, i) => {
    const used = `gpu.${i}.memory_used_bytes`;
    return gpu.own_memory_known ? first(`gpu.${i}.memory_own_bytes`, used) : first(used);
  });
  const host = first("host.memory_tree_bytes", "host.memory_used_bytes");
  const alone = schema.gpus.length === 0;
  return [
    ...gpuLines(columns, labels, "memory", format_gib).map((line): Line => ({ ...line, read: () => "" })),
    {
      name: alone ? "yours" : "host",
      color: "memory",
      dash: alone ? "solid" : "dotted",
      fill: alone ? "solid" : "none",
      at: (i) => valueAt(host, i),
      read: (i) => format_gib(valueAt(host, i)),
      kept: "wide",
    },
  ];
}

/** The surface of a layer is its energy: measured solid, estimated hatched on top. */
function power(schema: Schema, series: Series): Line[] {
  const lines: Line[] = [];
  const known = schema.gpus.flatMap((gpu, i) => (gpu.power_basis === "none" ? [] : [{ gpu, column: series.mean(`gpu.${i}.power_w`) }]));
  const gpus = (i: number): number => {
    let [sum, seen] = [0, false];
    for (const { column } of known) {
      const v = valueAt(column, i);
      if (Number.isNaN(v)) continue;
      sum += v;
      seen = true;
    }
    return seen ? sum : NaN;
  };
  if (known.length) {
    const estimated = known.every(({ gpu }) => gpu.power_basis === "estimated");
    lines.push({
      // a device that does not report now is not in the sum
      get name() {
        const now = known.filter(({ column }) => series.length && !Number.isNaN(valueAt(column, series.length - 1)));
        const count = now.length || known.length;
        const one = (now[0] ?? known[0])?.gpu.label ?? "GPU";
        return `${count === 1 ? one : `${count} GPUs`}${estimated ? " est." : ""}`;
      },
      color: "gpu",
      dash: "solid",
      fill: estimated ? "hatched" : "solid",
      at: gpus,
      read: (i) => format_power_w(gpus(i)),
      kept: "always",
    });
  }
  if (schema.host.power_basis !== "none") {
    const host = series.mean("host.power_w");
    const estimated = schema.host.power_basis === "estimated";
    const name = `${schema.host.label}${estimated ? " est." : ""}`;
    lines.push({
      name: known.length ? `+ ${name}` : name,
      color: "cpu",
      dash: "solid",
      fill: estimated ? "hatched" : "solid",
      stacked: known.length > 0,
      at: known.length ? (i) => gpus(i) + valueAt(host, i) : (i) => valueAt(host, i),
      read: (i) => format_power_w(valueAt(host, i)),
      kept: "wide",
    });
  }
  return lines;
}

const TALLER = 1.6;

export function stripsOf(schema: Schema, series: Series, size: Size, compact: boolean, expanded: boolean): Strip[] {
  const tall = (px: number): number => Math.round(expanded ? px * TALLER : px);
  const comma = size === "narrow" ? "" : ",";
  const powerLines = power(schema, series);
  const strips: Strip[] = [];
  if (!compact) {
    strips.push({
      id: "utilization",
      title: () => `${schema.gpus.length ? "Utilisation" : schema.host.label}${comma} %`,
      height: tall(70),
      lines: utilization(schema, series),
      top: 1,
      unit: () => 0.01,
    });
  }
  if (powerLines.length) {
    const unit = (top: number): number => (top >= 2000 ? 1000 : 1);
    const title = (top: number): string => `Power${comma} ${unit(top) === 1 ? "W" : "kW"}`;
    strips.push({ id: "power", title, height: tall(compact ? 72 : 58), lines: powerLines, top: 0, unit });
  }
  if (!compact && size !== "narrow") {
    strips.push({ id: "memory", title: () => "Memory, GiB", height: tall(44), lines: memory(schema, series), top: 0, unit: () => GIB });
  }
  return strips;
}
