// What the harness can show: each scene gives the traits at the start and the messages after.

import { NOW, cells, history, row, schema } from "./fixtures.js";
import { STRAGGLER, clusterSchema, cpuRank, facts, packed, rank, runningCell } from "./ranks.js";

const GIB = 1024 ** 3;

function scene(s, { over = {}, cellList = cells(), span = 660, rows = 120, after = [], gap = null, snapshot = true } = {}) {
  const state = {
    _schema: s, _cells: cellList, _kind: s.kind,
    _snapshot: snapshot ? new DataView(history(s, { span, end: NOW - rows * s.interval_s, gap })) : new DataView(new ArrayBuffer(0)),
  };
  return { state, play: (model) => {
    for (let i = rows; i >= 0; i -= 1) {
      const t = NOW - i * s.interval_s;
      const wobble = Math.sin(i / 5) * 0.3 + Math.sin(i / 1.7) * 0.25;
      model.message({ k: "row" }, row(s, t, typeof over === "function" ? over(i) : over, { wobble }));
    }
    for (const [content, ...buffers] of after) model.message(content, ...buffers);
  } };
}

function twoGpus(options) {
  return scene(schema(), options);
}

function cpuSchema() {
  const s = schema({ gpus: 0, measured: false, not_covered: ["DRAM", "display", "PSU", "fans"], notices: ["no GPU on this machine"], measured_caption: "no counter", session_started_s: NOW - 720 });
  return { ...s, host: { ...s.host, name: "Core i7", cores: 16, core_columns: 16, cpu_limit_cores: 16, cpu_limit_source: "machine", memory_limit_bytes: 15.3 * GIB, memory_total_bytes: 15.3 * GIB, memory_limit_source: "machine", power_max_w: 54 } };
}

const CPU_ROW = {
  "host.cpu_utilization": 0.64, "host.memory_used_bytes": 10.2 * GIB, "host.memory_tree_bytes": 3.4 * GIB, "host.disk_read_bytes_per_s": 0.2e6,
  "host.disk_write_bytes_per_s": 11e3, "host.net_in_bytes_per_s": 4e3, "host.net_out_bytes_per_s": 2e3, "host.temperature_c": 83,
  "host.power_w": 24, "host.power_low_w": 9, "host.power_high_w": 41, "resmon.cpu_fraction": 0.0005, "cell.items_per_s": 5210,
  "cell.measured_j": NaN, "cell.measured_low_j": NaN, "cell.measured_high_j": NaN, "session.measured_j": NaN, "session.measured_low_j": NaN, "session.measured_high_j": NaN,
  "cell.estimated_j": 2.1e3, "cell.estimated_low_j": 0.8e3, "cell.estimated_high_j": 4.4e3, "energy.0.cell_j": 2.1e3,
  "session.estimated_j": 6.3e3, "session.estimated_low_j": 2.2e3, "session.estimated_high_j": 14e3,
};

function cpuCells() {
  const cell = (id, t0, t1, state) => ({ id, number: id, title: "train digits", t0, t1, state, error: null, items_unit: "samples" });
  return [cell(3, NOW - 600, NOW - 540, "done"), cell(4, NOW - 500, NOW - 420, "done"), cell(5, NOW - 340, NOW - 170, "done"), cell(6, NOW - 91, null, "running")];
}

function eight() {
  const s = schema({ gpus: 8, model: "NVIDIA H100", total: 80, max: 700, not_covered: ["DRAM", "NVSwitch", "PSU", "fans", "NIC"] });
  const util = [0.97, 0.96, 0.97, 0.91, 0.96, 0.95, 0.97, 0];
  const watts = [641, 633, 648, 598, 637, NaN, 644, 131];
  const temperatures = [64, 62, 66, 83, 61, 63, 63, 34];
  return scene({ ...s, host: { ...s.host, cores: 112, core_columns: 56, cpu_limit_cores: 112, memory_limit_bytes: 2048 * GIB } }, {
    cellList: [
      { id: 29, number: 29, title: "prepare", t0: NOW - 590, t1: NOW - 540, state: "done", error: null, items_unit: null },
      { id: 31, number: 31, title: "finetune llama-8b", t0: NOW - 246, t1: null, state: "running", error: null, items_unit: "tokens" },
    ],
    over: (i) => {
      const over = { "cell.items_per_s": 61300, "cell.measured_j": 1.05e6, "cell.measured_low_j": 0.985e6, "cell.measured_high_j": 1.115e6,
        "cell.estimated_j": 1e5, "cell.estimated_low_j": 5e4, "cell.estimated_high_j": 2.4e5, "session.measured_j": 3.9e6, "session.measured_low_j": 3.6e6, "session.measured_high_j": 4.2e6,
        "host.cpu_utilization": 0.18, "host.memory_tree_bytes": 204 * GIB, "host.memory_used_bytes": 520 * GIB, "host.power_w": 410, "host.power_low_w": 200, "host.power_high_w": 600, "resmon.cpu_fraction": 0.004, "resmon.missed": 3 };
      util.forEach((u, g) => {
        over[`gpu.${g}.utilization`] = u;
        over[`gpu.${g}.power_w`] = g === 5 && i > 28 ? 640 : watts[g];
        over[`gpu.${g}.power_limit_w`] = 700;
        over[`gpu.${g}.temperature_c`] = temperatures[g];
        over[`gpu.${g}.memory_own_bytes`] = g === 7 ? 0 : 71.2 * GIB;
        over[`gpu.${g}.memory_used_bytes`] = g === 7 ? 22.4 * GIB : 71.4 * GIB;
        over[`gpu.${g}.throttle`] = g === 3 ? 0x20 : 0;
        over[`energy.${g}.cell_j`] = g === 7 ? 0.03e6 : 0.146e6;
      });
      over["energy.8.cell_j"] = 1e5;
      return over;
    },
  });
}

