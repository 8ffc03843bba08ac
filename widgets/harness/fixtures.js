// Invented figures for the harness: schemas, histories and rows in the wire format (docs/wire.md).

const GIB = 1024 ** 3;
const HOST_COLUMNS = [
  "cpu_utilization", "load_1min", "memory_used_bytes", "memory_tree_bytes", "disk_read_bytes_per_s", "disk_write_bytes_per_s",
  "net_in_bytes_per_s", "net_out_bytes_per_s", "temperature_c", "power_w", "power_low_w", "power_high_w",
].map((name) => `host.${name}`);
const GPU_COLUMNS = ["utilization", "memory_used_bytes", "memory_own_bytes", "power_w", "power_limit_w", "temperature_c", "sm_clock_hz", "throttle"];
const TOTALS = ["cell.measured", "cell.estimated", "session.measured", "session.estimated"].flatMap((n) => [`${n}_j`, `${n}_low_j`, `${n}_high_j`]);

/** Unix time of the kernel clock's zero: NOW is 14:31:59 UTC. */
export const WALL = 1_768_487_519 - 2300;
/** Kernel time of the newest sample. */
export const NOW = 2300;

function noise(seed) {
  let s = seed * 2654435761 % 2 ** 32;
  return () => {
    s = (s * 1664525 + 1013904223) % 2 ** 32;
    return s / 2 ** 32 - 0.5;
  };
}

export function schema({ gpus = 2, model = "NVIDIA H200", total = 140, max = 700, revision = 1, measured = true, ...rest } = {}) {
  const gpuList = Array.from({ length: gpus }, (_, i) => ({
    label: `GPU ${i}`, name: model, kind: "gpu", memory_total_bytes: total * GIB, power_max_w: max, power_basis: "measured", own_memory_known: true,
  }));
  const energy = measured
    ? gpuList.map((gpu) => ({ id: `nvml:${gpu.label}`, label: gpu.label, resource: "gpu", basis: "measured", method: "counter", scope: "board" }))
    : [];
  energy.push({ id: "rated", label: "CPU", resource: "cpu", basis: "estimated", method: "model", scope: "package" });
  const columns = [
    ...HOST_COLUMNS, "resmon.cpu_fraction", "resmon.missed", "resmon.ticks", "cell.items_per_s", ...TOTALS,
    ...energy.map((_, i) => `energy.${i}.cell_j`),
    ...gpuList.flatMap((_, i) => GPU_COLUMNS.map((name) => `gpu.${i}.${name}`)),
  ];
  const timeline = [
    "host.cpu_utilization", "host.memory_tree_bytes", "host.memory_used_bytes", "host.power_w",
    ...gpuList.flatMap((_, i) => ["utilization", "memory_own_bytes", "memory_used_bytes", "power_w"].map((name) => `gpu.${i}.${name}`)),
  ];
  return {
    v: 1, revision, kind: "session", interval_s: 0.5, wall_offset_s: WALL, session_started_s: NOW - 2280,
    host: {
      label: "CPU", name: "AMD EPYC 9654", cores: 32, core_columns: 32, cpu_limit_cores: 32, cpu_limit_source: "cgroup",
      memory_limit_bytes: 256 * GIB, memory_limit_source: "cgroup", memory_total_bytes: 1024 * GIB, power_max_w: 700, power_basis: "estimated",
    },
    gpus: gpuList, energy, measured_caption: `${gpus} GPU counters`, estimated_caption: "CPU model",
    not_covered: ["DRAM", "PSU", "fans", "NIC"], no_measured_reason: measured ? "" : "RAPL needs root",
    sensors: [{ name: "rapl", state: "unavailable", short: "RAPL: needs root", cause: "energy_uj is readable by root alone since kernel 5.10", remedy: "sudo chmod o+r /sys/class/powercap/intel-rapl:0/energy_uj" }],
    notices: [], columns, timeline, subshells: true, ...rest,
  };
}

export function cells(now = NOW) {
  const cell = (id, number, t0, t1, state, title) => ({ id, number, title, t0, t1, state, error: null, items_unit: "images" });
  const earlier = Array.from({ length: 8 }, (_, i) => cell(i + 1, i + 1, now - 2200 + i * 150, now - 2100 + i * 150, "done", "import torch"));
  return [
    ...earlier,
    cell(9, 9, now - 640, now - 531, "done", "load data"), cell(10, 10, now - 516, now - 399, "done", "epoch 1"),
    cell(11, 11, now - 359, now - 297, "done", "epoch 2"), cell(12, 12, now - 167, null, "running", "train resnet50"),
  ];
}

/** Utilisation and power of a moment: what the pictures show. */
function load(t, i, now, random) {
  const back = now - t;
  if (back < 160) {
    const dip = back % 34 < 2 ? 0.5 : 1;
    return { util: (0.78 - 0.07 * i + random() * 0.06) * dip, watts: (512 - 44 * i + random() * 20) * (dip < 1 ? 0.65 : 1), gib: 41.2 - 1.4 * i };
  }
  if (back < 359 && back > 297) return { util: 0.86 + random() * 0.06, watts: 520 + random() * 12, gib: 9.5 };
  if (back < 510 && back > 399) return { util: i === 0 ? 0.62 + random() * 0.06 : 0.002, watts: i === 0 ? 440 : 100, gib: i === 0 ? 22 : 0.6 };
  return { util: 0.003, watts: 115 + random() * 4, gib: back < 399 ? 9.5 : 0.6 };
}

