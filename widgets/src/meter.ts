// One meter: a value, its context, and a bar whose pattern says how well the value is known.

import { textWidth } from "./canvas";
import { h, setAttribute, setHidden, setText, setTip } from "./dom";
import { THIN, UNKNOWN } from "./format";
import type { Resource } from "./wire";

export interface Reading {
  /** Digits as shown; "–" for unknown. */
  readonly value: string;
  readonly unit: string;
  /** Fraction of the full scale; NaN for unknown. */
  readonly ratio: number;
  /** Up to where other processes reach, as a fraction of the full scale. */
  readonly othersTo?: number;
  /** A lower limit in force, as a fraction of the full scale. */
  readonly tick?: number;
  readonly pattern: "measured" | "estimated";
  /** Context from the longest to the shortest wording; the first that fits is shown. */
  readonly context: readonly string[];
  /** The full scale as the small sizes write it: "140" in "41.2 / 140 GiB". */
  readonly limit: string;
  /** What assistive technology reads. */
  readonly spoken: string;
  /** Why the value is unknown and what would mend it. */
  readonly reason: string;
  /** More on a known value, on hover. */
  readonly more?: string;
  readonly now: number;
  readonly max: number;
}

/** Between value and context, with a little to spare. */
const GAP_PX = 16;
/** A smaller change of a bar is less than a pixel. */
const STEP = 0.003;

export class Meter {
  readonly el: HTMLElement;
  readonly #value = h("b", "rm-num");
  readonly #limit = h("span", "rm-limit");
  readonly #unit = h("span", "rm-unit");
  readonly #context = h("span", "rm-context");
  readonly #bar = h("div", "rm-bar");
  readonly #others = h("i", "rm-fill rm-others");
  readonly #fill = h("i", "rm-fill");
  readonly #tick = h("i", "rm-tick");
  #drawn = { ratio: -1, others: -1, tick: -1 };
  #reading: Reading | null = null;

  constructor(label: string, key: string, resource: Resource) {
    this.#bar.dataset["resource"] = resource;
    const clip = h("div", "rm-clip", this.#others, this.#fill);
    this.#bar.append(clip, this.#tick);
    this.#tick.hidden = true;
    const reading = h("span", "rm-value", this.#value, this.#limit, this.#unit);
    this.el = h("div", "rm-meter", h("span", "rm-key", key), reading, this.#context, this.#bar);
    this.el.setAttribute("role", "meter");
    this.el.setAttribute("aria-label", label);
    this.el.setAttribute("aria-valuemin", "0");
  }

  read(reading: Reading): void {
    this.#reading = reading;
  }

  /** `room` is the width of the meter in px. */
  text(room: number): void {
    const r = this.#reading;
    if (!r) return;
    const unknown = r.value === UNKNOWN;
    setText(this.#value, r.value);
    setText(this.#unit, r.unit && THIN + r.unit);
    setText(this.#limit, r.limit && ` / ${r.limit}`);
    const taken = textWidth(r.value, "600 17px") + textWidth(THIN + r.unit, "12px") + GAP_PX;
    const fits = r.context.find((text) => textWidth(text, "11px") <= room - taken);
    setText(this.#context, fits ?? "");
    const lost = r.context[0] !== undefined && fits !== r.context[0] ? r.context[0] : "";
    setTip(this.el, unknown ? r.reason : [r.more, lost].filter(Boolean).join("\n"));
    setAttribute(this.el, "tabindex", unknown && r.reason ? "0" : null);
    setAttribute(this.el, "aria-valuemax", Number.isFinite(r.max) && r.max > 0 ? String(Math.round(r.max * 10) / 10) : "100");
    setAttribute(this.el, "aria-valuenow", unknown ? null : String(Math.round(r.now * 10) / 10));
    setAttribute(this.el, "aria-valuetext", unknown ? `unknown: ${r.reason || "not reported"}` : r.spoken);
  }

  graphics(): void {
    const r = this.#reading;
    if (!r) return;
    const unknown = !Number.isFinite(r.ratio);
    setAttribute(this.#bar, "data-pattern", unknown ? "uncovered" : r.pattern);
    const ratio = unknown ? 0 : clamp(r.ratio);
    const others = unknown ? 0 : clamp(r.othersTo ?? 0);
    const tick = clamp(r.tick ?? 0);
    if (Math.abs(ratio - this.#drawn.ratio) > STEP) {
      this.#fill.style.transform = slide(ratio);
      this.#drawn.ratio = ratio;
    }
    if (Math.abs(others - this.#drawn.others) > STEP) {
      this.#others.style.transform = slide(others);
      this.#drawn.others = others;
    }
    setAttribute(this.#bar, "data-others", others - ratio > 0.002 ? "" : null);
    if (tick !== this.#drawn.tick) {
      setHidden(this.#tick, tick === 0);
      this.#tick.style.left = `${(tick * 100).toFixed(2)}%`;
      this.#drawn.tick = tick;
    }
  }
}

/** At 0 it goes a little further, or rounding would leave a sliver. */
function slide(ratio: number): string {
  return ratio === 0 ? "translateX(-102%)" : `translateX(${((ratio - 1) * 100).toFixed(2)}%)`;
}

function clamp(x: number): number {
  return Math.min(1, Math.max(0, x));
}
