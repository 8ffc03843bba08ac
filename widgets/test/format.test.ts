import assert from "node:assert/strict";
import { test } from "node:test";
import cases from "../../tests/data/number_format.json";
import * as format from "../src/format";

const functions = format as unknown as Record<string, (...args: unknown[]) => string>;

for (const { fn, args, expected } of cases.cases) {
  test(`${fn}(${JSON.stringify(args).slice(1, -1)})`, () => {
    const f = functions[fn];
    assert.ok(f, `format.ts has no ${fn}`);
    assert.equal(f(...args), expected);
  });
}

test("NaN is unknown everywhere", () => {
  for (const name of new Set(cases.cases.map((c) => c.fn))) {
    assert.equal(functions[name]?.(NaN, NaN, NaN), "–", name);
  }
});

test("watt-hours start at milliwatt-hours", () => {
  assert.equal(format.format_measured(156e3, 144e3, 168e3, "Wh"), "43 ± 4\u202fWh");
  assert.equal(format.format_estimated(27, 12, 61, "Wh"), "7.5 [3.3, 17]\u202fmWh");
  assert.equal(format.format_measured(0.1, 0.1, 0.1, "Wh"), "< 0.1\u202fmWh");
});

test("a prefix stays until the value is 10 % past its end", () => {
  const kilo = format.measuredParts(999e3, 990e3, 1008e3);
  assert.equal(kilo.unit, "kJ");
  assert.equal(format.measuredParts(1050e3, 1040e3, 1060e3, "J", kilo.prefix).unit, "kJ");
  assert.equal(format.measuredParts(1101e3, 1090e3, 1110e3, "J", kilo.prefix).unit, "MJ");
  const mega = format.measuredParts(1101e3, 1090e3, 1110e3, "J", kilo.prefix);
  assert.equal(format.measuredParts(950e3, 940e3, 960e3, "J", mega.prefix).unit, "MJ");
  assert.equal(format.measuredParts(890e3, 880e3, 900e3, "J", mega.prefix).unit, "kJ");
});
