import assert from "node:assert/strict";
import { test } from "node:test";
import { Ranks } from "../src/ranks";
import { decodeRanks, shareOf, type Rank, type RankFacts, type RankNow, type RankState } from "../src/rankwire";
import { worstRanks, medianCompute } from "../src/views/rankbands";
import { offsetView, row, schema, storeOver } from "./helpers";

const STATES = ["expected", "running", "done", "failed", "lost"];

function packed(states: readonly RankState[], values: (rank: number, column: number) => number = (r, c) => 10 * r + c): ArrayBuffer {
  const bytes = new ArrayBuffer(45 * states.length);
  const view = new DataView(bytes);
  states.forEach((state, r) => {
    for (let c = 0; c < 11; c += 1) view.setFloat32(4 * (11 * r + c), values(r, c), true);
    view.setUint8(44 * states.length + r, STATES.indexOf(state));
  });
  return bytes;
}

function rank(i: number): Rank {
  return { rank: i, host: "a", device: "GPU 0", resource: "gpu", outcome: "", memory_limit_bytes: null, gpu_memory_total_bytes: null };
}

function facts(n: number, over: Partial<RankFacts> = {}): RankFacts {
  const ranks = Array.from({ length: n }, (_, i) => rank(i));
  return { board: 1, n, straggler: null, revision: 1, cell: 7, title: "", world_size: n, items_unit: "items", ended: false, ranks, ...over };
}

function now(compute: number, over: Partial<RankNow> = {}): RankNow {
  const rest = { age_s: 0, steps_per_s: 1, items_per_s: NaN, utilization: 1, memory_bytes: 1, allocator_allocated_bytes: NaN, allocator_reserved_bytes: NaN, power_w: NaN };
  return { ...rest, compute_s: compute, communication_s: 0.1, wait_s: 0.9 - compute, state: "running", ...over };
}

test("ranks are read from a view that is not aligned; a buffer of another length is nobody's", () => {
  const found = decodeRanks(offsetView(packed(["running", "lost"])), 2);
  assert.equal(found?.[1]?.steps_per_s, 11);
  assert.equal(found?.[1]?.wait_s, 20);
  assert.deepEqual(found?.map((r) => r.state), ["running", "lost"]);
  assert.equal(decodeRanks(packed(["running"]), 2), null);
  assert.equal(decodeRanks(undefined, 0), null);
});

test("a share is of the whole step, and unknown where a part of it is", () => {
  assert.deepEqual(shareOf(now(0.5)), { compute: 0.5, communication: 0.1, wait: 0.4 });
  assert.ok(Number.isNaN(shareOf(now(NaN)).wait));
  assert.ok(Number.isNaN(shareOf(now(0, { communication_s: 0, wait_s: 0 })).compute));
});

test("what happens to ranks is said once, many of them in one sentence", () => {
  const said: string[] = [];
  const ranks = new Ranks();
  const say = (text: string): void => void said.push(text);
  ranks.adopt(facts(5), packed(["running", "running", "running", "running", "expected"]), say);
  assert.deepEqual(said, [], "who looks first is not told of the past");
  const straggler = { rank: 1, factor: 1.534, others: 1, wait: 0.2, cause: "" };
  const after = packed(["failed", "running", "failed", "failed", "failed"]);
  for (let i = 0; i < 2; i += 1) ranks.take({ board: 1, n: 5, straggler }, after, say);
  assert.deepEqual(said, ["ranks 0, 2, 3 and 1 more failed", "straggler: rank 1 computes 1.53 times the median"]);
  ranks.take({ board: 1, n: 5, straggler: null }, after, say);
  assert.equal(said.at(-1), "rank 1 no longer holds the others up");
});

test("numbers of another run than the facts are left out", () => {
  const ranks = new Ranks();
  ranks.adopt(facts(1), packed(["running"]), () => {});
  ranks.take({ board: 2, n: 1, straggler: null }, packed(["failed"]), () => {});
  ranks.take({ board: 1, n: 2, straggler: null }, packed(["failed", "failed"]), () => {});
  assert.equal(ranks.now[0]?.state, "running");
  for (const wrong of [null, {}, 3, { board: 1 }, { board: 1, n: 2, ranks: [] }]) assert.equal(ranks.adopt(wrong, packed([]), () => {}), false);
  assert.equal(ranks.number, 1);
});

test("ranks belong to their cell", () => {
  const ranks = new Ranks();
  ranks.adopt(facts(1), packed(["running"]), () => {});
  const cell = { id: 7, number: 1, title: "", t0: 0, t1: null, state: "running", error: null, items_unit: null } as const;
  assert.equal(ranks.of(cell)?.board, 1);
  assert.equal(ranks.of({ ...cell, id: 8 }), null);
  assert.equal(ranks.of(null), null);
});

test("a store takes ranks from the traits, from their own message and with rows", () => {
  const s = schema();
  const traits = { _schema: s, _ranks: facts(2), _rank_numbers: offsetView(packed(["expected", "expected"])) };
  const { model, store } = storeOver(traits);
  assert.equal(store.ranks.facts?.n, 2);
  const changes: string[] = [];
  store.subscribe((change) => changes.push(change));
  model.message({ k: "ranks", ranks: facts(2, { revision: 2 }) }, packed(["running", "running"]));
  assert.deepEqual(changes, ["ranks"]);
  model.message({ k: "row", ranks: { board: 1, n: 2, straggler: null } }, row(s, 2.5), packed(["running", "failed"]));
  assert.deepEqual(store.ranks.now.map((r) => r.state), ["running", "failed"]);
  assert.equal(store.watch.said.at(-1)?.text, "rank 1 failed");
  model.message({ k: "now", ranks: { board: 1, n: 2, straggler: null } }, packed(["lost", "failed"]));
  assert.deepEqual(store.ranks.now.map((r) => r.state), ["lost", "failed"]);
  assert.deepEqual(changes, ["ranks", "row", "now"]);
  const count = store.watch.count;
  model.message({ k: "schema", schema: { ...s, revision: 2, columns: [...s.columns, "x"] } });
  assert.equal(store.watch.count, count, "what is said next has a higher number than what was said before");
  store.close();
});

test("rates are those of the ranks that run", () => {
  const ranks = new Ranks();
  const values = (r: number, c: number): number => [0.5 - r / 10, 2, 100][c] ?? NaN;
  ranks.adopt(facts(3), packed(["running", "running", "done"], values), () => {});
  assert.equal(ranks.itemsPerSecond, 200);
  assert.equal(ranks.stepsPerSecond, 2);
  assert.ok(Math.abs(ranks.age - 0.4) < 1e-6);
  assert.equal(ranks.count("done"), 1);
});

test("the worst ranks ended badly, are silent, or compute longest", () => {
  const all = Array.from({ length: 20 }, (_, i) => now(0.5 + i / 1000));
  assert.deepEqual(worstRanks(all), [17, 18, 19]);
  all[3] = now(NaN, { state: "failed" });
  all[5] = now(NaN, { state: "lost" });
  assert.deepEqual(worstRanks(all), [3, 5, 19]);
  assert.deepEqual(worstRanks([]), []);
  assert.equal(medianCompute([now(0.4), now(0.8)]), 0.4, "of two, the slow one is measured by the other");
});
