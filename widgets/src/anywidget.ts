// The part of the anywidget front-end contract that the panel uses.

export interface Model {
  get(name: string): unknown;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback: (...args: never[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  /** JupyterLab's manager has the kernel; other front ends have none. */
  widget_manager?: unknown;
}
