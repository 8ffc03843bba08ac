// One rank in one row of the table: what it does, or what became of it.

import { h, icon, setAttribute, setHidden, setText, setTip, warningSign } from "../dom";
import { THIN, UNKNOWN, gibDigits, itemsDigits, known, percentDigits, wholeWatts } from "../format";
import type { Frame } from "../frame";
import type { Rank, RankNow } from "../rankwire";
import { onGpus, shareOf } from "../rankwire";
import { ShareBar } from "./sharebar";

const CROSS = { d: "M1.5 1.5 10.5 10.5M10.5 1.5 1.5 10.5", fill: "none", stroke: "currentColor", "stroke-width": "1.8" };
const CHECK = { d: "M1.5 6.5 4.5 9.5 10.5 2.5", fill: "none", stroke: "currentColor", "stroke-width": "1.8" };
const DASHED = { tag: "circle", cx: "6", cy: "6", r: "4.8", fill: "none", stroke: "currentColor", "stroke-width": "1.4", "stroke-dasharray": "2 2" };

type Sign = "" | "straggler" | "failed" | "done" | "lost" | "expected";

function signOf(sign: Sign): SVGSVGElement | string {
  if (sign === "straggler") return warningSign();
  const paths = { failed: CROSS, done: CHECK, lost: DASHED, expected: DASHED };
  return sign ? icon("rm-rank-sign", 12, paths[sign]) : "";
}

/** What stands in the last column of a rank that does nothing. */
function fate(rank: Rank, now: RankNow): string {
  if (now.state === "expected") return "not heard of yet";
  if (now.state === "failed") return rank.outcome || "failed";
  if (now.state === "lost") return rank.outcome || (known(now.age_s) ? `last seen ${Math.round(now.age_s)} s ago` : "silent");
  return "";
}

function cell(name: string, key: string, ...children: (Node | string)[]): HTMLTableCellElement {
  return h("td", name, h("span", "rm-key", key), ...children);
}

/** So much of a memory: its digits, and a bar where its size is known. */
class Memory {
  readonly el: HTMLTableCellElement;
  readonly #limit: number | null;
  readonly #value = h("b", "rm-value");
  readonly #fill = h("i", "rm-fill");
  readonly #bar = h("div", "rm-bar", h("div", "rm-clip", this.#fill));

