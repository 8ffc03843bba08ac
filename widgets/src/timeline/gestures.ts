// Pointer and keyboard on the timeline: crosshair, zoom by drag, wheel and keys.

import { setHidden } from "../dom";

export interface GestureTarget {
  timeAt(x: number): number;
  cross(t: number | null): void;
  step(by: number): void;
  end(first: boolean): void;
  zoomBy(factor: number, around?: number): void;
  zoomTo(from: number, to: number): void;
  reset(): void;
}

/** A shorter drag is a click. */
const DRAG_PX = 6;
const ZOOM = 0.5;
const WHEEL = 1.0015;

export class Gestures {
  readonly #el: HTMLElement;
  readonly #selection: HTMLElement;
  readonly #target: GestureTarget;
  readonly #end = new AbortController();
  #from: number | null = null;

  constructor(el: HTMLElement, selection: HTMLElement, target: GestureTarget) {
    this.#el = el;
    this.#selection = selection;
    this.#target = target;
    setHidden(selection, true);
    const options = { signal: this.#end.signal };
    el.addEventListener("pointerdown", (event) => this.#down(event), options);
    el.addEventListener("pointermove", (event) => this.#move(event), options);
    el.addEventListener("pointerup", (event) => this.#up(event), options);
    el.addEventListener("pointercancel", () => this.#cancel(), options);
    el.addEventListener("pointerleave", () => this.#from === null && target.cross(null), options);
    el.addEventListener("dblclick", () => target.reset(), options);
    el.addEventListener("wheel", (event) => this.#wheel(event), { ...options, passive: false });
    el.addEventListener("keydown", (event) => this.#key(event), options);
    el.addEventListener("blur", () => target.cross(null), options);
  }

  destroy(): void {
    this.#end.abort();
  }

  #x(event: MouseEvent): number {
    return event.clientX - this.#el.getBoundingClientRect().left;
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.#from = this.#x(event);
    this.#el.setPointerCapture(event.pointerId);
  }

  #move(event: PointerEvent): void {
    const x = this.#x(event);
    this.#target.cross(this.#target.timeAt(x));
    if (this.#from === null || Math.abs(x - this.#from) < DRAG_PX) return setHidden(this.#selection, true);
    setHidden(this.#selection, false);
    this.#selection.style.left = `${Math.min(x, this.#from)}px`;
    this.#selection.style.width = `${Math.abs(x - this.#from)}px`;
  }

  #up(event: PointerEvent): void {
    const from = this.#from;
    this.#cancel();
    const to = this.#x(event);
    if (from === null || Math.abs(to - from) < DRAG_PX) return;
    const [a, b] = [this.#target.timeAt(Math.min(from, to)), this.#target.timeAt(Math.max(from, to))];
    this.#target.zoomTo(a, b);
  }

  #cancel(): void {
    this.#from = null;
    setHidden(this.#selection, true);
  }

  /** A wheel over the panel scrolls the notebook, unless the timeline has the focus or Ctrl asks for zoom. */
  #wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.#el) return;
    event.preventDefault();
    this.#target.zoomBy(WHEEL ** event.deltaY, this.#target.timeAt(this.#x(event)));
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 10 : 1;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => this.#target.step(-step),
      ArrowRight: () => this.#target.step(step),
      Home: () => this.#target.end(true),
      End: () => this.#target.end(false),
      "+": () => this.#target.zoomBy(ZOOM),
      "=": () => this.#target.zoomBy(ZOOM),
      "-": () => this.#target.zoomBy(1 / ZOOM),
      "\u2212": () => this.#target.zoomBy(1 / ZOOM),
      Escape: () => this.#target.reset(),
    };
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  }
}
