// What lasts: sensors that were there and are lost, and throttling, both over several rows so that nothing flickers.

import type { Store } from "./store";

/** Rows without a value after which a sensor that had given one counts as lost. */
const LOST_ROWS = 2;
/** A throttle badge appears after this long and goes after this long without. */
const BADGE_ON_S = 0.9;
const BADGE_OFF_S = 3;
const ANNOUNCE_S = 5;

const WORDS: readonly (readonly [mask: number, word: string])[] = [
  [0x60, "thermal"],
  [0x80, "power brake"],
  [0x08, "hw slowdown"],
  [0x04, "power cap"],
  [0x200, "board limit"],
  [0x400, "voltage limit"],
];
const REASONS: readonly (readonly [bit: number, text: string])[] = [
  [0x04, "power cap: the software power limit is reached"],
  [0x08, "hardware slowdown: clocks are cut by half or more"],
  [0x20, "thermal: the driver lowers the clocks"],
  [0x40, "thermal: the hardware lowers the clocks"],
  [0x80, "power brake: the power supply asks for less"],
  [0x200, "board limit"],
  [0x400, "voltage reliability limit"],
];

/** The badge's word for a clocks-event mask: the gravest reason, empty where nothing holds the GPU back. */
export function throttleWord(mask: number): string {
  if (!Number.isFinite(mask)) return "";
  return WORDS.find(([bits]) => (mask & bits) !== 0)?.[1] ?? "";
}

/** Every reason in words, one a line. */
export function throttleReasons(mask: number): string {
  if (!Number.isFinite(mask)) return "";
  return REASONS.filter(([bit]) => (mask & bit) !== 0)
    .map(([, text]) => text)
    .join("\n");
}

class Throttle {
  word = "";
  reasons = "";
  #since = NaN;
  #seen = NaN;
  #announced = false;

  take(t: number, mask: number, say: (text: string) => void): void {
    const word = throttleWord(mask);
    if (word) {
      if (!(this.#since <= t)) this.#since = t;
      this.#seen = t;
      if (this.word || t - this.#since >= BADGE_ON_S) {
        this.word = word;
        this.reasons = throttleReasons(mask);
      }
      if (!this.#announced && t - this.#since > ANNOUNCE_S) {
        this.#announced = true;
        say(`throttled: ${word}`);
      }
    } else if (!(t - this.#seen < BADGE_OFF_S)) {
      this.word = "";
      this.#since = NaN;
      if (this.#announced && t - this.#seen > ANNOUNCE_S) {
        this.#announced = false;
        say("no longer throttled");
      }
    }
  }
}

interface Sight {
  last: number;
  missing: number;
  lost: boolean;
}

const WATCHED_GPU: readonly (readonly [column: string, word: string])[] = [
  ["power_w", "power"],
  ["utilization", "utilisation"],
  ["memory_used_bytes", "memory"],
  ["temperature_c", "temperature"],
];
const WATCHED_HOST: readonly (readonly [column: string, word: string])[] = [
  ["power_w", "power"],
  ["cpu_utilization", "utilisation"],
  ["memory_used_bytes", "memory"],
  ["temperature_c", "temperature"],
];

export interface Lost {
  readonly device: string;
  readonly what: string;
  /** Time of the last value, on the kernel's clock. */
  readonly since: number;
}

export class Watch {
  readonly #throttles: Throttle[] = [];
  readonly #sights = new Map<string, Sight>();
  /** Sentences for the live region, oldest first; whoever speaks them takes them out by their number. */
  readonly said: { readonly n: number; readonly text: string }[] = [];
  /** Sentences said so far, those of earlier watches among them. */
  count: number;
  #lost: Lost[] = [];

  constructor(count = 0) {
    this.count = count;
  }

  throttle(gpu: number): { readonly word: string; readonly reasons: string } {
    return this.#throttles[gpu] ?? { word: "", reasons: "" };
  }

  get lost(): readonly Lost[] {
    return this.#lost;
  }

  lostOf(device: string): readonly Lost[] {
    return this.#lost.filter((l) => l.device === device);
  }

  take(t: number, store: Pick<Store, "schema" | "value">): void {
    const { schema } = store;
    if (!schema) return;
    const lost: Lost[] = [];
    schema.gpus.forEach((gpu, i) => {
      const throttle = (this.#throttles[i] ??= new Throttle());
      throttle.take(t, store.value(`gpu.${i}.throttle`), (text) => this.say(`${gpu.label} ${text}`));
      for (const [column, what] of WATCHED_GPU) this.#look(t, gpu.label, what, store.value(`gpu.${i}.${column}`), lost);
    });
    for (const [column, what] of WATCHED_HOST) this.#look(t, schema.host.label, what, store.value(`host.${column}`), lost);
    this.#lost = lost;
  }

  #look(t: number, device: string, what: string, value: number, lost: Lost[]): void {
    const key = `${device}\n${what}`;
    const sight = this.#sights.get(key);
    if (Number.isFinite(value)) {
      if (sight?.lost) this.say(`${device} ${what} back`);
      this.#sights.set(key, { last: t, missing: 0, lost: false });
    } else if (sight) {
      sight.missing += 1;
      if (!sight.lost && sight.missing >= LOST_ROWS) {
        sight.lost = true;
        this.say(`${device} ${what} lost`);
      }
      if (sight.lost) lost.push({ device, what, since: sight.last });
    }
  }

  say(text: string): void {
    this.count += 1;
    this.said.push({ n: this.count, text });
    if (this.said.length > 20) this.said.shift();
  }
}
