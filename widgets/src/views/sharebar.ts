// How a step is spent: compute and communication solid, waiting a dashed outline, and the median of compute across.

import { textWidth } from "../canvas";
import { h, setAttribute, setHidden, setText } from "../dom";
import { THIN, UNKNOWN, known, percentDigits } from "../format";
import type { Share } from "../rankwire";

/** A smaller change of a bar is less than a pixel. */
const STEP = 0.002;
const FONT = "600 11px";
/** Around a label within its part of the bar. */
const PAD_PX = 6;

export class ShareBar {
  readonly el = h("div", "rm-share-bar rm-bar");
  readonly #communication = h("i", "rm-fill rm-communication");
  readonly #compute = h("i", "rm-fill rm-compute");
  readonly #labels = [h("span", "rm-in-compute"), h("span", "rm-in-communication"), h("span", "rm-in-wait")];
  readonly #median = h("i", "rm-median");
  #width = 0;
  #drawn = { compute: NaN, communication: NaN, median: NaN };

  constructor(resource: "gpu" | "cpu") {
    this.el.dataset["resource"] = resource;
    this.el.setAttribute("aria-hidden", "true"); // the cell says it in words
    this.el.append(h("div", "rm-clip", this.#communication, this.#compute), ...this.#labels, this.#median);
  }

  /** Reads the layout: where digits have room depends on the width. */
  resize(): void {
    // Without a layout, as while a front end changes its theme, it stays as wide as it was.
    this.#width = this.el.clientWidth || this.#width;
    this.#drawn = { compute: NaN, communication: NaN, median: NaN };
  }

  /** `median` is that of all ranks. */
  graphics({ compute, communication, wait }: Share, median: number): void {
    if (!this.#width) this.resize();
    const unknown = !known(compute);
    setAttribute(this.el, "data-pattern", unknown ? "uncovered" : "measured");
    const drawn = this.#drawn;
    if (unknown || Math.abs(compute - drawn.compute) > STEP || Math.abs(communication - drawn.communication) > STEP || Number.isNaN(drawn.compute)) {
      this.#drawn = { ...drawn, compute, communication };
      this.#compute.style.transform = slide(compute);
      this.#communication.style.transform = slide(compute + communication);
      const [a, b] = [compute * this.#width, (compute + communication) * this.#width];
      this.#place(0, unknown ? "" : `${percentDigits(compute)}${THIN}%`, 0, a);
      this.#place(1, unknown ? "" : percentDigits(communication), a, b);
      this.#place(2, unknown ? UNKNOWN : `${percentDigits(wait)}${THIN}%`, unknown ? 0 : b, this.#width);
    }
    if (!(Math.abs(median - drawn.median) <= STEP)) {
      this.#drawn.median = median;
      setHidden(this.#median, !known(median));
      this.#median.style.transform = `translateX(${(median * this.#width).toFixed(1)}px)`;
    }
  }

  /** Digits at the left of their part, those of communication at its right; none where there is no room. */
  #place(i: number, text: string, from: number, to: number): void {
    const label = this.#labels[i] as HTMLElement;
    const room = to - from - 2 * PAD_PX;
    const width = textWidth(text, FONT);
    setHidden(label, !text || width > room + (i === 1 ? PAD_PX : 0));
    setText(label, text);
    label.style.transform = `translateX(${(i === 1 ? to - width - PAD_PX + 1 : from + PAD_PX).toFixed(1)}px)`;
  }
}

/** At 0 it goes a little further, or rounding would leave a sliver. */
function slide(ratio: number): string {
  return ratio > 0 ? `translateX(${((ratio - 1) * 100).toFixed(2)}%)` : "translateX(-102%)";
}
