// Many GPUs: a line each; from 17 on their distribution and the three that stand out.

import { linePath } from "../canvas";
import { h, icon, setAttribute, setHidden, setText, swatch } from "../dom";
import { gibDigits } from "../format";
import type { Frame, Section } from "../frame";
import { density } from "../frame";
import { Meter } from "../meter";
import { gpuMemory, gpuPower, gpuUtilization, hostMemory, hostPower, hostUtilization, trim } from "../readings";
import { Distribution } from "./distribution";
import { Badge, Temperature, lostText, notYours } from "./devices";
import { worst } from "./worst";

const SPARK_S = 600;
const SPARK_WIDTH = 82;
const SPARK_HEIGHT = 20;
/** Ten minutes in so little width move a pixel in seven seconds. */
const SPARK_MS = 3500;
/** The rows that stand out change no more often than this, or nobody could read them. */
const WORST_MS = 5000;

/** One device in one line; `gpu` is its place, −1 for the host. */
class Line {
  readonly el: HTMLElement;
  readonly #gpu: number;
  readonly #utilization: Meter;
  readonly #memory: Meter;
  readonly #power: Meter;
  readonly #spark: SVGSVGElement;
  readonly #temperature = new Temperature(false);
  readonly #badge = new Badge();
  readonly #state = h("span", "rm-line-state");
  #sparkAt = -Infinity;

