// From a row to what each meter shows: full scales, contexts, and the reason where a value is unknown.

import { celsiusDigits, format_temperature_c, gibDigits, known, percentDigits, wholeWatts } from "./format";
import type { Reading } from "./meter";
import type { Store } from "./store";
import type { GpuSchema, Schema } from "./wire";

const GIB = 1024 ** 3;

/** Cause and remedy of the first sensor of these names that is not available. */
function reasonOf(schema: Schema, names: RegExp, otherwise: string): string {
  const sensor = schema.sensors.find((s) => names.test(s.name) && s.state !== "available");
  if (!sensor) return otherwise;
  return [sensor.short || `${sensor.name}: ${sensor.cause}`, sensor.remedy].filter(Boolean).join("\n");
}

function unreported(device: string): string {
  return `${device} does not report it; %resmon doctor says more`;
}

const NO_ROW = "";

function gpuReason(store: Store, gpu: GpuSchema, what: string): string {
  if (!store.row) return NO_ROW;
  const lost = store.watch.lostOf(gpu.label).find((l) => l.what === what);
  if (lost) return `${what} lost ${ago(store, lost.since)}: the driver no longer reports it`;
  return reasonOf(store.schema as Schema, /nvml/i, unreported(gpu.label));
}

export function ago(store: Store, since: number): string {
  return `${Math.max(0, Math.round((store.row?.t ?? since) - since))} s ago`;
}

export function gpuUtilization(store: Store, i: number, gpu: GpuSchema): Reading {
  const ratio = store.value(`gpu.${i}.utilization`);
  const clock = store.value(`gpu.${i}.sm_clock_hz`);
  const digits = percentDigits(ratio);
  return {
    value: digits,
    unit: "%",
    ratio,
    pattern: "measured",
    context: known(clock) && clock > 0 ? [`${(clock / 1e9).toFixed(2)} GHz`] : [],
    limit: "",
    spoken: `${digits} per cent`,
    reason: gpuReason(store, gpu, "utilisation"),
    now: ratio * 100,
    max: 100,
  };
}

export function gpuMemory(store: Store, i: number, gpu: GpuSchema): Reading {
  const used = store.value(`gpu.${i}.memory_used_bytes`);
  const own = gpu.own_memory_known ? store.value(`gpu.${i}.memory_own_bytes`) : NaN;
  return memory(used, own, gpu.memory_total_bytes, "of", gpuReason(store, gpu, "memory"));
}

export function hostMemory(store: Store, schema: Schema): Reading {
  const { memory_limit_bytes: limit, memory_total_bytes: total, memory_limit_source: source } = schema.host;
  const limited = known(limit) && source !== null && source !== "machine";
  const reason = store.row ? reasonOf(schema, /host|psutil/i, unreported("this machine")) : NO_ROW;
  return memory(
    store.value("host.memory_used_bytes"),
    store.value("host.memory_tree_bytes"),
    limit ?? total,
    limited ? "limit" : "of",
    reason,
  );
}

/** Yours where it is known, else what everybody uses, and said so. */
function memory(used: number, own: number, limit: number | null, word: string, reason: string): Reading {
  const mine = known(own);
  const shown = mine ? own : used;
  const scale = known(limit) && limit > 0 ? limit : NaN;
  const of = known(limit) ? shortGib(limit) : "";
  const others = mine && known(used) ? Math.max(0, used - own) : NaN;
  const left = !known(shown) ? "" : !mine ? "all processes" : known(others) ? `others ${shortGib(others)}` : "";
  const digits = gibDigits(shown);
  const context = of ? [[left, `${word} ${of}`].filter(Boolean).join(" · "), `/ ${of}`] : [left];
  const yours = mine ? `${digits} GiB yours` : `${digits} GiB of all processes, yours unknown`;
  return {
    value: digits,
    unit: "GiB",
    // what nobody can tell to be yours is not drawn as yours
    ratio: mine || !known(used) ? shown / scale : 0,
    ...(known(used) ? { othersTo: used / scale } : {}),
    pattern: "measured",
    context: context.filter(Boolean),
    limit: of,
    spoken: [yours, known(others) ? `${shortGib(others)} others` : "", of ? `${word} ${of}` : ""].filter(Boolean).join(", "),
    reason,
    ...(mine ? {} : { more: "which process holds it is not visible from here (a container hides process ids)" }),
    now: shown / GIB,
    max: scale / GIB,
  };
}

