// What needs a person: the rank that the others wait for, in a sentence.

import { h, setHidden, setText, setTip, warningSign } from "../dom";
import { THIN, known, percentDigits } from "../format";
import type { Frame, Section } from "../frame";

export class Alert implements Section {
  readonly el = h("div", "rm-alert");
  readonly #badge = h("span", "rm-badge", warningSign(), "straggler");
  readonly #rank = h("b");
  readonly #factor = h("b");
  readonly #others = h("span");
  readonly #wait = h("b");
  readonly #end = h("span");
  readonly #cause = h("span", "rm-alert-cause");

  constructor() {
    const sentence = h("span", "rm-alert-text", this.#rank, " computes ", this.#factor, this.#others, this.#wait, this.#end);
    this.el.append(this.#badge, sentence, this.#cause);
    this.el.hidden = true;
  }

  build(frame: Frame): void {
    this.text(frame);
  }

  resize(): void {}

  graphics(): void {}

  text({ store, ranks }: Frame): void {
    const straggler = ranks ? store.ranks.straggler : null;
    setHidden(this.el, !straggler);
    if (!straggler) return;
    const { rank, factor, others, wait, cause } = straggler;
    const loses = known(wait) && others > 0;
    setText(this.#rank, `Rank ${rank}`);
    setText(this.#factor, `${factor.toFixed(2)}×`);
    setText(this.#others, ` the median${loses ? `; the other${others === 1 ? " waits" : ` ${others} wait`} ` : "."}`);
    setText(this.#wait, loses ? `${percentDigits(wait)}${THIN}%` : "");
    setText(this.#end, loses ? " of every step." : "");
    setText(this.#cause, cause);
    setTip(this.#cause, cause);
  }
}
