import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { panelState } from "../src/state";
import type { Cell } from "../src/wire";
import { history, offsetView, row, schema, storeOver, withGpu } from "./helpers";

const s = schema();

function cell(id: number, state: Cell["state"], t0: number, t1: number | null = null): Cell {
  return { id, number: id, title: "x = 1", t0, t1, state, error: state === "failed" ? "ValueError" : null, items_unit: null };
}

function opened(): ReturnType<typeof storeOver> {
  const snapshot = offsetView(history(s, [1, 1.5, 2], (c, i) => c + i));
  return storeOver({ _schema: s, _snapshot: snapshot, _cells: [cell(1, "running", 1)] });
}

test("the traits are enough to draw at once", () => {
  const { store } = opened();
  assert.equal(store.complete, true);
  assert.equal(store.series.length, 3);
  assert.equal(store.cell?.number, 1);
  store.close();
});

test("a model without a snapshot asks for one, and draws after the answer", () => {
  const { model, store } = storeOver({ _schema: null, _snapshot: new DataView(new ArrayBuffer(0)), _cells: [] });
  assert.deepEqual(model.sent, [{ k: "hello" }]);
  assert.equal(panelState(store, false, 0).sign, "waiting");
  model.message({ k: "row" }, row(s, 5));
  assert.equal(store.row, null, "a row before the schema cannot be read");
  model.message({ k: "schema", schema: s });
  model.message({ k: "history", n: 2, cells: [cell(1, "done", 1, 2)] }, history(s, [1, 2], () => 0.5));
  assert.equal(store.complete, true);
  assert.equal(store.series.length, 2);
  assert.equal(store.cells.length, 1);
  store.close();
});

test("rows that came before the history stay behind it", () => {
  const { model, store } = storeOver({ _schema: s, _cells: [] });
  for (const t of [3, 3.5]) model.message({ k: "row" }, row(s, t, { "host.power_w": t }));
  model.message({ k: "history", n: 3 }, history(s, [2, 2.5, 3], () => 1));
  assert.deepEqual([...store.series.t.slice(0, store.series.length)], [2, 2.5, 3, 3.5]);
  assert.equal(store.series.mean("host.power_w")?.[3], 3.5);
  store.close();
});

test("a schema that changes in mid-run keeps the past; what is new was unknown before", () => {
  const { model, store } = opened();
  const next = withGpu(s, 2);
  model.message({ k: "schema", schema: next });
  assert.equal(store.series.length, 3);
  assert.equal(store.series.mean("host.power_w")?.[2], 3);
  assert.ok(Number.isNaN(store.series.mean("gpu.0.utilization")?.[2]));
  model.message({ k: "row" }, row(s, 2.5));
  assert.equal(store.row, null, "a row of the old revision is not misread");
  model.message({ k: "row" }, row(next, 2.5, { "gpu.0.utilization": 0.5 }));
  assert.equal(store.value("gpu.0.utilization"), 0.5);
  store.close();
});

test("the same schema sent again changes nothing that is shown", () => {
  const { model, store } = opened();
  model.message({ k: "row" }, row(s, 2.5, { "host.power_w": 7 }));
  model.message({ k: "schema", schema: structuredClone(s) });
  assert.equal(store.value("host.power_w"), 7);
  store.close();
});

test("what a row says of one cell is kept after its end and never shown as that of another", () => {
  const columns = [...s.columns, "cell.measured_j", "energy.0.cell_j", "session.measured_j"];
  const wide = { ...s, columns };
  const { model, store } = storeOver({ _schema: wide, _cells: [cell(1, "running", 1)] });
  const values = { "cell.measured_j": 5, "energy.0.cell_j": 5, "session.measured_j": 9 };
  const shown = (): number[] => ["cell.measured_j", "energy.0.cell_j", "session.measured_j"].map((name) => store.value(name));
  model.message({ k: "row", cell: 1 }, row(wide, 2.5, values));
  model.message({ k: "cell", cell: cell(1, "done", 1, 2.4) });
  assert.deepEqual(shown(), [5, 5, 9]);
  model.message({ k: "cell", cell: cell(2, "running", 3) });
  assert.deepEqual(shown(), [NaN, NaN, 9]);
  model.message({ k: "row", cell: 1 }, row(wide, 3.5, values));
  assert.deepEqual(shown(), [NaN, NaN, 9], "a row that was on its way when the cell began");
  model.message({ k: "row", cell: 2 }, row(wide, 4, values));
  assert.deepEqual(shown(), [5, 5, 9]);
  store.close();
});

test("a newer wire format is refused with the remedy", () => {
  const { store } = storeOver({ _schema: { ...s, v: 2 } });
  assert.match(store.refused, /format 1.*sends 2.*reload/);
  store.close();
});

