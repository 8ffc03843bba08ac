// Whether the kernel is still there, as far as a front end lets a widget know.
//
// JupyterLab and Notebook 7: the widget manager carries the kernel connection with its signals. Everywhere: the
// widget model tells when its comm closes. A front end that does neither leaves only silence, which is not proof: then
// the panel says for how long nothing came, never that the kernel is gone.

import type { Model } from "./anywidget";

interface Signal {
  connect(slot: (sender: unknown, value: unknown) => void): unknown;
  disconnect(slot: (sender: unknown, value: unknown) => void): unknown;
}

interface KernelLike {
  status?: unknown;
  connectionStatus?: unknown;
  statusChanged?: Signal;
  connectionStatusChanged?: Signal;
}

const GONE = new Set(["dead", "terminating", "restarting", "autorestarting"]);

function kernelOf(model: Model): KernelLike | null {
  const manager = model.widget_manager;
  if (typeof manager !== "object" || manager === null || !("kernel" in manager)) return null;
  const kernel = manager.kernel;
  return typeof kernel === "object" && kernel !== null ? kernel : null;
}

/** Calls `changed(gone)` on each change; returns what ends the watching. */
export function watchKernel(model: Model, changed: (gone: boolean) => void): () => void {
  const kernel = kernelOf(model);
  // a restarted kernel has forgotten the panel: once gone by status, it stays gone
  let died = false;
  const look = (): void => {
    died ||= GONE.has(String(kernel?.status));
    changed(died || kernel?.connectionStatus === "disconnected" || kernel?.connectionStatus === "connecting");
  };
  const closed = (): void => {
    died = true;
    changed(true);
  };
  kernel?.statusChanged?.connect(look);
  kernel?.connectionStatusChanged?.connect(look);
  model.on("comm:close", closed);
  model.on("destroy", closed);
  return () => {
    kernel?.statusChanged?.disconnect(look);
    kernel?.connectionStatusChanged?.disconnect(look);
    model.off("comm:close", closed);
    model.off("destroy", closed);
  };
}
