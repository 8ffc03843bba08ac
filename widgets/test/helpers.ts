import { Store } from "../src/store";
import type { Schema } from "../src/wire";

type Listener = (...args: unknown[]) => void;

/** The part of a widget model that the store talks to, with a record of what was sent. */
export class ScriptedModel {
  readonly sent: { k: string }[] = [];
  readonly listeners = new Map<string, Set<Listener>>();
  broken = false;

  constructor(readonly state: Record<string, unknown> = {}, readonly widget_manager?: unknown) {}

  get(name: string): unknown {
    return this.state[name];
  }

  on(name: string, callback: (...args: never[]) => void): void {
    const set = this.listeners.get(name) ?? new Set();
    set.add(callback as Listener);
    this.listeners.set(name, set);
  }

  off(name: string, callback: (...args: never[]) => void): void {
    this.listeners.get(name)?.delete(callback as Listener);
  }

  send(content: unknown): void {
    if (this.broken) throw new Error("comm closed");
    this.sent.push(content as { k: string });
  }

  emit(name: string, ...args: unknown[]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(...args);
  }

  /** As the websocket delivers: views that do not start at 0 and are not aligned. */
  message(content: unknown, ...buffers: ArrayBuffer[]): void {
    this.emit("msg:custom", content, buffers.map(offsetView));
  }

  get listening(): number {
    return [...this.listeners.values()].reduce((n, set) => n + set.size, 0);
  }
}

export function offsetView(buffer: ArrayBuffer): DataView {
  const padded = new Uint8Array(buffer.byteLength + 9);
  padded.fill(255);
  padded.set(new Uint8Array(buffer), 5);
  return new DataView(padded.buffer, 5, buffer.byteLength);
}

export function schema(over: Partial<Schema> = {}): Schema {
  return {
    v: 1,
    revision: 1,
    kind: "session",
    interval_s: 0.5,
    wall_offset_s: 1e9,
    session_started_s: 0,
    host: {
      label: "CPU",
      name: "EPYC",
      cores: 4,
      core_columns: 3,
      cpu_limit_cores: 4,
      cpu_limit_source: "machine",
      memory_limit_bytes: 100,
      memory_limit_source: "machine",
      memory_total_bytes: 100,
      power_max_w: 100,
      power_basis: "estimated",
    },
    gpus: [],
    energy: [],
    measured_caption: "",
    estimated_caption: "",
    not_covered: [],
    no_measured_reason: "",
    sensors: [],
    notices: [],
    columns: ["host.cpu_utilization", "host.power_w", "resmon.missed"],
    timeline: ["host.cpu_utilization", "host.power_w"],
    subshells: true,
    ...over,
  };
}

export function withGpu(s: Schema, revision: number): Schema {
  return {
    ...s,
    revision,
    gpus: [
      { label: "GPU 0", name: "H200", kind: "gpu", memory_total_bytes: 1, power_max_w: 700, power_basis: "measured", own_memory_known: true },
    ],
    columns: [...s.columns, "gpu.0.utilization", "gpu.0.power_w", "gpu.0.throttle"],
    timeline: [...s.timeline, "gpu.0.utilization"],
  };
}

export function row(s: Schema, t: number, values: Record<string, number> = {}, cores: readonly number[] = []): ArrayBuffer {
  const buffer = new ArrayBuffer(8 + 4 * s.columns.length + s.host.core_columns);
  const view = new DataView(buffer);
  view.setFloat64(0, t, true);
  s.columns.forEach((name, i) => view.setFloat32(8 + 4 * i, values[name] ?? NaN, true));
  new Uint8Array(buffer).set(cores, 8 + 4 * s.columns.length);
  return buffer;
}

export function history(s: Schema, times: readonly number[], value: (column: number, i: number) => number): ArrayBuffer {
  const buffer = new ArrayBuffer(8 + 8 * times.length + 4 * times.length * s.timeline.length);
  const view = new DataView(buffer);
  view.setUint32(0, times.length, true);
  view.setUint32(4, s.timeline.length, true);
  times.forEach((t, i) => view.setFloat64(8 + 8 * i, t, true));
  s.timeline.forEach((_, c) => {
    times.forEach((__, i) => view.setFloat32(8 + 8 * times.length + 4 * (c * times.length + i), value(c, i), true));
  });
  return buffer;
}

/** A store over a model that holds `state`; the test closes it. */
export function storeOver(state: Record<string, unknown> = {}, manager?: unknown): { model: ScriptedModel; store: Store } {
  const model = new ScriptedModel(state, manager);
  return { model, store: new Store(model) };
}
