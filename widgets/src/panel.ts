// One view of a model: the sections, when they draw, and the state that lives in the browser alone.

import { h, setAttribute, setHidden, setText } from "./dom";
import type { Frame, Section } from "./frame";
import { density, sizeOf } from "./frame";
import { panelState, type Sign } from "./state";
import type { Change, Store } from "./store";
import { Theme } from "./theme";
import { Timeline } from "./timeline/timeline";
import { Tip } from "./tip";
import { Alert } from "./views/alert";
import { unitsOf, type Unit } from "./units";
import { Compact } from "./views/compact";
import { Devices } from "./views/devices";
import { EnergySection } from "./views/energy";
import { Footer } from "./views/footer";
import { Header, cellName } from "./views/header";
import { Io } from "./views/io";
import { RankSection } from "./views/ranks";

const GRAPHICS_MS = 250;
const TEXT_MS = 500;
/** A row that comes a little early is not put off: samples are never exactly on time. */
const SLACK_MS = 30;
/** Below, the state's word and the cell's title give way. */
const TIGHT = 540;
/** From here the legend has room for whole words. */
const ROOMY = 860;

export class Panel {
  readonly #store: Store;
  readonly #host: HTMLElement;
  readonly #root = h("section", "resmon");
  readonly #theme: Theme;
  readonly #tip: Tip;
  readonly #header: Header;
  readonly #alert = new Alert();
  readonly #energy = new EnergySection();
  readonly #devices = new Devices();
  readonly #compact = new Compact();
  readonly #io = new Io();
  readonly #ranks = new RankSection();
  readonly #timeline = new Timeline();
  readonly #footer = new Footer();
  readonly #skeleton = h("div", "rm-skeleton");
  readonly #body = h("div", "rm-body");
  readonly #live = h("div", "rm-live");
  readonly #cleanup: (() => void)[] = [];

  #width = 0;
  #unit = "J";
  #expanded = false;
  #paused = false;
  #visible = true;
  #built = "";
  #sized = "";
  #stale = { text: false, graphics: false };
  #paintedRows = 0;
  #textAt = -Infinity;
  #graphicsAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #request = 0;
  #spoken = 0;
  #lastSign: Sign | null = null;

