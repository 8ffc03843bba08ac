import assert from "node:assert/strict";
import { test } from "node:test";
import { estimatedParts, format_estimated, format_measured, measuredParts } from "../src/format";
import { unitOf, unitsOf } from "../src/units";
import type { FactorSchema } from "../src/wire";
import { schema } from "./helpers";

const carbon: FactorSchema = { kind: "carbon", unit: "g", per_kwh: 300, pue: null, source: "the supplier", zone: "DE", date: "2025" };
const cost: FactorSchema = { kind: "cost", unit: "EUR", per_kwh: 0.3, pue: null, source: "the contract", zone: "", date: "" };
const KWH = 3.6e6;

test("without a factor there are joules and watt-hours", () => {
  assert.deepEqual(unitsOf(null).map((u) => u.id), ["J", "Wh"]);
  assert.deepEqual(unitsOf(schema()).map((u) => u.name), ["joule, J", "watt-hours, Wh"]);
  assert.equal(unitOf("Wh"), unitsOf(null)[1]);
});

test("each factor is a unit that names its factor, source, zone and date", () => {
  const units = unitsOf(schema({ factors: [carbon, { ...carbon, pue: 1.2 }, cost] }));
  assert.deepEqual(units.map((u) => u.name), ["joule, J", "watt-hours, Wh", "g CO₂", "g CO₂ with PUE 1.2", "cost, EUR"]);
  assert.deepEqual(units.slice(2).map((u) => u.about), [
    "300 g/kWh (the supplier, DE, 2025)",
    "300 g/kWh, times PUE 1.2 (the supplier, DE, 2025)",
    "0.3 EUR/kWh (the contract)",
  ]);
  assert.equal(new Set(units.map((u) => u.id)).size, units.length);
});

test("the same schema has the same units, so that a prefix stays", () => {
  const s = schema({ factors: [carbon] });
  assert.equal(unitsOf(s), unitsOf(s));
});

test("grams follow the rules of joules", () => {
  const [, , grams, more] = unitsOf(schema({ factors: [carbon, { ...carbon, pue: 1.2 }] }));
  assert.ok(grams && more);
  assert.equal(format_measured(KWH, 0.9 * KWH, 1.1 * KWH, grams), "300 ± 30\u202fg CO₂");
  assert.equal(format_measured(KWH, 0.9 * KWH, 1.1 * KWH, more), "360 ± 40\u202fg CO₂");
  assert.equal(format_estimated(27e3, 12e3, 61e3, grams), "2.3 [1.0, 5.1]\u202fg CO₂");
  assert.equal(format_measured(1e3 * KWH, 0.9e3 * KWH, 1.1e3 * KWH, grams), "300 ± 30\u202fkg CO₂");
  assert.equal(format_measured(1e4 * KWH, 0.9e4 * KWH, 1.1e4 * KWH, grams), "3.0 ± 0.3\u202ft CO₂");
  assert.equal(format_measured(0.5, 0.4, 0.6, grams), "< 0.1\u202fmg CO₂");
  assert.equal(measuredParts(NaN, NaN, NaN, grams).value, "–");
});

test("money keeps its decimals and is never 0", () => {
  const money = unitsOf(schema({ factors: [cost] }))[2];
  assert.ok(money);
  assert.equal(format_measured(156e3, 144e3, 168e3, money), "0.0130 ± 0.0010\u202fEUR");
  assert.equal(format_measured(1e4 * KWH, 0.9e4 * KWH, 1.1e4 * KWH, money), "3000 ± 300\u202fEUR");
  assert.equal(format_measured(10, 9, 11, money), "< 0.0001\u202fEUR");
  assert.equal(estimatedParts(27e3, 12e3, 61e3, money).interval, "[0.0010, 0.0051]");
});

test("a factor of 0 makes no unit", () => {
  assert.equal(unitsOf(schema({ factors: [{ ...carbon, per_kwh: 0 }] })).length, 2);
});
