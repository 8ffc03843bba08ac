// A bounded history: newest points as they came, older ones merged in pairs with their min, mean and max kept.

/** Points that a series holds at most. */
export const CAPACITY = 4000;
/** Newest points that are never merged: more than ten minutes at two a second. */
const KEPT = 1400;

export class Series {
  readonly names: readonly string[];
  readonly t: Float64Array;
  /** Samples that a point stands for. */
  readonly weight: Float64Array;
  readonly #mean: Float32Array[];
  readonly #min: Float32Array[];
  readonly #max: Float32Array[];
  readonly #index: ReadonlyMap<string, number>;
  length = 0;
  /** Changes whenever points other than the newest change: views may keep what they derived until then. */
  epoch = 0;

  constructor(names: readonly string[], readonly capacity = CAPACITY, readonly kept = Math.min(KEPT, capacity >> 1)) {
    this.names = names;
    this.#index = new Map(names.map((name, i) => [name, i]));
    this.t = new Float64Array(capacity);
    this.weight = new Float64Array(capacity);
    const columns = (): Float32Array[] => names.map(() => new Float32Array(capacity));
    this.#mean = columns();
    this.#min = columns();
    this.#max = columns();
  }

  mean(name: string): Float32Array | undefined {
    return this.#column(this.#mean, name);
  }

  min(name: string): Float32Array | undefined {
    return this.#column(this.#min, name);
  }

  max(name: string): Float32Array | undefined {
    return this.#column(this.#max, name);
  }

  #column(columns: Float32Array[], name: string): Float32Array | undefined {
    const i = this.#index.get(name);
    return i === undefined ? undefined : columns[i];
  }

  get newest(): number {
    return this.length ? (this.t[this.length - 1] as number) : NaN;
  }

  get oldest(): number {
    return this.length ? (this.t[0] as number) : NaN;
  }

  /** `value(i)` gives column i. A time that is not newer than the last one is refused: false. */
  push(t: number, value: (column: number) => number): boolean {
    if (this.length && !(t > this.newest)) return false;
    if (this.length === this.capacity) this.#compact();
    const at = this.length;
    this.t[at] = t;
    this.weight[at] = 1;
    for (let c = 0; c < this.names.length; c += 1) {
      const v = value(c);
      (this.#mean[c] as Float32Array)[at] = v;
      (this.#min[c] as Float32Array)[at] = v;
      (this.#max[c] as Float32Array)[at] = v;
    }
    this.length += 1;
    return true;
  }

  /** First point with t >= `time`. */
  firstAt(time: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.t[middle] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Point nearest to `time`; −1 where there is none. */
  nearest(time: number): number {
    if (!this.length) return -1;
    const after = Math.min(this.firstAt(time), this.length - 1);
    const before = Math.max(0, after - 1);
    return time - (this.t[before] as number) < (this.t[after] as number) - time ? before : after;
  }

  isGap(i: number): boolean {
    return this.#mean.every((column) => Number.isNaN(column[i]));
  }

  #compact(): void {
    const end = this.length - this.kept;
    let to = 0;
    let from = 0;
    while (from < end) {
      const pair = from + 1 < end && !this.isGap(from) && !this.isGap(from + 1);
      if (pair) this.#merge(from, from + 1, to);
      else this.#move(from, to);
      from += pair ? 2 : 1;
      to += 1;
    }
    // nothing but gaps: the oldest quarter goes, or the series would grow
    const surplus = to > (3 * end) / 4 ? end >> 2 : 0;
    if (surplus) {
      for (let i = surplus; i < to; i += 1) this.#move(i, i - surplus);
      to -= surplus;
    }
    for (; from < this.length; from += 1, to += 1) this.#move(from, to);
    this.length = to;
    this.epoch += 1;
  }

  #move(from: number, to: number): void {
    if (from === to) return;
    this.t[to] = this.t[from] as number;
    this.weight[to] = this.weight[from] as number;
    for (const columns of [this.#mean, this.#min, this.#max]) {
      for (const column of columns) column[to] = column[from] as number;
    }
  }

  /** Unknown in either is unknown in both: a gap may widen by one coarse point, it never closes. */
  #merge(a: number, b: number, to: number): void {
    const [wa, wb] = [this.weight[a] as number, this.weight[b] as number];
    const weight = wa + wb;
    const t = ((this.t[a] as number) * wa + (this.t[b] as number) * wb) / weight;
    for (let c = 0; c < this.names.length; c += 1) {
      const [mean, min, max] = [this.#mean[c] as Float32Array, this.#min[c] as Float32Array, this.#max[c] as Float32Array];
      mean[to] = ((mean[a] as number) * wa + (mean[b] as number) * wb) / weight;
      min[to] = Math.min(min[a] as number, min[b] as number);
      max[to] = Math.max(max[a] as number, max[b] as number);
    }
    this.t[to] = t;
    this.weight[to] = weight;
  }
}
