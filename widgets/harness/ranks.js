// Invented ranks for the harness, in the wire format (docs/wire.md).

import { NOW, schema } from "./fixtures.js";

const GIB = 1024 ** 3;
const STATES = ["expected", "running", "done", "failed", "lost"];
const COLUMNS = ["age_s", "steps_per_s", "items_per_s", "utilization", "memory_bytes", "allocator_allocated_bytes", "allocator_reserved_bytes", "power_w", "compute_s", "communication_s", "wait_s"];

/** Eight GPUs on two nodes, the sixth held back. */
const COMPUTE = [0.58, 0.57, 0.6, 0.58, 0.56, 0.89, 0.59, 0.57];
const WATTS = [468, 462, 474, 466, 459, 505, 471, 463];

export function rank(i, over = {}) {
  const compute = COMPUTE[i % 8];
  return {
    rank: i, host: `node-${"abcdefgh"[Math.floor(i / 4) % 8]}`, device: `GPU ${i % 4}`, resource: "gpu", outcome: "", memory_limit_bytes: 512 * GIB, gpu_memory_total_bytes: 80 * GIB,
    state: "running", age_s: 0.2 + (i % 3) / 10, steps_per_s: 2.41, items_per_s: 617, utilization: 0.99, memory_bytes: (7.1 + (i % 3) / 10) * GIB,
    allocator_allocated_bytes: (61 + (i % 3) / 10) * GIB, allocator_reserved_bytes: (68 + (i % 3) / 10) * GIB,
    power_w: WATTS[i % 8], compute_s: compute / 2.41, communication_s: (0.09 + (i % 2) / 100) / 2.41, wait_s: Math.max(0.01, 0.91 - (i % 2) / 100 - compute) / 2.41,
    ...over,
  };
}

export function cpuRank(i, over = {}) {
  return rank(i, { host: "workstation", device: "CPU", resource: "cpu", utilization: 0.97, memory_bytes: 1.31 * GIB, memory_limit_bytes: 15.3 * GIB,
    allocator_allocated_bytes: NaN, allocator_reserved_bytes: NaN, gpu_memory_total_bytes: null, power_w: NaN, steps_per_s: 38.2, items_per_s: 1222, ...over });
}

export function packed(ranks) {
  const bytes = new ArrayBuffer(ranks.length * (4 * COLUMNS.length + 1));
  const view = new DataView(bytes);
  ranks.forEach((r, i) => {
    COLUMNS.forEach((name, c) => view.setFloat32(4 * (i * COLUMNS.length + c), r.state === "running" || r.state === "done" || name === "age_s" ? r[name] : NaN, true));
    view.setUint8(4 * ranks.length * COLUMNS.length + i, STATES.indexOf(r.state));
  });
  return bytes;
}

/** The content of a `ranks` message. */
export function facts(ranks, { straggler = null, cell = 18, revision = 1, ...rest } = {}) {
  const known = ranks.map(({ rank: i, host, device, resource, outcome, memory_limit_bytes, gpu_memory_total_bytes }) => (
    { rank: i, host, device, resource, outcome, memory_limit_bytes, gpu_memory_total_bytes }
  ));
  return { board: 1, n: ranks.length, straggler, revision, cell, title: "train", world_size: ranks.length, items_unit: "items", ended: false, ranks: known, ...rest };
}

export function runningCell(title = "launch(train, ranks=8)") {
  return [{ id: 18, number: 18, title, t0: NOW - 592, t1: null, state: "running", error: null, items_unit: null }];
}

export const STRAGGLER = { rank: 5, factor: 1.53, others: 7, wait: 0.32, cause: "node-b GPU 1: thermal, 87 °C, 1.12 of 1.98 GHz" };

export function clusterSchema() {
  const s = schema({ gpus: 4, model: "NVIDIA H100", total: 80, max: 700, measured_caption: "4 GPU counters" });
  return { ...s, host: { ...s.host, cores: 112, core_columns: 56, cpu_limit_cores: 112 } };
}
