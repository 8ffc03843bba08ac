// What resmon itself costs and misses, what this machine lacks, and where to look for the rest.

import { h, setAttribute, setText, setTip, warningSign } from "../dom";
import { THIN, format_count, format_share, known } from "../format";
import type { Frame, Section } from "../frame";
import { density } from "../frame";
import type { SensorSchema } from "../wire";
import { summedRates } from "./io";

const MISSED_ALERT = 0.01;

const MEMORY_ONLY = "history in memory only";

/** What a person could mend, or what is only half there. */
function isTrouble({ state, short }: SensorSchema): boolean {
  return short !== "" && state !== "available" && state !== "looking";
}

/** "resmon 0.06 % of a core": a name, a bold value, the rest. */
class Fact {
  readonly el = h("span", "rm-fact");
  readonly #before = h("span");
  readonly #value = h("b");
  readonly #after = h("span");

  constructor() {
    this.el.append(this.#before, this.#value, this.#after);
  }

  show(before: string, value: string, after = ""): void {
    setText(this.#before, before);
    setText(this.#value, value);
    setText(this.#after, after);
  }
}

export class Footer implements Section {
  readonly el = h("div", "rm-footer");
  readonly #ranks = new Fact();
  readonly #age = new Fact();
  readonly #own = new Fact();
  readonly #rate = new Fact();
  readonly #missed = new Fact();
  readonly #ticks = h("span", "rm-ticks", this.#rate.el, this.#missed.el);
  readonly #sums = [new Fact(), new Fact()];
  readonly #notices = h("span", "rm-notices");
  readonly #record = h("span", "rm-badge", warningSign(), h("span", "", MEMORY_ONLY));
  readonly #troubles = h("span", "rm-troubles");

  constructor() {
    this.#missed.el.append(warningSign());
    this.#record.tabIndex = 0;
    const facts = [this.#ranks.el, this.#age.el, this.#own.el, this.#ticks, ...this.#sums.map((s) => s.el), this.#record, this.#notices];
    this.el.append(h("div", "rm-facts", ...facts), this.#troubles);
  }

  build(frame: Frame): void {
    const { schema } = frame;
    const record = schema.sensors.find((sensor) => sensor.name === "record" && sensor.state !== "available");
    const notices = schema.notices.filter((notice) => !record || notice !== MEMORY_ONLY);
    setText(this.#notices, notices.join(" · "));
    setTip(this.#notices, notices.join("\n"));
    this.#record.hidden = !record;
    setTip(this.#record, record ? [record.cause, record.remedy].filter(Boolean).join("\n") : null);
    const troubles = schema.sensors.filter((s) => s !== record && isTrouble(s) && !notices.includes(s.short));
    this.#troubles.replaceChildren(
      ...troubles.map((sensor) => {
        const el = h("span", "rm-trouble", sensor.short);
        el.tabIndex = 0;
        setTip(el, [sensor.cause, sensor.remedy].filter(Boolean).join("\n"));
        return el;
      }),
      h("span", "rm-code", "%resmon doctor"),
    );
    this.#troubles.hidden = troubles.length === 0;
    const compact = density(frame) !== "full";
    for (const sum of this.#sums) sum.el.hidden = !compact;
  }

  resize(): void {}

  graphics(): void {}

  text(frame: Frame): void {
    const { store, schema, ranks } = frame;
    this.#ranks.el.hidden = !ranks;
    this.#age.el.hidden = true;
    if (ranks) this.#countRanks(frame, ranks.world_size);
    this.#own.show("resmon ", format_share(store.value("resmon.cpu_fraction")), " of a core");
    const hertz = schema.interval_s > 0 ? 1 / schema.interval_s : NaN;
    this.#rate.show("", known(hertz) ? `${Math.round(hertz * 100) / 100}\u202fHz` : "–");
    const missed = store.value("resmon.missed");
    const ticks = store.value("resmon.ticks");
    const share = known(missed) && known(ticks) && ticks > 0 ? missed / (missed + ticks) : 0;
    this.#missed.show("", format_count(missed), " missed");
    this.#missed.el.classList.toggle("rm-badge", share > MISSED_ALERT);
    setAttribute(this.#missed.el, "tabindex", share > MISSED_ALERT ? "0" : null);
    setTip(
      this.#missed.el,
      share > MISSED_ALERT ? `${format_share(share)} of the ticks were missed: the sampling thread did not get its turn` : null,
    );
    if (density(frame) !== "full") summedRates(frame).forEach((rate, i) => this.#sums[i]?.show(`${rate.name} `, rate.value));
  }

  /** "8 of 8 ranks run", and how fresh what they say is; afterwards how many came to their end. */
  #countRanks({ store: { ranks } }: Frame, of: number): void {
    const [running, done, failed] = [ranks.count("running"), ranks.count("done"), ranks.count("failed")];
    const [count, word] = running ? [running, "run"] : done ? [done, "done"] : [running, "run yet"];
    this.#ranks.show("", `${count} of ${of}`, ` ranks ${word}${failed ? `, ${failed} failed` : ""}`);
    this.#age.el.hidden = !running;
    this.#age.show("newest sample ", `${ranks.age.toFixed(1)}${THIN}s`, " old");
  }
}
