// The ranks of a distributed run: a row each, or how they are spread and the three that stand out.

import { h, setAttribute, setHidden, setText, setTip } from "../dom";
import { known } from "../format";
import type { Frame, Section } from "../frame";
import { BANDS_FROM } from "../frame";
import { shortGib } from "../readings";
import type { Rank, RankFacts, RankNow } from "../rankwire";
import { onGpus } from "../rankwire";
import { RankBands, medianCompute, worstRanks } from "./rankbands";
import { RankRow } from "./rankrow";

/** The rows that stand out change no more often than this, or nobody could read them. */
const WORST_MS = 5000;

function heading(name: string, text: string, ...more: Node[]): HTMLTableCellElement {
  const el = h("th", name, h("span", "rm-ellipsis", text), ...more);
  el.scope = "col";
  return el;
}

/** The patterns of the share of a step, with their words. */
function legend(resource: "gpu" | "cpu"): HTMLElement {
  const part = (pattern: string, of: string, word: string): HTMLElement => {
    const swatch = h("span", "rm-swatch");
    swatch.dataset["pattern"] = pattern;
    swatch.dataset["resource"] = of;
    swatch.setAttribute("aria-hidden", "true");
    return h("span", "rm-legend-part", swatch, word);
  };
  const parts = [part("measured", resource, "compute"), part("measured", "io", "comm"), part("uncovered", "text", "wait")];
  return h("span", "rm-rank-legend", ...parts, h("span", "rm-legend-part", h("i", "rm-median-swatch"), "median"));
}

/** "of 80 GiB" where that is the size of all; undefined for a rank that does not count. */
function sizeOf(ranks: readonly Rank[], value: (rank: Rank) => number | null | undefined): string {
  const sizes = new Set(ranks.map(value).filter((size) => size !== undefined));
  const [size] = sizes;
  return sizes.size === 1 && known(size) ? `of ${shortGib(size)} GiB` : "GiB";
}

/** A column in which nobody has a value says why, on its heading. */
interface Column {
  readonly el: HTMLTableCellElement;
  readonly tip: string;
  readonly unknown: string;
  value(now: RankNow): number;
}

export class RankSection implements Section {
  readonly el = h("div", "rm-ranks");
  readonly #bands = new RankBands();
  readonly #standOut = h("div", "rm-stand-out", "three worst");
  readonly #caption = h("caption", "rm-spoken");
  readonly #head = h("thead");
  readonly #body = h("tbody");
  readonly #table = h("table", "rm-rank-table", this.#caption, this.#head, this.#body);
  readonly #more = h("div", "rm-sub rm-rank-beyond");
  readonly #rows = new Map<number, RankRow>();
  #columns: Column[] = [];
  #shown: readonly number[] = [];
  #built = "";
  #chosenAt = -Infinity;

