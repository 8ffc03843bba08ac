// What one widget model knows of ranks: who they are, what they do now, and what of it is worth saying.

import type { RankFacts, RankNow, RankNumbers, RankState, Straggler } from "./rankwire";
import { decodeRanks, isRankFacts } from "./rankwire";
import type { Cell } from "./wire";

/** A rank that waits for a word: "expected" and "running" have none. */
const SPOKEN: Partial<Record<RankState, string>> = { failed: "failed", lost: "is silent" };
/** More ranks than this are counted, not listed. */
const LISTED = 3;

export class Ranks {
  facts: RankFacts | null = null;
  now: readonly RankNow[] = [];
  straggler: Straggler | null = null;
  /** Counts the facts that differ. */
  number = 0;
  #states: readonly RankState[] = [];

  /** The facts where they are about this cell. */
  of(cell: Cell | null): RankFacts | null {
    return this.facts && this.facts.cell === cell?.id ? this.facts : null;
  }

  /** What all that run do together; NaN where nobody counts. */
  get itemsPerSecond(): number {
    const known = this.now.filter((now) => now.state === "running" && Number.isFinite(now.items_per_s));
    return known.length ? known.reduce((sum, now) => sum + now.items_per_s, 0) : NaN;
  }

  /** Median of those that run; NaN where nobody counts. */
  get stepsPerSecond(): number {
    const known = this.now.filter((now) => now.state === "running" && Number.isFinite(now.steps_per_s)).map((now) => now.steps_per_s);
    return known.sort((a, b) => a - b)[(known.length - 1) >> 1] ?? NaN;
  }

  /** How many are in a state. */
  count(state: RankState): number {
    return this.now.filter((now) => now.state === state).length;
  }

  /** How old the newest sample of any rank that runs is, in seconds. */
  get age(): number {
    const ages = this.now.filter((now) => now.state === "running").map((now) => now.age_s);
    return ages.length ? Math.min(...ages) : NaN;
  }

  /** A `ranks` message, or the traits at the start. */
  adopt(raw: unknown, buffer: unknown, say: (text: string) => void): boolean {
    if (!isRankFacts(raw)) return false;
    const now = decodeRanks(buffer, raw.n);
    if (!now) return false;
    if (this.facts?.board !== raw.board) {
      this.straggler = null;
      this.#states = [];
    }
    if (key(this.facts) !== key(raw)) this.number += 1;
    this.facts = raw;
    this.#show(now, raw.straggler, say);
    return true;
  }

  /** What a row brings; of another run than the facts it says nothing. */
  take(numbers: RankNumbers | undefined, buffer: unknown, say: (text: string) => void): void {
    if (!numbers || numbers.board !== this.facts?.board || numbers.n !== this.facts.n) return;
    const now = decodeRanks(buffer, numbers.n);
    if (now) this.#show(now, numbers.straggler, say);
  }

  #show(now: readonly RankNow[], straggler: Straggler | null, say: (text: string) => void): void {
    this.now = now;
    const states = now.map((rank) => rank.state);
    for (const [state, word] of Object.entries(SPOKEN)) {
      const fresh = states.flatMap((s, i) => (s === state && this.#states[i] !== undefined && this.#states[i] !== state ? [i] : []));
      if (fresh.length) say(`${listed(fresh)} ${word}`);
    }
    this.#states = states;
    if (straggler && straggler.rank !== this.straggler?.rank) {
      say(`straggler: rank ${straggler.rank} computes ${straggler.factor.toFixed(2)} times the median`);
    } else if (!straggler && this.straggler) say(`rank ${this.straggler.rank} no longer holds the others up`);
    this.straggler = straggler;
  }
}

function listed(ranks: readonly number[]): string {
  const more = ranks.length - LISTED;
  return `${ranks.length === 1 ? "rank" : "ranks"} ${ranks.slice(0, LISTED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** What a view builds its rows from. */
function key(facts: RankFacts | null): string {
  return facts ? JSON.stringify([facts.board, facts.cell, facts.ranks, facts.items_unit, facts.world_size]) : "";
}
