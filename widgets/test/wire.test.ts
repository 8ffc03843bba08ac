import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeHistory, decodeRow, readSchema } from "../src/wire";
import { history, offsetView, row, schema } from "./helpers";

const s = schema();

test("a row comes out of an unaligned view", () => {
  const buffer = row(s, 12.5, { "host.cpu_utilization": 0.25, "resmon.missed": 3 }, [254, 255, 0]);
  const decoded = decodeRow(offsetView(buffer), s);
  assert.ok(decoded);
  assert.equal(decoded.t, 12.5);
  assert.deepEqual([...decoded.values], [0.25, NaN, 3]);
  assert.deepEqual([...decoded.cores], [254, 255, 0]);
});

test("a row is a copy: the transport may reuse its buffer", () => {
  const view = offsetView(row(s, 1, { "host.cpu_utilization": 0.5 }));
  const decoded = decodeRow(view, s);
  new Uint8Array(view.buffer as ArrayBuffer).fill(0);
  assert.equal(decoded?.values[0], 0.5);
});

test("a row of another revision is refused", () => {
  const longer = schema({ columns: [...s.columns, "gpu.0.power_w"] });
  assert.equal(decodeRow(row(s, 1), longer), null);
  assert.equal(decodeRow(row(longer, 1), s), null);
  assert.equal(decodeRow(row(s, NaN), s), null);
  assert.equal(decodeRow(undefined, s), null);
  assert.equal(decodeRow("text", s), null);
});

test("a history comes column by column", () => {
  const decoded = decodeHistory(offsetView(history(s, [1, 2, 3], (c, i) => 10 * c + i)), s);
  assert.ok(decoded);
  assert.deepEqual([...decoded.t], [1, 2, 3]);
  assert.deepEqual(decoded.columns.map((c) => [...c]), [[0, 1, 2], [10, 11, 12]]);
});

test("a history that is empty, cut or of another width is refused", () => {
  const whole = history(s, [1, 2], () => 0);
  assert.equal(decodeHistory(new ArrayBuffer(0), s), null);
  assert.equal(decodeHistory(whole.slice(0, -4), s), null);
  assert.equal(decodeHistory(whole, schema({ timeline: ["host.cpu_utilization"] })), null);
  assert.deepEqual([...(decodeHistory(history(s, [], () => 0), s)?.t ?? [-1])], []);
});

test("only a schema of this version with all its parts is read", () => {
  assert.equal(readSchema(s), s);
  assert.equal(readSchema(null), null);
  assert.equal(readSchema({ ...s, v: 2 }), null);
  assert.equal(readSchema({ ...s, columns: undefined }), null);
});
