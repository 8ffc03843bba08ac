// How many GPUs are spread: median as the value, the middle half as a box, least to most as a line.

import { h, setAttribute, setHidden, setText, setTip } from "../dom";
import { THIN, UNKNOWN, celsiusDigits, gibDigits, percentDigits, wholeWatts } from "../format";
import type { Frame, Section } from "../frame";
import type { Resource } from "../wire";

/** Something that many have a value of. */
export interface Measure {
  readonly name: string;
  readonly key: string;
  readonly unit: string;
  readonly resource: Resource | "io" | "text";
  /** One value for each; NaN for unknown. */
  values(frame: Frame): readonly number[];
  max(frame: Frame): number;
  digits(value: number): string;
}

function most(values: readonly (number | null)[]): number {
  return Math.max(0, ...values.map((v) => v ?? 0));
}

function ofGpus(value: (frame: Frame, gpu: number) => number): (frame: Frame) => number[] {
  return (frame) => frame.schema.gpus.map((_, i) => value(frame, i));
}

const MEASURES: readonly Measure[] = [
  {
    name: "utilisation",
    key: "Util",
    unit: "%",
    resource: "gpu",
    values: ofGpus(({ store }, i) => store.value(`gpu.${i}.utilization`)),
    max: () => 1,
    digits: percentDigits,
  },
  {
    name: "memory",
    key: "Mem",
    unit: "GiB",
    resource: "memory",
    values: ofGpus(({ store, schema }, i) => {
      const own = schema.gpus[i]?.own_memory_known ? store.value(`gpu.${i}.memory_own_bytes`) : NaN;
      return Number.isNaN(own) ? store.value(`gpu.${i}.memory_used_bytes`) : own;
    }),
    max: ({ schema }) => most(schema.gpus.map((gpu) => gpu.memory_total_bytes)),
    digits: gibDigits,
  },
  {
    name: "power",
    key: "Power",
    unit: "W",
    resource: "gpu",
    values: ofGpus(({ store }, i) => store.value(`gpu.${i}.power_w`)),
    max: ({ schema }) => most(schema.gpus.map((gpu) => gpu.power_max_w)),
    digits: wholeWatts,
  },
];

/** Value at a fraction of a sorted list, between neighbours by the line between them. */
export function quantile(sorted: readonly number[], q: number): number {
  if (!sorted.length) return NaN;
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const [a, b] = [sorted[low] as number, sorted[Math.min(sorted.length - 1, low + 1)] as number];
  return a + (b - a) * (at - low);
}

/** One measure over all: its median as digits, how it is spread as a box. */
export class Box {
  readonly el: HTMLElement;
  readonly #measure: Measure;
  readonly #of: string;
  readonly #value = h("b", "rm-num");
  readonly #context = h("span", "rm-context");
  readonly #bar = h("div", "rm-bar rm-box");
  readonly #range = h("i", "rm-box-range");
  readonly #middle = h("i", "rm-box-middle");
  readonly #median = h("i", "rm-tick");

  /** `of` is what has the values, "GPUs", where it is to be said how many have none. */
  constructor(measure: Measure, of = "") {
    this.#measure = measure;
    this.#of = of;
    this.#bar.dataset["resource"] = measure.resource;
    this.#bar.append(h("div", "rm-clip", this.#range, this.#middle), this.#median);
    const value = h("span", "rm-value", this.#value, h("span", "rm-unit", measure.unit && THIN + measure.unit));
    this.el = h("div", "rm-meter", h("span", "rm-key", measure.key), value, this.#context, this.#bar);
    this.el.setAttribute("role", "group");
  }

  #sorted(frame: Frame): { readonly sorted: readonly number[]; readonly without: number } {
    const values = this.#measure.values(frame);
    const sorted = values.filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
    return { sorted, without: values.length - sorted.length };
  }

  text(frame: Frame): void {
    const { sorted, without } = this.#sorted(frame);
    const { name, unit, digits } = this.#measure;
    const median = digits(quantile(sorted, 0.5));
    const [least, greatest] = [digits(sorted[0] ?? NaN), digits(sorted.at(-1) ?? NaN)];
    const range = !sorted.length ? "" : least === greatest ? `all ${least}` : `${least}–${greatest}`;
    setText(this.#value, median);
    setText(this.#context, [range, without && sorted.length && this.#of ? `without ${without}` : ""].filter(Boolean).join(" · "));
    const said = median === UNKNOWN ? "unknown" : `median ${median} ${unit}, least to most ${least} to ${greatest}`;
    setAttribute(this.el, "aria-label", `${name}: ${said}${without ? `, without ${without}` : ""}`);
    setTip(this.el, `${name}: median; box: the middle half; line: least to most`);
  }

  graphics(frame: Frame): void {
    const { sorted } = this.#sorted(frame);
    const max = this.#measure.max(frame) || 1;
    setHidden(this.#median, !sorted.length);
    setAttribute(this.#bar, "data-pattern", sorted.length ? "measured" : "uncovered");
    const place = (el: HTMLElement, from: number, to: number): void => {
      const [a, b] = [Math.min(1, from / max), Math.min(1, to / max)];
      el.style.transform = `translateX(${(a * 100).toFixed(2)}%) scaleX(${Math.max(0.004, b - a).toFixed(4)})`;
    };
    if (!sorted.length) return;
    place(this.#range, sorted[0] as number, sorted.at(-1) as number);
    place(this.#middle, quantile(sorted, 0.25), quantile(sorted, 0.75));
    this.#median.style.left = `${((quantile(sorted, 0.5) / max) * 100).toFixed(2)}%`;
  }
}

function headings(): HTMLElement {
  const names = ["", "Utilisation", "Memory", "Power", "Temp."];
  return h("div", "rm-row rm-headings", ...names.map((name) => h("span", "", name)));
}

export class Distribution implements Section {
  readonly #rows = h("div", "rm-row rm-device rm-distribution");
  readonly el = h("div", "", headings(), this.#rows);
  readonly #name = h("b", "rm-label");
  readonly #heat = h("b", "rm-num");
  readonly #heatRange = h("span", "rm-sub");
  #boxes: Box[] = [];

  build({ schema }: Frame): void {
    setText(this.#name, `${schema.gpus.length} GPUs`);
    this.#boxes = MEASURES.map((measure) => new Box(measure, "GPUs"));
    const heat = h("div", "rm-heat", h("span", "rm-value", this.#heat, h("span", "rm-unit", `${THIN}°C`)), this.#heatRange);
    this.#rows.replaceChildren(h("div", "rm-name", this.#name, h("span", "rm-sub", "median, range")), ...this.#boxes.map((box) => box.el), heat);
  }

  resize(): void {}

  text(frame: Frame): void {
    for (const box of this.#boxes) box.text(frame);
    const { store, schema } = frame;
    const heat = schema.gpus.map((_, i) => store.value(`gpu.${i}.temperature_c`)).filter((c) => !Number.isNaN(c)).sort((a, b) => a - b);
    setText(this.#heat, celsiusDigits(quantile(heat, 0.5)));
    setText(this.#heatRange, heat.length ? `${celsiusDigits(heat[0])}–${celsiusDigits(heat.at(-1))}` : "");
  }

  graphics(frame: Frame): void {
    for (const box of this.#boxes) box.graphics(frame);
  }
}
