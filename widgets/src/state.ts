// The one word for what goes on, from what is known here and nothing more.

import { format_duration } from "./format";
import type { Store } from "./store";

export type Sign = "running" | "paused" | "idle" | "stopped" | "done" | "failed" | "gone" | "waiting";

export interface PanelState {
  readonly sign: Sign;
  readonly word: string;
  /** Said on hover, where there is more to it than the word. */
  readonly more: string;
}

/** Silence during a cell that is longer than this is said; it proves nothing. */
const QUIET_MS = 5000;

export function clock(store: Store, t: number): string {
  const offset = store.schema?.wall_offset_s ?? 0;
  return new Date((t + offset) * 1000).toLocaleTimeString([], { hour12: false });
}

export function panelState(store: Store, paused: boolean, nowMs: number): PanelState {
  const last = store.row?.t ?? store.series.newest;
  const at = Number.isFinite(last) ? ` at ${clock(store, last)}` : "";
  if (store.disconnected) {
    return { sign: "gone", word: "disconnected", more: `the kernel no longer answers; last values${at || " unknown"}` };
  }
  if (store.monitor === "stopped") return { sign: "stopped", word: "stopped", more: store.said || `measuring was stopped${at}` };
  if (paused) return { sign: "paused", word: "paused, still measuring", more: "only the drawing is paused" };
  const cell = store.cell;
  if (cell?.state === "running") {
    const quiet = nowMs - store.rowAt;
    return quiet > QUIET_MS
      ? { sign: "running", word: `no message for ${format_duration(quiet / 1000)}`, more: `last values${at}; the kernel may be busy or gone` }
      : { sign: "running", word: "running", more: "" };
  }
  if (cell?.state === "failed") {
    return { sign: "failed", word: `failed: ${cell.error ?? "error"}`, more: "measured up to there" };
  }
  if (cell?.state === "done") return { sign: "done", word: "done", more: `last values${at}` };
  if (!store.schema || (!store.row && !store.complete)) return { sign: "waiting", word: "waiting for the kernel", more: "" };
  return { sign: "idle", word: "idle", more: `no cell runs: nothing is sent; last values${at || " none yet"}` };
}