  constructor(name: string, key: string, limit: number | null) {
    this.#limit = limit;
    this.#bar.dataset["resource"] = "memory";
    this.#bar.setAttribute("aria-hidden", "true");
    this.el = cell(`${name} rm-rank-more`, key, this.#value, this.#bar);
  }

  text(bytes: number, tip = ""): void {
    setText(this.#value, gibDigits(bytes));
    setTip(this.el, tip);
  }

  graphics(bytes: number): void {
    const ratio = this.#limit ? bytes / this.#limit : NaN;
    setHidden(this.#bar, !known(ratio));
    if (known(ratio)) this.#fill.style.transform = `translateX(${(Math.min(1, ratio) * 100 - 100).toFixed(1)}%)`;
  }
}

export class RankRow {
  readonly el = h("tr", "rm-rank");
  readonly #i: number;
  readonly #rank: Rank;
  readonly #head = h("th", "rm-rank-head");
  readonly #sign = h("span", "rm-sign");
  readonly #name = h("span", "rm-rank-number");
  readonly #open = h("button", "rm-rank-open");
  readonly #host = h("span", "rm-ellipsis");
  readonly #device = h("span", "rm-rank-device");
  readonly #steps = h("b", "rm-value");
  readonly #items = h("b", "rm-value");
  readonly #utilization = h("b", "rm-value");
  readonly #memory: Memory;
  readonly #gpuMemory: Memory | null;
  readonly #power = h("b", "rm-value");
  readonly #bar: ShareBar;
  readonly #spoken = h("span", "rm-spoken");
  readonly #fate = h("span", "rm-fate rm-ellipsis");
  #shown: Sign | null = null;

  /** What the row was built from: another needs another row. */
  readonly key: string;

  /** `i` is the place of the rank among those that are sent; `open` that its row was opened before. */
  constructor(frame: Frame, i: number, open: boolean) {
    const { ranks } = frame;
    this.#i = i;
    this.#rank = ranks?.ranks[i] as Rank;
    this.key = RankRow.keyOf(frame, i);
    this.#bar = new ShareBar(this.#rank.resource);
    const onGpu = onGpus(ranks?.ranks ?? []);
    this.#memory = new Memory("rm-rank-memory", onGpu ? "host GiB" : "memory GiB", this.#rank.memory_limit_bytes);
    this.#gpuMemory = onGpu ? new Memory("rm-rank-gpu-memory", "GPU GiB", this.#rank.gpu_memory_total_bytes) : null;
    this.#open.type = "button";
    this.#open.addEventListener("click", () => this.#show(!this.open));
    this.#show(open);
    setText(this.#name, String(this.#rank.rank));
    setText(this.#open, String(this.#rank.rank));
    setAttribute(this.#open, "aria-label", `rank ${this.#rank.rank}, more`);
    const { host, device } = this.#rank;
    // the column says that it is a GPU, the colour that it is not; its number is never cut
    const number = device === "CPU" ? "" : device.length <= 12 ? device.replace(/^GPU /, "") : `${device.slice(0, 11)}…`;
    setText(this.#host, host || UNKNOWN);
    setText(this.#device, number && ` · ${number}`);
    const place = h("td", "rm-rank-place", this.#host, this.#device);
    setTip(place, [host, device].filter(Boolean).join(", "));
    this.#head.append(this.#name, this.#sign);
    this.#head.scope = "row";
    const unit = ranks?.items_unit ?? "items";
    this.el.append(
      this.#head,
      place,
      cell("rm-rank-steps", "step/s", this.#steps),
      cell("rm-rank-items rm-rank-more", `${unit}/s`, this.#items),
      cell("rm-rank-util rm-rank-more", "util %", this.#utilization),
      this.#memory.el,
      ...(this.#gpuMemory ? [this.#gpuMemory.el] : []),
      cell("rm-rank-power", "W", this.#power),
      h("td", "rm-rank-share", this.#bar.el, this.#fate, this.#spoken),
    );
  }

  static keyOf({ ranks }: Frame, i: number): string {
    return JSON.stringify([ranks?.ranks[i], ranks?.items_unit, onGpus(ranks?.ranks ?? [])]);
  }

  get open(): boolean {
    return this.el.dataset["open"] !== undefined;
  }

  resize({ size }: Frame): void {
    const opens = size === "small" || size === "narrow";
    const [shown, other] = opens ? [this.#open, this.#name] : [this.#name, this.#open];
    if (shown.parentElement !== this.#head) {
      other.remove();
      this.#head.prepend(shown);
    }
    this.#bar.resize();
  }

  text({ store: { ranks } }: Frame): void {
    const now = ranks.now[this.#i];
    if (!now) return;
    const lives = now.state === "running" || now.state === "done";
    setText(this.#steps, lives ? itemsDigits(now.steps_per_s) : UNKNOWN);
    setText(this.#items, lives ? itemsDigits(now.items_per_s) : UNKNOWN);
    setText(this.#utilization, lives ? percentDigits(now.utilization) : UNKNOWN);
    this.#memory.text(lives ? now.memory_bytes : NaN);
    const held = lives ? now.allocator_reserved_bytes : NaN;
    this.#gpuMemory?.text(held, known(held) ? `allocated ${gibDigits(now.allocator_allocated_bytes)}${THIN}GiB` : "");
    setText(this.#power, lives ? wholeWatts(now.power_w) : UNKNOWN);
    const ended = fate(this.#rank, now);
    setHidden(this.#bar.el, !lives);
    setHidden(this.#fate, lives);
    setText(this.#fate, ended);
    setTip(this.#fate, ended);
    const straggles = ranks.straggler?.rank === this.#rank.rank;
    const { compute, communication, wait } = shareOf(now);
    const words = known(compute)
      ? `compute ${percentDigits(compute)} per cent, communication ${percentDigits(communication)}, wait ${percentDigits(wait)}`
      : "not known";
    setText(this.#spoken, lives ? [straggles ? "straggler" : "", now.state === "done" ? "done" : "", words].filter(Boolean).join(", ") : "");
    this.#mark(straggles ? "straggler" : now.state === "running" ? "" : now.state);
  }

  graphics({ store: { ranks } }: Frame, median: number): void {
    const now = ranks.now[this.#i];
    if (!now) return;
    this.#memory.graphics(now.memory_bytes);
    this.#gpuMemory?.graphics(now.allocator_reserved_bytes);
    this.#bar.graphics(shareOf(now), median);
  }

  #mark(sign: Sign): void {
    if (sign === this.#shown) return;
    this.#shown = sign;
    this.#sign.replaceChildren(signOf(sign));
    setAttribute(this.el, "data-state", sign || "running");
  }

  #show(open: boolean): void {
    setAttribute(this.el, "data-open", open ? "" : null);
    this.#open.setAttribute("aria-expanded", String(open));
  }
}
