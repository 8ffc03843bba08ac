// Which GPUs stand out: those that lost a sensor, are held back, or do least.

import type { Frame } from "../frame";

const COUNT = 3;
/** Weights in units of "one whole GPU idle while the others work". */
const LOST = 4;
const THROTTLED = 2;

/** Places of the three worst GPUs in their order on the machine. */
export function worst({ store, schema }: Frame): number[] {
  const utilization = schema.gpus.map((_, i) => store.value(`gpu.${i}.utilization`));
  const sorted = utilization.filter((u) => !Number.isNaN(u)).sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? 0;
  return schema.gpus
    .map((gpu, i) => {
      const u = utilization[i] as number;
      const lost = store.watch.lostOf(gpu.label).length > 0 || Number.isNaN(u) || Number.isNaN(store.value(`gpu.${i}.power_w`));
      const score = (lost ? LOST : 0) + (store.watch.throttle(i).word ? THROTTLED : 0) + (Number.isNaN(u) ? 0 : median - u);
      return { i, score };
    })
    .sort((a, b) => b.score - a.score || a.i - b.i)
    .slice(0, COUNT)
    .map(({ i }) => i)
    .sort((a, b) => a - b);
}