function many() {
  const s = schema({ gpus: 24, model: "NVIDIA A100", total: 80, max: 400 });
  return scene(s, {
    over: () => Object.fromEntries(s.gpus.flatMap((_, g) => [
      [`gpu.${g}.utilization`, g === 13 ? 0.31 : 0.9 + (g % 7) / 100], [`gpu.${g}.power_w`, g === 4 ? NaN : 330 + (g * 7) % 40],
      [`gpu.${g}.power_limit_w`, 400], [`gpu.${g}.temperature_c`, 55 + (g * 5) % 20], [`gpu.${g}.memory_own_bytes`, (60 + g % 5) * GIB],
      [`gpu.${g}.memory_used_bytes`, (60 + g % 5) * GIB], [`gpu.${g}.throttle`, g === 20 ? 0x40 : 0],
    ])),
  });
}

const UNKNOWN = {
  "gpu.1.power_w": NaN, "gpu.1.utilization": NaN, "gpu.0.temperature_c": NaN, "gpu.0.memory_own_bytes": NaN, "host.power_w": NaN, "host.power_low_w": NaN, "host.power_high_w": NaN,
  "host.temperature_c": NaN, "host.net_in_bytes_per_s": NaN, "host.net_out_bytes_per_s": NaN, "cell.items_per_s": NaN,
  "cell.estimated_j": NaN, "session.estimated_j": NaN, "energy.2.cell_j": NaN,
};

function everythingNan(s) {
  return Object.fromEntries(s.columns.map((name) => [name, NaN]));
}

function finished(state, error = null) {
  const list = cells();
  return list.map((cell) => (cell.number === 12 ? { ...cell, state, error, t1: NOW } : cell));
}

const GRID = { kind: "carbon", unit: "g", per_kwh: 350, pue: null, source: "the supplier's label", zone: "DE", date: "2025" };
const FACTORS = [GRID, { ...GRID, pue: 1.2 }, { kind: "cost", unit: "EUR", per_kwh: 0.3, pue: null, source: "the contract", zone: "", date: "" }];

const HOSTILE = '<img src=x onerror="window.hacked=1">';

const NO_ITEMS = { "cell.items_per_s": NaN };

/** Ranks in the traits and in every row after. */
function ranked(ranks, { s = clusterSchema(), over = NO_ITEMS, cellList = runningCell(), ...told } = {}) {
  const shown = facts(ranks, told);
  const made = scene(s, { cellList, over, after: [[{ k: "row", ranks: shown }, row(s, NOW + s.interval_s, over), packed(ranks)]] });
  return { ...made, state: { ...made.state, _ranks: shown, _rank_numbers: new DataView(packed(ranks)) } };
}

function each(n, made, over = {}) {
  return Array.from({ length: n }, (_, i) => made(i, over[i]));
}

const EVEN = { 5: { compute_s: 0.59 / 2.41, wait_s: 0.31 / 2.41, power_w: 470 } };
const ENDED = {
  1: { state: "lost", age_s: 7.2 }, 3: { state: "failed", outcome: "killed by SIGKILL (out of memory: 15.1 GiB)" }, 2: { state: "expected", age_s: NaN, host: "", device: "" },
};

function sixtyFour() {
  const jitter = (i) => ((i * 37) % 11) / 200;
  const over = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [i, { compute_s: (i === 41 ? 0.86 : 0.55 + jitter(i)) / 2.41, wait_s: (i === 41 ? 0.05 : 0.36 - jitter(i)) / 2.41, power_w: 450 + (i * 13) % 40 }]));
  over[12] = { state: "failed", outcome: "failed: ValueError: loss is nan" };
  over[50] = { state: "lost", age_s: 12 };
  return ranked(each(64, rank, over), { straggler: { ...STRAGGLER, rank: 41, factor: 1.5, others: 61, wait: 0.33, cause: "" }, title: "train" });
}