function hostLoad(t, now, random) {
  const back = now - t;
  const util = back < 167 && back > 160 ? 0.46 : back < 160 ? 0.22 + random() * 0.03 : back < 359 && back > 297 ? 0.13 + random() * 0.02
    : back < 516 && back > 399 ? 0.31 + random() * 0.04 : back < 640 && back > 531 ? 0.71 + random() * 0.03 : 0.02 + random() * 0.01;
  return { util, watts: 60 + util * 430, gib: back > 531 ? 38.5 - (back - 531) / 5 : 33 + (back < 167 ? 5.5 : 0) };
}

export function history(s, { now = NOW, end = NOW, span = 660, gap = null } = {}) {
  const n = Math.floor(span / s.interval_s);
  const bytes = new ArrayBuffer(8 + 8 * n + 4 * n * s.timeline.length);
  const head = new DataView(bytes);
  head.setUint32(0, n, true);
  head.setUint32(4, s.timeline.length, true);
  const t = new Float64Array(bytes, 8, n);
  for (let k = 0; k < n; k += 1) t[k] = end - (n - k) * s.interval_s;
  const random = noise(7);
  s.timeline.forEach((name, c) => {
    const column = new Float32Array(bytes, 8 + 8 * n + 4 * n * c, n);
    const gpu = /^gpu\.(\d+)\.(.*)$/.exec(name);
    for (let k = 0; k < n; k += 1) {
      const at = t[k];
      if (gap && at > gap[0] && at < gap[1]) column[k] = NaN;
      else if (gpu) {
        const l = load(at, Number(gpu[1]) % 2, now, random);
        column[k] = { utilization: l.util, power_w: l.watts, memory_own_bytes: l.gib * GIB, memory_used_bytes: (l.gib + 0.6) * GIB }[gpu[2]];
      } else {
        const l = hostLoad(at, now, random);
        column[k] = { "host.cpu_utilization": l.util, "host.power_w": l.watts, "host.memory_tree_bytes": l.gib * GIB, "host.memory_used_bytes": (l.gib + 21) * GIB }[name];
      }
    }
  });
  return bytes;
}

const LAST = {
  "host.cpu_utilization": 0.22, "host.load_1min": 7.4, "host.memory_used_bytes": 59.5 * GIB, "host.memory_tree_bytes": 38.5 * GIB,
  "host.disk_read_bytes_per_s": 412e6, "host.disk_write_bytes_per_s": 3.1e6, "host.net_in_bytes_per_s": 1.2e6, "host.net_out_bytes_per_s": 0.4e6,
  "host.temperature_c": 54, "host.power_w": 155, "host.power_low_w": 70, "host.power_high_w": 310,
  "resmon.cpu_fraction": 0.0006, "resmon.missed": 0, "resmon.ticks": 4560, "cell.items_per_s": 8420,
  "cell.measured_j": 156e3, "cell.measured_low_j": 144.1e3, "cell.measured_high_j": 167.9e3,
  "cell.estimated_j": 27e3, "cell.estimated_low_j": 12e3, "cell.estimated_high_j": 61e3,
  "session.measured_j": 412e3, "session.measured_low_j": 383e3, "session.measured_high_j": 441e3,
  "session.estimated_j": 96e3, "session.estimated_low_j": 40e3, "session.estimated_high_j": 214e3,
};
const GPU_LAST = [
  { utilization: 0.78, memory_used_bytes: 41.8 * GIB, memory_own_bytes: 41.2 * GIB, power_w: 512, power_limit_w: 700, temperature_c: 61, sm_clock_hz: 1.83e9, throttle: 0 },
  { utilization: 0.71, memory_used_bytes: 41.9 * GIB, memory_own_bytes: 39.8 * GIB, power_w: 468, power_limit_w: 480, temperature_c: 58, sm_clock_hz: 1.52e9, throttle: 4 },
];

/** One row in the wire format. `over` replaces values by column; `wobble` moves the rates so that sparklines have a shape. */
export function row(s, t, over = {}, { wobble = 0 } = {}) {
  const cores = s.host.core_columns;
  const bytes = new ArrayBuffer(8 + 4 * s.columns.length + cores);
  new DataView(bytes).setFloat64(0, t, true);
  const values = new Float32Array(bytes, 8, s.columns.length);
  const shares = s.energy.filter((e) => e.basis === "measured").length;
  s.columns.forEach((name, c) => {
    const gpu = /^gpu\.(\d+)\.(.*)$/.exec(name);
    const source = /^energy\.(\d+)\.cell_j$/.exec(name);
    let v = LAST[name];
    if (gpu) v = GPU_LAST[Number(gpu[1]) % 2][gpu[2]];
    // what varies, varies as the history does
    const random = noise(Math.round(t * 2) * 31 + c);
    random();
    if (/utilization$|power_w$/.test(name)) v *= 1 + random() * 0.05;
    if (source) v = s.energy[Number(source[1])].basis === "measured" ? (shares === 2 ? [82e3, 74e3][Number(source[1])] : 156e3 / shares) : 27e3;
    if (name.endsWith("per_s") && name.startsWith("host.")) v *= 1 + wobble * (0.5 + c / 40);
    values[c] = name in over ? over[name] : (v ?? NaN);
  });
  const core = new Uint8Array(bytes, 8 + 4 * s.columns.length, cores);
  const random = noise(Math.round(t * 2));
  const shape = noise(3);
  for (let i = 0; i < cores; i += 1) {
    const busy = shape() > 0.3 ? 0.7 : 0.12;
    core[i] = Math.max(0, Math.min(254, (busy + shape() * 0.2 + random() * 0.1) * 254));
  }
  return bytes;
}
