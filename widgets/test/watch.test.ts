import assert from "node:assert/strict";
import { test } from "node:test";
import { Watch, throttleReasons, throttleWord } from "../src/watch";
import { schema, withGpu } from "./helpers";

const s = withGpu(schema(), 1);

function feed(watch: Watch, from: number, to: number, values: Record<string, number>): void {
  for (let t = from; t < to; t += 0.5) watch.take(t, { schema: s, value: (name) => values[name] ?? NaN });
}

test("the gravest reason gives the badge its word", () => {
  assert.equal(throttleWord(0), "");
  assert.equal(throttleWord(NaN), "");
  assert.equal(throttleWord(0x1 | 0x2 | 0x10 | 0x100), "", "idle and chosen clocks hold nothing back");
  assert.equal(throttleWord(0x4), "power cap");
  assert.equal(throttleWord(0x4 | 0x20), "thermal");
  assert.equal(throttleWord(0x8), "hw slowdown");
  assert.equal(throttleWord(0x8 | 0x80), "power brake");
  assert.match(throttleReasons(0x4 | 0x40), /power cap.*\nthermal/);
});

test("a badge neither flickers in nor out", () => {
  const watch = new Watch();
  feed(watch, 0, 0.6, { "gpu.0.throttle": 4 });
  assert.equal(watch.throttle(0).word, "");
  feed(watch, 1, 2, { "gpu.0.throttle": 4 });
  assert.equal(watch.throttle(0).word, "power cap");
  feed(watch, 2, 4, { "gpu.0.throttle": 0 });
  assert.equal(watch.throttle(0).word, "power cap");
  feed(watch, 4, 6, { "gpu.0.throttle": 0 });
  assert.equal(watch.throttle(0).word, "");
});

test("only throttling of more than five seconds is spoken, on and off", () => {
  const watch = new Watch();
  feed(watch, 0, 4, { "gpu.0.throttle": 4 });
  feed(watch, 4, 20, { "gpu.0.throttle": 0 });
  assert.equal(watch.said.length, 0);
  feed(watch, 20, 30, { "gpu.0.throttle": 4 });
  feed(watch, 30, 40, { "gpu.0.throttle": 0 });
  assert.deepEqual(watch.said.map((x) => x.text), ["GPU 0 throttled: power cap", "GPU 0 no longer throttled"]);
});

test("a sensor that was there and is gone is lost; one that never was is not", () => {
  const watch = new Watch();
  feed(watch, 0, 2, { "gpu.0.power_w": 300 });
  assert.deepEqual(watch.lost, []);
  feed(watch, 2, 5, {});
  assert.deepEqual(watch.lost, [{ device: "GPU 0", what: "power", since: 1.5 }]);
  feed(watch, 5, 6, { "gpu.0.power_w": 300 });
  assert.deepEqual(watch.lost, []);
  assert.deepEqual(watch.said.map((x) => x.text), ["GPU 0 power lost", "GPU 0 power back"]);
});

test("one missing value is no loss", () => {
  const watch = new Watch();
  feed(watch, 0, 2, { "gpu.0.power_w": 300 });
  feed(watch, 2, 2.5, {});
  feed(watch, 2.5, 4, { "gpu.0.power_w": 300 });
  assert.equal(watch.said.length, 0);
});