  constructor({ schema }: Frame, gpu: number) {
    this.#gpu = gpu;
    const device = schema.gpus[gpu];
    const label = device?.label ?? schema.host.label;
    const resource = device ? "gpu" : "cpu";
    this.#utilization = new Meter(`${label} utilisation`, "", resource);
    this.#memory = new Meter(`${label} memory`, "", "memory");
    this.#power = new Meter(`${label} power`, "", resource);
    const line = { fill: "none", stroke: `var(--rm-${resource})`, "stroke-width": "1.4" };
    const ground = { d: `M0 ${SPARK_HEIGHT - 0.5}H${SPARK_WIDTH}`, stroke: "var(--rm-hairline)" };
    this.#spark = icon("rm-spark", SPARK_HEIGHT, ground, line);
    this.#spark.setAttribute("viewBox", `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`);
    this.#spark.setAttribute("width", String(SPARK_WIDTH));
    this.el = h(
      "div",
      "rm-line",
      h("b", "rm-label", label),
      this.#utilization.el,
      this.#spark,
      this.#memory.el,
      this.#power.el,
      this.#temperature.el,
      h("span", "rm-line-end", this.#badge.el, this.#state),
    );
    this.el.setAttribute("role", "group");
    this.el.setAttribute("aria-label", [label, device?.name].filter(Boolean).join(", "));
  }

  resize(): void {
    this.#sparkAt = -Infinity;
  }

  text(frame: Frame): void {
    const { store, schema } = frame;
    this.#read(frame);
    for (const meter of [this.#utilization, this.#memory, this.#power]) meter.text(0);
    const host = this.#gpu < 0;
    this.#temperature.text(store.value(host ? "host.temperature_c" : `gpu.${this.#gpu}.temperature_c`));
    if (!host) {
      const { word, reasons } = store.watch.throttle(this.#gpu);
      this.#badge.show(word, reasons);
    }
    const label = schema.gpus[this.#gpu]?.label ?? schema.host.label;
    const cores = host && schema.host.cores !== null ? `${trim(schema.host.cpu_limit_cores ?? schema.host.cores)} cores` : "";
    const foreign = !host && notYours(frame, this.#gpu) ? "not yours" : "";
    setText(this.#state, lostText(frame, label) || foreign || cores);
  }

  graphics(frame: Frame): void {
    this.#read(frame);
    for (const meter of [this.#utilization, this.#memory, this.#power]) meter.graphics();
    this.#drawSpark(frame);
  }

  #read(frame: Frame): void {
    const { store, schema } = frame;
    const gpu = schema.gpus[this.#gpu];
    this.#utilization.read(gpu ? gpuUtilization(store, this.#gpu, gpu) : hostUtilization(store, schema));
    const memory = gpu ? gpuMemory(store, this.#gpu, gpu) : hostMemory(store, schema);
    // a line has no room for "others 22.4": where all of it is theirs, it is the value, and the state says so
    const theirs = gpu !== undefined && notYours(frame, this.#gpu);
    const value = theirs ? gibDigits(store.value(`gpu.${this.#gpu}.memory_used_bytes`)) : memory.value;
    this.#memory.read({ ...memory, value, more: memory.context[0] ?? "" });
    const power = gpu ? gpuPower(store, this.#gpu, gpu) : hostPower(store, schema);
    this.#power.read({ ...power, more: power.more ?? power.context[0] ?? "" });
  }

  #drawSpark({ store, size }: Frame): void {
    const now = performance.now();
    if (size !== "wide" || now - this.#sparkAt < SPARK_MS) return;
    const { series } = store;
    const values = series.mean(this.#gpu < 0 ? "host.cpu_utilization" : `gpu.${this.#gpu}.utilization`);
    if (!values) return;
    this.#sparkAt = now;
    const first = Math.max(0, series.firstAt(series.newest - SPARK_S) - 1);
    const path = linePath(
      series.length - first,
      (i) => SPARK_WIDTH - ((series.newest - (series.t[first + i] as number)) / SPARK_S) * SPARK_WIDTH,
      (i) => SPARK_HEIGHT - 1.5 - Math.min(1, values[first + i] as number) * (SPARK_HEIGHT - 3),
    );
    setAttribute(this.#spark.lastElementChild as Element, "d", path);
  }
}

function headings({ schema }: Frame): HTMLElement {
  const bases = new Set([schema.host.power_basis, ...schema.gpus.map((gpu) => gpu.power_basis)]);
  const power = h("span", "rm-heading", h("span", "", "Power"), h("span", "rm-head-unit", "W"));
  if (bases.has("measured")) power.append(swatch("measured"), h("span", "rm-legend-word", "meas."));
  if (bases.has("estimated")) power.append(swatch("estimated"), h("span", "rm-legend-word", "est."));
  const totals = new Set(schema.gpus.map((gpu) => gpu.memory_total_bytes));
  const total = [...totals][0];
  const same = totals.size === 1 && typeof total === "number" ? ` / ${Math.round(total / 1024 ** 3)} GiB` : "";
  const memory = h(
    "span",
    "rm-heading",
    h("span", "", "Memory", h("span", "rm-legend-word rm-total", same)),
    h("span", "rm-head-unit", "GiB"),
    swatch("yours", "memory"),
    h("span", "rm-legend-word", "yours"),
    swatch("others", "memory"),
    h("span", "rm-legend-word", "others"),
  );
  const utilization = h("span", "rm-heading", h("span", "rm-legend-word", "Utilisation"), h("span", "rm-head-unit", "Util %"));
  const spark = h("span", "rm-spark", "10 min");
  return h("div", "rm-line rm-line-headings", h("span"), utilization, spark, memory, power, h("span", "", "°C"), h("span", "rm-line-end", "State"));
}

export class Compact implements Section {
  readonly el = h("div", "rm-compact");
  readonly #distribution = new Distribution();
  readonly #rows = h("div", "rm-lines");
  readonly #standOut = h("div", "rm-stand-out", "three worst");
  readonly #lines = new Map<number, Line>();
  #shown: readonly number[] = [];
  #chosenAt = -Infinity;

  build(frame: Frame): void {
    this.#lines.clear();
    this.#chosenAt = -Infinity;
    this.#shown = [];
    const bands = density(frame) === "bands";
    setHidden(this.#distribution.el, !bands);
    setHidden(this.#standOut, !bands);
    this.el.replaceChildren(this.#distribution.el, this.#standOut, headings(frame), this.#rows);
    if (bands) this.#distribution.build(frame);
    this.#show(frame, bands ? worst(frame) : frame.schema.gpus.map((_, i) => i));
  }

  resize(): void {
    for (const line of this.#current()) line.resize();
  }

  text(frame: Frame): void {
    if (density(frame) === "bands") {
      this.#distribution.text(frame);
      this.#choose(frame);
    }
    for (const line of this.#current()) line.text(frame);
  }

  graphics(frame: Frame): void {
    if (density(frame) === "bands") this.#distribution.graphics(frame);
    for (const line of this.#current()) line.graphics(frame);
  }

  #current(): Line[] {
    return [...this.#shown, -1].flatMap((i) => this.#lines.get(i) ?? []);
  }

  #choose(frame: Frame): void {
    const now = performance.now();
    if (!frame.store.row || now - this.#chosenAt < WORST_MS) return;
    this.#chosenAt = now;
    const chosen = worst(frame);
    if (chosen.join() === this.#shown.join()) return;
    this.#show(frame, chosen);
    this.graphics(frame);
  }

  #show(frame: Frame, gpus: readonly number[]): void {
    this.#shown = gpus;
    const lines = [...gpus, -1].map((i) => {
      const line = this.#lines.get(i) ?? new Line(frame, i);
      this.#lines.set(i, line);
      return line;
    });
    this.#rows.replaceChildren(...lines.map((line) => line.el));
    for (const line of lines) line.resize();
  }
}