function cpuRanks(told = {}) {
  const ranks = each(2, cpuRank, { 0: { compute_s: 0.02, communication_s: 0.0014, wait_s: 0.0048 }, 1: { compute_s: 0.0247, communication_s: 0.0014, wait_s: 0.0001 } });
  return ranked(ranks, { s: cpuSchema(), over: { ...CPU_ROW, ...NO_ITEMS }, cellList: runningCell("launch(train, ranks=2)"), ...told });
}

export const SCENES = {
  two: () => twoGpus(),
  cpu: () => scene(cpuSchema(), { over: CPU_ROW, cellList: cpuCells() }),
  eight,
  many,
  unknown: () => twoGpus({ over: UNKNOWN }),
  factors: () => scene(schema({ factors: FACTORS, measured_caption: "shared: 2 GPU counters" })),
  nan: () => { const s = schema(); return scene(s, { over: everythingNan(s) }); },
  lost: () => twoGpus({ over: (i) => (i < 28 ? { "gpu.1.power_w": NaN } : {}), gap: [NOW - 300, NOW - 240] }),
  failed: () => twoGpus({ cellList: finished("failed", "KeyboardInterrupt") }),
  done: () => twoGpus({ cellList: finished("done") }),
  missed: () => twoGpus({ over: { "resmon.missed": 180 } }),
  stopping: () => ({ ...twoGpus({ after: [[{ k: "said", text: "stops when the cell ends" }]] }) }),
  stopped: () => twoGpus({ after: [[{ k: "state", state: "stopped" }]] }),
  waiting: () => ({ state: { _schema: null, _cells: [], _snapshot: new DataView(new ArrayBuffer(0)) }, play: () => {} }),
  fresh: () => ({ state: { _schema: schema(), _cells: [], _snapshot: new DataView(new ArrayBuffer(0)) }, play: () => {} }),
  late: () => ({ state: { _schema: null, _cells: [], _snapshot: new DataView(new ArrayBuffer(0)) }, play: (model) => {
    const s = schema();
    model.message({ k: "row" }, row(s, NOW));
    model.message({ k: "schema", schema: s });
    model.message({ k: "history", n: 1, cells: cells() }, history(s));
    model.message({ k: "row" }, row(s, NOW));
  } }),
  gone: () => ({ ...twoGpus(), then: (model) => model.emit("comm:close") }),
  young: () => twoGpus({ span: 12, rows: 20, cellList: [{ id: 1, number: 1, title: "import torch", t0: NOW - 12, t1: null, state: "running", error: null, items_unit: null }] }),
  long: () => twoGpus({
    over: { "cell.items_per_s": 123_456 },
    cellList: [{ id: 1, number: 1234, title: "a title that is far too long for any header, epoch 12 of 300", t0: NOW - 4002, t1: null, state: "running", error: null, items_unit: "samples" }],
  }),
  ranks: () => ranked(each(8, rank, EVEN)),
  straggler: () => ranked(each(8, rank), { straggler: STRAGGLER }),
  ranks4: () => ranked(each(4, rank)),
  ranks2: () => cpuRanks({ straggler: { rank: 1, factor: 1.24, others: 1, wait: 0.18, cause: "" } }),
  ended: () => ranked(each(4, rank, ENDED)),
  finished: () => ranked(each(4, rank).map((r) => ({ ...r, state: "done", outcome: "done" })), { ended: true }),
  joining: () => ranked(each(4, rank).map((r) => ({ ...r, state: "expected", host: "", device: "" }))),
  sixtyFour,
  hostileRanks: () => ranked(each(4, rank, { 1: { host: HOSTILE, device: HOSTILE }, 2: { state: "failed", outcome: HOSTILE } }),
    { straggler: { ...STRAGGLER, rank: 1, cause: HOSTILE }, items_unit: HOSTILE, title: HOSTILE }),
  hostile: () => {
    const s = schema({ model: HOSTILE, measured_caption: HOSTILE, notices: [HOSTILE], not_covered: [HOSTILE] });
    return scene({ ...s, host: { ...s.host, label: HOSTILE, name: HOSTILE }, energy: s.energy.map((e) => ({ ...e, label: HOSTILE })), factors: [{ ...GRID, source: HOSTILE, unit: HOSTILE }], sensors: [{ name: HOSTILE, state: "unavailable", short: HOSTILE, cause: HOSTILE, remedy: HOSTILE }] },
      { cellList: [{ id: 1, number: null, title: HOSTILE, t0: NOW - 100, t1: null, state: "running", error: null, items_unit: HOSTILE }] });
  },
};
