// Many ranks: how each number is spread over them, and which three stand out.

import { h, setText } from "../dom";
import { gibDigits, itemsDigits, percentDigits, wholeWatts } from "../format";
import type { Frame } from "../frame";
import type { RankNow, RankState } from "../rankwire";
import { onGpus, shareOf } from "../rankwire";
import { Box, type Measure } from "./distribution";

const COUNT = 3;
/** Weights in units of "computes twice as long as the median". */
const FATES: Partial<Record<RankState, number>> = { failed: 8, lost: 6, expected: 4 };

function ofRanks(value: (now: RankNow) => number): (frame: Frame) => number[] {
  return ({ store }) => store.ranks.now.map((now) => (now.state === "running" || now.state === "done" ? value(now) : NaN));
}

/** The largest takes four fifths of the bar: there is no full scale that all share. */
function roomFor(values: (frame: Frame) => number[]): (frame: Frame) => number {
  return (frame) => 1.25 * Math.max(0, ...values(frame).filter((v) => !Number.isNaN(v)));
}

function measures({ ranks }: Frame): Measure[] {
  const onGpu = onGpus(ranks?.ranks ?? []);
  const resource = onGpu ? "gpu" : "cpu";
  const free = (name: string, key: string, unit: string, value: (now: RankNow) => number, digits: Measure["digits"], kind: Measure["resource"]): Measure => {
    const values = ofRanks(value);
    return { name, key, unit, resource: kind, values, max: roomFor(values), digits };
  };
  const share = (name: string, key: string, value: (now: RankNow) => number, kind: Measure["resource"]): Measure => {
    return { name, key, unit: "%", resource: kind, values: ofRanks(value), max: () => 1, digits: percentDigits };
  };
  return [
    share("compute, of a step", "compute", (now) => shareOf(now).compute, resource),
    share("communication, of a step", "comm", (now) => shareOf(now).communication, "io"),
    share("wait, of a step", "wait", (now) => shareOf(now).wait, "text"),
    free("steps per second", "step/s", "", (now) => now.steps_per_s, itemsDigits, resource),
    free(`${ranks?.items_unit ?? "items"} per second`, "items/s", "", (now) => now.items_per_s, itemsDigits, resource),
    free("utilisation", "util", "%", (now) => now.utilization, percentDigits, resource),
    free(onGpu ? "host memory" : "memory", onGpu ? "host" : "memory", "GiB", (now) => now.memory_bytes, gibDigits, "memory"),
    ...(onGpu ? [free("GPU memory", "GPU", "GiB", (now) => now.allocator_reserved_bytes, gibDigits, "memory")] : []),
    free("power", "power", "W", (now) => now.power_w, wholeWatts, resource),
  ];
}

export class RankBands {
  readonly el = h("div", "rm-rank-bands");
  readonly #name = h("b", "rm-label");
  readonly #silent = h("span", "rm-sub");
  readonly #boxes = h("div", "rm-rank-boxes");
  readonly #all: { readonly box: Box; readonly measure: Measure }[] = [];

  constructor() {
    this.el.append(h("div", "rm-name", this.#name, this.#silent, h("span", "rm-sub", "median, range")), this.#boxes);
  }

  build(frame: Frame): void {
    setText(this.#name, `${frame.ranks?.n ?? 0} ranks`);
    this.#all.splice(0, Infinity, ...measures(frame).map((measure) => ({ measure, box: new Box(measure) })));
    this.#boxes.replaceChildren(...this.#all.map(({ box, measure }) => {
      const heading = h("span", "rm-rate-name", measure.name);
      return h("div", "rm-rank-box", heading, box.el);
    }));
  }

  text(frame: Frame): void {
    const { now } = frame.store.ranks;
    const silent = now.filter(({ state }) => state !== "running" && state !== "done").length;
    setText(this.#silent, silent ? `${silent} without values` : "");
    for (const { box } of this.#all) box.text(frame);
  }

  graphics(frame: Frame): void {
    for (const { box } of this.#all) box.graphics(frame);
  }
}

/** The lower median, as the kernel takes it: with two ranks the slow one is measured by the other. */
function lowMedian(values: readonly number[]): number {
  const sorted = values.filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] ?? NaN;
}

/** Median share of compute over the ranks that run or have run. */
export function medianCompute(all: readonly RankNow[]): number {
  return lowMedian(all.filter((now) => now.state === "running" || now.state === "done").map((now) => shareOf(now).compute));
}

/** Places of the three worst ranks, in the order of ranks: who ended badly, is silent, or computes longest. */
export function worstRanks(all: readonly RankNow[]): number[] {
  const compute = all.map((now) => (now.state === "running" ? now.compute_s : NaN));
  const median = lowMedian(compute);
  return all
    .map((now, i) => {
      const own = (compute[i] as number) / median;
      return { i, score: FATES[now.state] ?? (Number.isNaN(own) ? 0 : own) };
    })
    .sort((a, b) => b.score - a.score || a.i - b.i)
    .slice(0, COUNT)
    .map(({ i }) => i)
    .sort((a, b) => a - b);
}
