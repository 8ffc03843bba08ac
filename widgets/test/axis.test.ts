import assert from "node:assert/strict";
import { test } from "node:test";
import { Series } from "../src/series";
import { scaleTop, spread, timeTicks, valueTicks, windowOf } from "../src/timeline/axis";

function spanning(seconds: number): Series {
  const series = new Series(["a"], 4000, 1400);
  for (let t = 0; t <= seconds; t += 0.5) series.push(100 + t, () => 1);
  return series;
}

test("a young session fills a fixed window, an old one moves through it", () => {
  assert.deepEqual(windowOf("10 min", spanning(12)), { from: 100, to: 115 });
  assert.deepEqual(windowOf("10 min", spanning(40)), { from: 100, to: 160 });
  assert.deepEqual(windowOf("10 min", spanning(200)), { from: 100, to: 400 });
  assert.deepEqual(windowOf("10 min", spanning(700)), { from: 200, to: 800 });
  assert.deepEqual(windowOf("1 min", spanning(700)), { from: 740, to: 800 });
  assert.deepEqual(windowOf("all", spanning(900)), { from: 100, to: 1000 });
  assert.deepEqual(windowOf("all", new Series(["a"], 8, 4)), { from: 0, to: 60 });
});

test("a scale holds its data and does not shrink for little", () => {
  for (const most of [0.3, 1, 9.9, 480, 1234, 98765]) {
    const top = scaleTop(most, 0);
    assert.ok(top >= most && top <= most * 1.6, `${most} in ${top}`);
    assert.equal(scaleTop(most * 0.6, top), top);
    assert.ok(scaleTop(most * 0.1, top) < top);
  }
  assert.equal(scaleTop(0, 5), 5);
});

test("value ticks are round and below the top", () => {
  assert.deepEqual(valueTicks(1300), [0, 500, 1000]);
  assert.deepEqual(valueTicks(55), [0, 25, 50]);
  for (const top of [0.7, 3.3, 17, 220, 4400]) assert.ok((valueTicks(top)[2] as number) <= top);
});

test("value ticks of a small kernel's memory have few digits", () => {
  for (const top of [0.055, 0.066, 0.07, 0.088, 0.11, 0.13, 0.33, 0.55]) {
    for (const tick of valueTicks(top)) assert.ok(String(Number(tick.toPrecision(3))).length <= 4, `${tick} of ${top}`);
  }
});

test("time ticks are on the minute and few enough", () => {
  const ticks = timeTicks({ from: 10, to: 610 }, 1_768_487_000, 6);
  assert.ok(ticks.length >= 3 && ticks.length <= 6);
  for (const { at, label } of ticks) {
    assert.equal((at + 1_768_487_000) % 60, 0);
    assert.match(label, /^\d{1,2}:\d\d$/);
  }
  assert.match(timeTicks({ from: 0, to: 60 }, 1_768_487_000, 6)[0]?.label ?? "", /^\d{1,2}:\d\d:\d\d$/);
});

test("labels keep their order and their distance", () => {
  assert.deepEqual(spread([10, 12, 60], 14, 70), [10, 24, 60]);
  assert.deepEqual(spread([70, 69, 68], 14, 70), [70, 56, 42]);
  assert.deepEqual(spread([5], 14, 70), [5]);
});
