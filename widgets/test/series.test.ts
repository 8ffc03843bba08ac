import assert from "node:assert/strict";
import { test } from "node:test";
import { Series } from "../src/series";

test("never more points than its capacity, the newest as they came", () => {
  const series = new Series(["a"], 100, 40);
  for (let i = 0; i < 10_000; i += 1) series.push(i, () => i);
  assert.ok(series.length <= 100);
  const newest = Array.from({ length: 40 }, (_, k) => series.t[series.length - 40 + k]);
  assert.deepEqual(newest, Array.from({ length: 40 }, (_, k) => 9960 + k));
});

test("older points keep mean, least and most, and no sample is lost", () => {
  const series = new Series(["a"], 64, 16);
  const n = 1000;
  let sum = 0;
  for (let i = 0; i < n; i += 1) {
    const v = (i * 37) % 101;
    sum += v;
    series.push(i, () => v);
  }
  let [weight, total, least, most] = [0, 0, Infinity, -Infinity];
  for (let i = 0; i < series.length; i += 1) {
    const w = series.weight[i] as number;
    weight += w;
    total += w * (series.mean("a")?.[i] as number);
    least = Math.min(least, series.min("a")?.[i] as number);
    most = Math.max(most, series.max("a")?.[i] as number);
  }
  assert.equal(weight, n);
  assert.ok(Math.abs(total / n - sum / n) < 1e-3);
  assert.deepEqual([least, most], [0, 100]);
});

test("times stay in order through compaction", () => {
  const series = new Series(["a"], 50, 10);
  for (let i = 0; i < 500; i += 1) series.push(i * 0.5, () => i);
  for (let i = 1; i < series.length; i += 1) assert.ok((series.t[i] as number) > (series.t[i - 1] as number));
});

test("a gap stays a gap", () => {
  const series = new Series(["a", "b"], 64, 16);
  for (let i = 0; i < 600; i += 1) series.push(i, () => (i === 20 ? NaN : 1));
  let gaps = 0;
  for (let i = 0; i < series.length; i += 1) if (series.isGap(i)) gaps += 1;
  assert.equal(gaps, 1);
});

test("nothing but gaps is bounded too", () => {
  const series = new Series(["a"], 64, 16);
  for (let i = 0; i < 5000; i += 1) series.push(i, () => NaN);
  assert.ok(series.length <= 64);
  assert.equal(series.newest, 4999);
});

test("a time that does not advance is refused", () => {
  const series = new Series(["a"], 8, 4);
  assert.equal(series.push(1, () => 1), true);
  assert.equal(series.push(1, () => 2), false);
  assert.equal(series.push(0.5, () => 2), false);
  assert.equal(series.push(NaN, () => 2), false);
  assert.equal(series.length, 1);
});

test("the nearest point to a time", () => {
  const series = new Series(["a"], 8, 4);
  assert.equal(series.nearest(1), -1);
  for (const t of [1, 2, 4]) series.push(t, () => 0);
  assert.deepEqual([-5, 1.4, 1.6, 2.9, 3.1, 99].map((t) => series.nearest(t)), [0, 0, 1, 1, 2, 2]);
});
