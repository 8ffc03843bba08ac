// The one word for what goes on, from what is known here and nothing more.

import { format_duration } from "./format";
import type { Store } from "./store";

export type Sign = "running" | "paused" | "idle" | "stopped" | "done" | "failed" | "gone" | "waiting";

export interface PanelState {
  readonly sign: Sign;
  readonly word: string;
  /** A few words beside it, where they matter. */
  readonly beside: string;
  /** Said on hover, where there is more to it than the word. */
  readonly more: string;
}

/** Silence during a cell that is longer than this is said; it proves nothing. */
const QUIET_MS = 5000;

/** Time of day in the browser's zone; made once, since it is costly to make. */
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export function clock(store: Store, t: number): string {
  const offset = store.schema?.wall_offset_s ?? 0;
  return CLOCK.format((t + offset) * 1000);
}

export function panelState(store: Store, paused: boolean, nowMs: number): PanelState {
  const last = store.row?.t ?? store.series.newest;
  const values = Number.isFinite(last) ? `last values ${clock(store, last)}` : "no values yet";
  const state = (sign: Sign, word: string, more = "", beside = ""): PanelState => ({ sign, word, more, beside });
  if (store.disconnected) return state("gone", "disconnected", "the kernel no longer answers", values);
  if (store.monitor === "stopped") return state("stopped", "stopped", store.said || "measuring was stopped", values);
  if (paused) return state("paused", "paused, still measuring", "only the drawing is paused");
  const cell = store.cell;
  if (cell?.state === "running") {
    const quiet = nowMs - store.rowAt;
    if (!(quiet > QUIET_MS)) return state("running", "running");
    const silent = `no message for ${format_duration(quiet / 1000)}`;
    return state("running", "running", "the kernel may be busy, or gone", silent);
  }
  if (cell?.state === "failed") return state("failed", `failed: ${cell.error ?? "error"}`, "", "measured up to there");
  if (cell?.state === "done") return state("done", "done", values);
  if (!store.schema || (!store.row && !store.complete)) return state("waiting", "waiting for the kernel");
  return state("idle", "idle", "no cell runs, so nothing is sent", values);
}
