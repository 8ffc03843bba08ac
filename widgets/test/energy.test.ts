import assert from "node:assert/strict";
import { test } from "node:test";
import { estimatedParts, measuredParts } from "../src/format";
import { stripsOf } from "../src/timeline/strips";
import { fromTop } from "../src/timeline/names";
import { unitsOf, type Unit } from "../src/units";
import { Series } from "../src/series";
import { inPrefix } from "../src/views/energy";
import { schema, withGpu } from "./helpers";

const joules = unitsOf(schema())[0] as Unit;

test("the parts of an energy have no more digits than the whole", () => {
  const estimated = estimatedParts(131.4, 12, 540);
  assert.equal(estimated.value, "130");
  assert.equal(inPrefix(131.4, estimated, joules), "130");
  assert.equal(inPrefix(97.2, estimated, joules), "100");
  assert.equal(inPrefix(7.4, estimated, joules), "7");
  assert.equal(inPrefix(97.2, estimatedParts(97.2, 14, 400), joules), "97");
  assert.equal(inPrefix(2.13, estimatedParts(4.31, 0.6, 19), joules), "2.1");
  const measured = measuredParts(100, 88, 112);
  assert.equal(inPrefix(53.4, measured, joules), "53");
  assert.equal(inPrefix(4812, measuredParts(9640, 8500, 10700), joules), "4.8");
});

test("lines are named in their order, those of a stack from the top", () => {
  const one = withGpu(schema(), 2);
  const two = { ...one, gpus: [...one.gpus, { ...one.gpus[0], label: "GPU 1" }] } as typeof one;
  const [utilization, power] = stripsOf(two, new Series(two.timeline), "wide", false, false);
  assert.deepEqual(fromTop(utilization?.lines ?? []).map((line) => line.name), ["GPU 0", "GPU 1", "CPU"]);
  assert.deepEqual(fromTop(power?.lines ?? []).map((line) => line.name), ["+ CPU est.", "2 GPUs"]);
});