/** GiB in context: one decimal below 20, whole above. */
export function shortGib(bytes: number): string {
  const gib = bytes / GIB;
  return gib < 19.95 && Math.abs(gib - Math.round(gib)) >= 0.05 ? gib.toFixed(1) : gib.toFixed(0);
}

export function gpuPower(store: Store, i: number, gpu: GpuSchema): Reading {
  const watts = store.value(`gpu.${i}.power_w`);
  const limit = store.value(`gpu.${i}.power_limit_w`);
  const max = gpu.power_max_w ?? limit;
  const inForce = known(limit) ? limit : (gpu.power_max_w ?? NaN);
  const lower = known(limit) && known(gpu.power_max_w) && limit < gpu.power_max_w * 0.995;
  const digits = wholeWatts(watts);
  return {
    value: digits,
    unit: "W",
    ratio: watts / max,
    ...(lower ? { tick: limit / max } : {}),
    pattern: gpu.power_basis === "estimated" ? "estimated" : "measured",
    context: known(inForce) ? [`limit ${wholeWatts(inForce)}`, `/ ${wholeWatts(inForce)}`] : [],
    limit: known(inForce) ? wholeWatts(inForce) : "",
    spoken: [
      `${digits} watt`,
      gpu.power_basis === "estimated" ? "estimated" : "",
      known(inForce) ? `limit ${wholeWatts(inForce)}` : "",
    ]
      .filter(Boolean)
      .join(", "),
    reason: gpuReason(store, gpu, "power"),
    ...(lower ? { more: `limit in force ${wholeWatts(limit)} W, the board's maximum is ${wholeWatts(max)} W` } : {}),
    now: watts,
    max,
  };
}

export function hostUtilization(store: Store, schema: Schema): Reading {
  const ratio = store.value("host.cpu_utilization");
  const cores = schema.host.cpu_limit_cores ?? schema.host.cores;
  const digits = percentDigits(ratio);
  const busy = known(cores) && known(ratio) ? `${(ratio * cores).toFixed(1)} of ${trim(cores)}` : "";
  const load = store.value("host.load_1min");
  return {
    value: digits,
    unit: "%",
    ratio,
    pattern: "measured",
    context: busy ? [`${busy} cores`, busy] : [],
    limit: "",
    spoken: [`${digits} per cent`, busy && `${busy} cores`].filter(Boolean).join(", "),
    reason: store.row ? reasonOf(schema, /host|psutil/i, unreported("this machine")) : NO_ROW,
    ...(known(load) ? { more: `load of the last minute ${load.toFixed(1)}` } : {}),
    now: ratio * 100,
    max: 100,
  };
}

/** 32, 0.5: cores without needless decimals. */
export function trim(x: number): string {
  return String(Math.round(x * 10) / 10);
}

export function hostPower(store: Store, schema: Schema): Reading {
  const watts = store.value("host.power_w");
  const [low, high] = [store.value("host.power_low_w"), store.value("host.power_high_w")];
  const estimated = schema.host.power_basis === "estimated";
  // an estimate is never shown without its interval
  const shown = estimated && !(known(low) && known(high)) ? NaN : watts;
  const max = schema.host.power_max_w ?? NaN;
  const digits = wholeWatts(shown);
  const interval = estimated && known(shown) ? `[${wholeWatts(low)}, ${wholeWatts(high)}]` : "";
  return {
    value: digits,
    unit: "W",
    ratio: known(max) && max > 0 ? shown / max : known(shown) ? 0 : NaN,
    pattern: estimated ? "estimated" : "measured",
    context: [interval].filter(Boolean),
    limit: "",
    spoken: estimated ? `${digits} watt, estimated, from ${wholeWatts(low)} to ${wholeWatts(high)}` : `${digits} watt`,
    reason: store.row ? reasonOf(schema, /rapl|rated|power/i, unreported("this machine")) : NO_ROW,
    ...(estimated ? { more: `estimated from utilisation ${interval} W` } : {}),
    now: shown,
    max,
  };
}

export function temperature(celsius: number): { readonly digits: string; readonly spoken: string } {
  return { digits: celsiusDigits(celsius), spoken: format_temperature_c(celsius) };
}

/** "NVIDIA H200" → "H200": the maker is in the tooltip. */
export function shortName(name: string | null): string {
  return (name ?? "").replace(/^NVIDIA\s+(GeForce\s+)?/i, "");
}