  constructor() {
    this.el.append(this.#bands.el, this.#standOut, this.#table, this.#more);
  }

  build(frame: Frame): void {
    const facts = frame.ranks;
    setHidden(this.el, !facts);
    if (facts) this.#make(frame, facts);
  }

  resize(frame: Frame): void {
    if (!frame.ranks) return;
    for (const i of this.#shown) this.#rows.get(i)?.resize(frame);
  }

  text(frame: Frame): void {
    if (!frame.ranks) return;
    if (this.#key(frame) !== this.#built) {
      this.#make(frame, frame.ranks);
      this.graphics(frame);
    }
    if (this.#banded(frame)) {
      this.#bands.text(frame);
      this.#choose(frame);
    }
    const { now } = frame.store.ranks;
    for (const column of this.#columns) {
      const nobody = now.length > 0 && now.every((rank) => Number.isNaN(column.value(rank)));
      setTip(column.el, nobody ? column.unknown : column.tip);
      setAttribute(column.el, "tabindex", nobody && column.unknown ? "0" : null);
    }
    for (const i of this.#shown) this.#rows.get(i)?.text(frame);
  }

  graphics(frame: Frame): void {
    if (!frame.ranks) return;
    if (this.#banded(frame)) this.#bands.graphics(frame);
    const median = medianCompute(frame.store.ranks.now);
    for (const i of this.#shown) this.#rows.get(i)?.graphics(frame, median);
  }

  #banded({ ranks, expanded }: Frame): boolean {
    return (ranks?.n ?? 0) >= BANDS_FROM && !expanded;
  }

  #key(frame: Frame): string {
    return `${frame.store.ranks.number} ${this.#banded(frame)}`;
  }

  #make(frame: Frame, facts: RankFacts): void {
    this.#built = this.#key(frame);
    const banded = this.#banded(frame);
    setHidden(this.#bands.el, !banded);
    setHidden(this.#standOut, !banded);
    if (banded) this.#bands.build(frame);
    setText(this.#caption, `ranks${facts.title ? ` of ${facts.title}` : ""}${banded ? ": the three that stand out" : ""}`);
    this.#headings(facts);
    const beyond = facts.world_size - facts.n;
    setHidden(this.#more, beyond <= 0);
    setText(this.#more, `and ${beyond} more ranks, which are measured and not shown`);
    this.#chosenAt = -Infinity;
    this.#show(frame, banded ? worstRanks(frame.store.ranks.now) : facts.ranks.map((_, i) => i));
  }

  #headings(facts: RankFacts): void {
    const onGpu = onGpus(facts.ranks);
    setAttribute(this.#table, "data-gpu", onGpu ? "" : null);
    const column = (name: string, text: string, value: Column["value"], tip: string, unknown: string): Column => {
      return { el: heading(name, text), value, tip, unknown };
    };
    const processes = sizeOf(facts.ranks, (rank) => rank.memory_limit_bytes);
    const gpus = sizeOf(facts.ranks, (rank) => (rank.resource === "gpu" ? rank.gpu_memory_total_bytes : undefined));
    const memory = (name: string, long: string, short: string, value: Column["value"], tip: string, unknown: string): Column => {
      const el = heading(`${name} rm-rank-more`, "");
      el.replaceChildren(h("span", "rm-rank-long", long), h("span", "rm-rank-short", short));
      return { el, value, tip, unknown };
    };
    const uncounted = "not known: nothing counts the steps of these ranks";
    this.#columns = [
      column("rm-rank-steps", "step/s", (now) => now.steps_per_s, "steps per second, mean over the last 20", uncounted),
      column("rm-rank-items rm-rank-more", `${facts.items_unit}/s`, (now) => now.items_per_s, `${facts.items_unit} per second, of this rank`, "not known: the ranks count no items"),
      column("rm-rank-util rm-rank-more", "util %", (now) => now.utilization, onGpu ? "how busy its GPU is; of a rank on CPU: CPU time, of one core" : "CPU time of the rank, of one core", "not reported"),
      memory("rm-rank-memory", onGpu ? "Host GiB" : `Memory, ${processes}`, onGpu ? "Host" : "GiB", (now) => now.memory_bytes, `memory of the rank's processes, ${processes}`, "not reported"),
      ...(onGpu
        ? [memory("rm-rank-gpu-memory", `GPU, ${gpus}`, "GPU", (now) => now.allocator_reserved_bytes, `memory of its GPU that torch's allocator holds for the rank, ${gpus}`, "not known: torch's allocator holds nothing on a GPU")]
        : []),
      column("rm-rank-power", "W", (now) => now.power_w, "power of the whole GPU", onGpu ? "the driver does not report it" : "a rank on CPU has no power meter of its own"),
    ];
    const share = heading("rm-rank-share", "Share of a step", legend(onGpu ? "gpu" : "cpu"));
    setTip(share.firstElementChild as HTMLElement, "who crosses the median of compute is slow");
    const cells = this.#columns.map(({ el }) => el);
    this.#head.replaceChildren(h("tr", "rm-rank rm-rank-headings", heading("rm-rank-head", "Rank"), heading("rm-rank-place", onGpu ? "Node · GPU" : "Node"), ...cells, share));
  }

  #choose(frame: Frame): void {
    const clock = performance.now();
    if (clock - this.#chosenAt < WORST_MS) return;
    this.#chosenAt = clock;
    const chosen = worstRanks(frame.store.ranks.now);
    if (chosen.join() === this.#shown.join()) return;
    this.#show(frame, chosen);
    this.graphics(frame);
  }

  #show(frame: Frame, ranks: readonly number[]): void {
    const same = ranks.join() === this.#shown.join();
    this.#shown = ranks;
    const rows = ranks.map((i) => {
      const old = this.#rows.get(i);
      if (old?.key === RankRow.keyOf(frame, i)) return old;
      const row = new RankRow(frame, i, old?.open ?? false);
      this.#rows.set(i, row);
      return row;
    });
    const els = rows.map((row) => row.el);
    const focused = same ? this.#renew(els) : null;
    if (!same) this.#body.replaceChildren(...els);
    for (const row of rows) row.resize(frame);
    focused?.querySelector("button")?.focus();
  }

  /** Rows that stay are not moved, or they would lose the focus; a new row in the place of one that has it is returned. */
  #renew(rows: readonly HTMLElement[]): HTMLElement | null {
    let focused: HTMLElement | null = null;
    [...this.#body.children].forEach((before, i) => {
      const row = rows[i];
      if (!row || before === row) return;
      if (before.contains(document.activeElement)) focused = row;
      before.replaceWith(row);
    });
    return focused;
  }
}
