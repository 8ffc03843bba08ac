// What comes over the wire (docs/wire.md), decoded. Unknown is NaN in columns and null in JSON.

import type { RankNumbers } from "./rankwire";

export type Resource = "gpu" | "cpu" | "memory";
export type Basis = "measured" | "estimated";

export interface HostSchema {
  readonly label: string;
  readonly name: string | null;
  readonly cores: number | null;
  readonly core_columns: number;
  readonly cpu_limit_cores: number | null;
  readonly cpu_limit_source: string | null;
  readonly memory_limit_bytes: number | null;
  readonly memory_limit_source: string | null;
  readonly memory_total_bytes: number | null;
  readonly power_max_w: number | null;
  readonly power_basis: Basis | "none";
}

export interface GpuSchema {
  readonly label: string;
  readonly name: string | null;
  readonly kind: string;
  readonly memory_total_bytes: number | null;
  readonly power_max_w: number | null;
  readonly power_basis: Basis | "none";
  readonly own_memory_known: boolean;
}

export interface EnergySourceSchema {
  readonly id: string;
  readonly label: string;
  readonly resource: Resource;
  readonly basis: Basis;
  readonly method: string;
  readonly scope: string;
}

/** Makes another quantity of energy: grams of CO₂, or money. */
export interface FactorSchema {
  readonly kind: "carbon" | "cost";
  readonly unit: string;
  readonly per_kwh: number;
  readonly pue: number | null;
  readonly source: string;
  readonly zone: string;
  readonly date: string;
}

export interface SensorSchema {
  readonly name: string;
  readonly state: string;
  readonly short: string;
  readonly cause: string;
  readonly remedy: string;
}

export interface Schema {
  readonly v: number;
  readonly revision: number;
  readonly kind: "session" | "cell";
  readonly interval_s: number;
  readonly wall_offset_s: number;
  readonly session_started_s: number | null;
  readonly host: HostSchema;
  readonly gpus: readonly GpuSchema[];
  readonly energy: readonly EnergySourceSchema[];
  readonly measured_caption: string;
  readonly estimated_caption: string;
  /** Absent where the kernel's resmon knows none yet. */
  readonly factors?: readonly FactorSchema[];
  readonly not_covered: readonly string[];
  readonly no_measured_reason: string;
  readonly sensors: readonly SensorSchema[];
  readonly notices: readonly string[];
  readonly columns: readonly string[];
  readonly timeline: readonly string[];
  readonly subshells: boolean;
}

export interface Cell {
  readonly id: number;
  readonly number: number | null;
  readonly title: string;
  /** Null until its measuring has begun. */
  readonly t0: number | null;
  readonly t1: number | null;
  readonly state: "running" | "done" | "failed";
  readonly error: string | null;
  readonly items_unit: string | null;
}

export interface Row {
  readonly t: number;
  readonly values: Float32Array;
  /** 0–254 for 0–100 %, 255 unknown. */
  readonly cores: Uint8Array;
}

export interface History {
  readonly t: Float64Array;
  /** One array per name in `schema.timeline`. */
  readonly columns: readonly Float32Array[];
}

export type Message =
  | { readonly k: "row"; readonly cell?: number | null; readonly ranks?: RankNumbers }
  | { readonly k: "now"; readonly ranks: RankNumbers }
  | { readonly k: "ranks"; readonly ranks: unknown }
  | { readonly k: "schema"; readonly schema: Schema }
  | { readonly k: "history"; readonly n: number; readonly cells?: readonly Cell[] }
  | { readonly k: "cell"; readonly cell: Cell }
  | { readonly k: "state"; readonly state: "running" | "idle" | "stopped"; readonly text?: string }
  | { readonly k: "said"; readonly text: string };

/** The shape of what this panel can read; a newer kernel is refused rather than misread. */
export const WIRE_VERSION = 1;

/** A copy that starts at offset 0: typed arrays need alignment, and the transport reuses its buffers. */
export function copyBuffer(buffer: unknown): ArrayBuffer | null {
  if (buffer instanceof ArrayBuffer) return buffer.slice(0);
  if (ArrayBuffer.isView(buffer)) {
    return (buffer.buffer as ArrayBuffer).slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  }
  return null;
}

/** Null where the buffer is too short for the schema in force: such a row belongs to another revision. */
export function decodeRow(buffer: unknown, schema: Schema): Row | null {
  const bytes = copyBuffer(buffer);
  const columns = schema.columns.length;
  const cores = schema.host.core_columns;
  if (!bytes || bytes.byteLength !== 8 + 4 * columns + cores) return null;
  const t = new DataView(bytes).getFloat64(0, true);
  if (!Number.isFinite(t)) return null;
  return { t, values: new Float32Array(bytes, 8, columns), cores: new Uint8Array(bytes, 8 + 4 * columns, cores) };
}

/** Null where the buffer is empty, cut short, or has another number of columns than `schema.timeline`. */
export function decodeHistory(buffer: unknown, schema: Schema): History | null {
  const bytes = copyBuffer(buffer);
  if (!bytes || bytes.byteLength < 8) return null;
  const head = new DataView(bytes);
  const n = head.getUint32(0, true);
  const columns = head.getUint32(4, true);
  if (columns !== schema.timeline.length || bytes.byteLength !== 8 + 8 * n + 4 * n * columns) return null;
  return {
    t: new Float64Array(bytes, 8, n),
    columns: Array.from({ length: columns }, (_, i) => new Float32Array(bytes, 8 + 8 * n + 4 * n * i, n)),
  };
}

function isRecord(x: unknown): x is Record<string, unknown> {
  return typeof x === "object" && x !== null && !Array.isArray(x);
}

/** Null where this is no schema that the panel can draw. */
export function readSchema(x: unknown): Schema | null {
  if (!isRecord(x) || x["v"] !== WIRE_VERSION) return null;
  const complete =
    isRecord(x["host"]) &&
    ["gpus", "energy", "not_covered", "sensors", "notices", "columns", "timeline"].every((key) => Array.isArray(x[key]));
  return complete ? (x as unknown as Schema) : null;
}

export function readMessage(x: unknown): Message | null {
  return isRecord(x) && typeof x["k"] === "string" ? (x as unknown as Message) : null;
}