test("what cannot be a message is ignored", () => {
  const { model, store } = opened();
  for (const content of [null, 3, "row", [], { k: 7 }, { k: "later" }, { k: "row" }]) model.message(content);
  assert.equal(store.rows, 0);
  store.close();
});

test("missed ticks are a gap, a slow tick is not", () => {
  const { model, store } = opened();
  model.message({ k: "row" }, row(s, 2.5, { "resmon.missed": 0, "host.power_w": 1 }));
  model.message({ k: "row" }, row(s, 4.6, { "resmon.missed": 0, "host.power_w": 1 }));
  assert.equal(store.series.length, 5);
  model.message({ k: "row" }, row(s, 7, { "resmon.missed": 4, "host.power_w": 1 }));
  assert.equal(store.series.length, 7);
  assert.equal(store.series.isGap(5), true);
  store.close();
});

test("after a silence the history is asked for again", () => {
  const { model, store } = opened();
  model.message({ k: "row" }, row(s, 2.5));
  const before = model.sent.length;
  model.message({ k: "row" }, row(s, 60));
  assert.deepEqual(model.sent.slice(before), [{ k: "hello" }]);
  store.close();
});

test("a cell at its end replaces itself", () => {
  const { model, store } = opened();
  model.message({ k: "cell", cell: cell(2, "running", 3) });
  assert.equal(store.cell?.id, 2);
  model.message({ k: "cell", cell: cell(2, "failed", 3, 4) });
  assert.equal(store.cells.length, 2);
  assert.equal(store.cell?.id, 1, "the one that runs comes first");
  model.message({ k: "cell", cell: cell(1, "done", 1, 5) });
  assert.deepEqual([panelState(store, false, 0).sign, panelState(store, false, 0).word], ["failed", "failed: ValueError"]);
  store.close();
});

test("stop says when it cannot reach the kernel, once and only then", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { model, store } = opened();
    store.stop();
    assert.equal(store.said, "");
    mock.timers.tick(1001);
    assert.equal(store.said, "stops when the cell ends");
    model.message({ k: "state", state: "stopped" });
    assert.equal(store.said, "");
    assert.equal(panelState(store, false, 0).sign, "stopped");
    store.close();
    const answered = opened();
    answered.store.stop();
    answered.model.message({ k: "state", state: "stopped" });
    mock.timers.tick(2000);
    assert.equal(answered.store.said, "");
    answered.store.close();
  } finally {
    mock.timers.reset();
  }
});

test("without subshells stop says so at once", () => {
  const { store } = storeOver({ _schema: schema({ subshells: false }) });
  store.stop();
  assert.equal(store.said, "stops when the cell ends");
  store.close();
});

test("a comm that closes, or cannot send, is disconnected; silence is only silence", () => {
  const { model, store } = opened();
  model.message({ k: "row" }, row(s, 2.5));
  assert.equal(panelState(store, false, store.rowAt + 1000).word, "running");
  const silent = panelState(store, false, store.rowAt + 9000);
  assert.equal(silent.sign, "running");
  assert.match(silent.beside, /no message for 0:09/);
  model.emit("comm:close");
  assert.equal(panelState(store, false, 0).sign, "gone");
  store.close();
  const broken = opened();
  broken.model.broken = true;
  broken.store.stop();
  assert.equal(broken.store.disconnected, true);
  broken.store.close();
});

test("the kernel's own signals count, where the manager has them", () => {
  const slots = new Set<() => void>();
  const signal = { connect: (f: () => void) => slots.add(f), disconnect: (f: () => void) => slots.delete(f) };
  const kernel = { status: "busy", connectionStatus: "connected", statusChanged: signal, connectionStatusChanged: signal };
  const { store } = storeOver({ _schema: s }, { kernel });
  const change = (over: Partial<typeof kernel>): void => {
    Object.assign(kernel, over);
    for (const slot of [...slots]) slot();
  };
  change({ connectionStatus: "connecting" });
  assert.equal(store.disconnected, true);
  change({ connectionStatus: "connected" });
  assert.equal(store.disconnected, false, "a connection that comes back is back");
  change({ status: "autorestarting" });
  change({ status: "idle" });
  assert.equal(store.disconnected, true, "a restarted kernel has forgotten the panel");
  store.close();
  assert.equal(slots.size, 0);
});

test("a closed store listens to nothing", () => {
  const { model, store } = opened();
  let told = 0;
  store.subscribe(() => (told += 1));
  store.close();
  assert.equal(model.listening, 0);
  const after = told;
  model.message({ k: "row" }, row(s, 9));
  assert.equal(told, after);
});
