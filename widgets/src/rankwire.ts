// What comes over the wire about ranks (docs/wire.md), decoded. Unknown is NaN in columns and null in JSON.

import { copyBuffer } from "./wire";

export const RANK_STATES = ["expected", "running", "done", "failed", "lost"] as const;
export type RankState = (typeof RANK_STATES)[number];

const COLUMNS = [
  "age_s",
  "steps_per_s",
  "items_per_s",
  "utilization",
  "memory_bytes",
  "allocator_allocated_bytes",
  "allocator_reserved_bytes",
  "power_w",
  "compute_s",
  "communication_s",
  "wait_s",
] as const;
type RankColumn = (typeof COLUMNS)[number];

/** What does not change from row to row. */
export interface Rank {
  readonly rank: number;
  readonly host: string;
  readonly device: string;
  readonly resource: "gpu" | "cpu";
  readonly outcome: string;
  readonly memory_limit_bytes: number | null;
  readonly gpu_memory_total_bytes: number | null;
}

export interface Straggler {
  readonly rank: number;
  /** Its compute time over the median. */
  readonly factor: number;
  /** How many ranks run besides it, and what part of a step they wait. */
  readonly others: number;
  readonly wait: number | null;
  readonly cause: string;
}

export interface RankNumbers {
  readonly board: number;
  readonly n: number;
  readonly straggler: Straggler | null;
}

export interface RankFacts extends RankNumbers {
  readonly revision: number;
  /** The cell that they run in. */
  readonly cell: number;
  readonly title: string;
  readonly world_size: number;
  readonly items_unit: string;
  readonly ended: boolean;
  readonly ranks: readonly Rank[];
}

export type RankNow = Readonly<Record<RankColumn, number>> & { readonly state: RankState };

export function isRankFacts(x: unknown): x is RankFacts {
  const facts = x as Partial<RankFacts> | null | undefined;
  return typeof facts?.board === "number" && Array.isArray(facts.ranks) && facts.ranks.length === facts.n;
}

/** Whether any rank works on a GPU. */
export function onGpus(ranks: readonly Rank[]): boolean {
  return ranks.some((rank) => rank.resource === "gpu");
}

/** Null where the buffer does not hold `n` ranks. */
export function decodeRanks(buffer: unknown, n: number): RankNow[] | null {
  const bytes = copyBuffer(buffer);
  const columns = COLUMNS.length;
  if (!bytes || bytes.byteLength !== n * (4 * columns + 1)) return null;
  const values = new Float32Array(bytes, 0, n * columns);
  const states = new Uint8Array(bytes, 4 * n * columns, n);
  return Array.from({ length: n }, (_, i) => {
    const now = Object.fromEntries(COLUMNS.map((name, c) => [name, values[i * columns + c]])) as Record<RankColumn, number>;
    return { ...now, state: RANK_STATES[states[i] as number] ?? "lost" };
  });
}

/** Shares of a step; NaN each where one is unknown. */
export interface Share {
  readonly compute: number;
  readonly communication: number;
  readonly wait: number;
}

export function shareOf(now: RankNow): Share {
  const step = now.compute_s + now.communication_s + now.wait_s;
  const part = (seconds: number): number => (step > 0 ? seconds / step : NaN);
  return { compute: part(now.compute_s), communication: part(now.communication_s), wait: part(now.wait_s) };
}