  constructor(store: Store, host: HTMLElement) {
    this.#store = store;
    this.#host = host;
    this.#header = new Header({
      pause: () => this.#togglePause(),
      stop: () => (store.monitor === "stopped" ? store.start() : store.stop()),
      expand: () => this.#change(() => (this.#expanded = !this.#expanded)),
      units: (unit) => this.#change(() => (this.#unit = unit.id)),
    });
    this.#live.setAttribute("aria-live", "polite");
    for (let i = 0; i < 4; i += 1) this.#skeleton.append(h("div", "rm-skeleton-line"));
    const devices = [this.#devices.el, this.#compact.el];
    this.#body.append(this.#alert.el, this.#energy.el, ...devices, this.#ranks.el, this.#timeline.el, this.#footer.el);
    this.#devices.el.append(this.#io.el);
    this.#root.append(this.#header.el, this.#skeleton, this.#body, this.#live);
    this.#root.setAttribute("role", "region");
    // JupyterLab's own shortcuts look for this mark; other front ends listen further up
    this.#root.setAttribute("data-lm-suppress-shortcuts", "true");
    for (const type of ["keydown", "keypress", "keyup"] as const) this.#listen(this.#root, type, (event) => event.stopPropagation());
    this.#listen(this.#root, "keydown", (event) => {
      if ((event as KeyboardEvent).key === "Escape") this.#tip.hide();
    });
    this.#tip = new Tip(this.#root);
    this.#theme = new Theme(this.#root);
    host.append(this.#root);
    this.#watch();
    this.#draw(true);
  }

  destroy(): void {
    for (const end of this.#cleanup.splice(0)) end();
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#request);
    this.#timeline.destroy();
    this.#root.remove();
  }

  #listen(target: EventTarget, type: string, listener: (event: Event) => void): void {
    target.addEventListener(type, listener);
    this.#cleanup.push(() => target.removeEventListener(type, listener));
  }

  #watch(): void {
    this.#width = this.#host.clientWidth;
    const resized = new ResizeObserver((entries) => {
      const width = Math.round(entries[0]?.borderBoxSize[0]?.inlineSize ?? 0);
      if (width === 0 || width === this.#width) return;
      this.#width = width;
      this.#theme.look(); // front ends make a view first and put it into the page then
      this.#draw(true);
    });
    resized.observe(this.#root);
    const seen = new IntersectionObserver((entries) => {
      this.#visible = entries.at(-1)?.isIntersecting ?? true;
      this.#schedule();
    });
    seen.observe(this.#root);
    this.#listen(document, "visibilitychange", () => this.#schedule());
    const ticking = setInterval(() => this.#tick(), 1000);
    this.#cleanup.push(
      () => resized.disconnect(),
      () => seen.disconnect(),
      () => clearInterval(ticking),
      this.#store.subscribe((change) => this.#changed(change)),
      this.#theme.watch(() => this.#draw(true)),
    );
  }

  get #hidden(): boolean {
    return !this.#visible || document.hidden;
  }

  #changed(change: Change): void {
    this.#stale = { text: true, graphics: true };
    if (change !== "row" && change !== "now") this.#textAt = -Infinity;
    this.#schedule();
  }

  #change(apply: () => void): void {
    apply();
    this.#draw(true);
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    setAttribute(this.#root, "data-paused", this.#paused ? "" : null);
    this.#textAt = -Infinity;
    this.#draw(!this.#paused);
  }

  /** Silence has no message of its own. */
  #tick(): void {
    if (!this.#hidden) this.#state();
  }

  /** When the next thing that is out of date may be drawn. */
  get #due(): number {
    const text = this.#stale.text ? this.#textAt + TEXT_MS : Infinity;
    const graphics = this.#stale.graphics ? this.#graphicsAt + GRAPHICS_MS : Infinity;
    return Math.min(text, graphics);
  }

  #schedule(): void {
    if (this.#hidden || this.#request || this.#timer !== undefined) return;
    const due = this.#due - SLACK_MS - performance.now();
    if (due === Infinity) return;
    if (due > 0) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#schedule();
      }, due);
      return;
    }
    this.#request = requestAnimationFrame(() => {
      this.#request = 0;
      this.#draw(false);
      this.#schedule();
    });
  }

  /** A unit whose factor is gone gives way to joules. */
  get #chosen(): Unit {
    const units = unitsOf(this.#store.schema);
    return units.find((unit) => unit.id === this.#unit) ?? (units[0] as Unit);
  }

  #frame(): Frame | null {
    const { schema } = this.#store;
    return schema && this.#width
      ? {
          store: this.#store,
          schema,
          theme: this.#theme,
          size: sizeOf(this.#width),
          width: this.#width,
          unit: this.#chosen,
          expanded: this.#expanded,
          ranks: this.#store.ranks.of(this.#store.cell),
        }
      : null;
  }

  /** `all` draws at once and everything, for what a person did or a change of size or theme. */
  #draw(all: boolean): void {
    if (this.#hidden && !all) return;
    const frame = this.#frame();
    const size = sizeOf(this.#width);
    setAttribute(this.#root, "data-size", size);
    setAttribute(this.#root, "data-tight", this.#width < TIGHT ? "" : null);
    setAttribute(this.#root, "data-roomy", this.#width >= ROOMY ? "" : null);
    setAttribute(this.#root, "data-waiting", this.#store.row ? null : "");
    setHidden(this.#skeleton, frame !== null);
    setHidden(this.#body, frame === null);
    if (frame) this.#paint(frame, all);
    else this.#stale = { text: false, graphics: false };
    this.#state();
    this.#speak();
  }

  #paint(frame: Frame, all: boolean): void {
    const now = performance.now();
    const rebuilt = this.#build(frame);
    const sized = `${frame.width} ${this.#built}`;
    const fresh = rebuilt || all || sized !== this.#sized;
    const sections = this.#sections(frame);
    if (fresh) {
      this.#sized = sized;
      for (const section of sections) section.resize(frame);
    }
    if (this.#paused && !fresh) {
      this.#stale = { text: false, graphics: false };
      return;
    }
    const { rows } = this.#store;
    if (fresh || (this.#stale.text && now - this.#textAt >= TEXT_MS - SLACK_MS)) {
      this.#textAt = now;
      this.#stale.text = false;
      for (const section of sections) section.text(frame);
    }
    if (fresh || (this.#stale.graphics && now - this.#graphicsAt >= GRAPHICS_MS - SLACK_MS)) {
      this.#graphicsAt = now;
      this.#stale.graphics = false;
      for (const section of sections) section.graphics(frame);
      this.#count(frame, rows);
    }
  }

  #build(frame: Frame): boolean {
    const key = `${frame.store.schemaNumber} ${density(frame)} ${frame.expanded} ${frame.ranks?.board}`;
    if (key === this.#built) return false;
    this.#built = key;
    const full = density(frame) === "full";
    setHidden(this.#devices.el, !full);
    setHidden(this.#compact.el, full);
    setAttribute(this.#root, "data-density", density(frame));
    for (const section of this.#sections(frame)) section.build(frame);
    if (full) this.#devices.el.append(this.#io.el);
    return true;
  }

  #sections(frame: Frame): Section[] {
    const devices = density(frame) === "full" ? [this.#devices, this.#io] : [this.#compact];
    return [this.#header, this.#alert, this.#energy, ...devices, this.#ranks, this.#timeline, this.#footer];
  }

  /** For tests and benchmarks: how many rows reached the screen, and when the newest did. */
  #count(frame: Frame, rows: number): void {
    const { row } = frame.store;
    if (!row || rows === this.#paintedRows) return;
    this.#paintedRows = rows;
    const shown = Number(this.#root.dataset["resmonRows"] ?? 0) + 1;
    this.#root.dataset["resmonRows"] = String(shown);
    this.#root.dataset["resmonSampleAt"] = ((row.t + frame.schema.wall_offset_s) * 1000).toFixed(1);
    this.#root.dataset["resmonPaintedAt"] = (performance.timeOrigin + performance.now()).toFixed(1);
  }

  #state(): void {
    const store = this.#store;
    const state = panelState(store, this.#paused, Date.now());
    setAttribute(this.#root, "data-resmon-state", state.sign);
    setAttribute(this.#root, "aria-label", ["resmon", cellName(store.cell)].filter(Boolean).join(", "));
    const prefixed = this.#energy.headlineUnit;
    const said = store.refused || store.said;
    const controls = { unit: this.#chosen, units: unitsOf(store.schema), prefixed, paused: this.#paused, expanded: this.#expanded };
    this.#header.state(state, { said, ...controls });
    const ended = state.sign === "done" || state.sign === "failed";
    if (ended && (this.#lastSign === "running" || this.#lastSign === "paused")) setText(this.#live, `${cellName(store.cell)} ${state.word}`);
    this.#lastSign = state.sign;
  }

  /** The live region: sensors lost or back, throttling that lasts. */
  #speak(): void {
    const fresh = this.#store.watch.said.filter((sentence) => sentence.n > this.#spoken);
    if (!fresh.length) return;
    this.#spoken = (fresh.at(-1) as { n: number }).n;
    setText(this.#live, fresh.map((sentence) => sentence.text).join(". "));
  }
}
