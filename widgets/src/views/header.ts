// State, cell, elapsed time, rate, and the toolbar.

import { h, icon, setAttribute, setHidden, setText, setTip } from "../dom";
import { format_duration, itemsDigits, known } from "../format";
import type { Frame, Section } from "../frame";
import { density } from "../frame";
import { shortName } from "../readings";
import type { RankFacts } from "../rankwire";
import type { PanelState, Sign } from "../state";
import type { Store } from "../store";
import type { Unit } from "../units";
import type { Cell } from "../wire";

/** What the buttons show. */
export interface Controls {
  readonly said: string;
  readonly unit: Unit;
  readonly units: readonly Unit[];
  /** The unit with the headline's prefix. */
  readonly prefixed: string;
  readonly paused: boolean;
  readonly expanded: boolean;
}

export interface Commands {
  pause(): void;
  stop(): void;
  expand(): void;
  units(unit: Unit): void;
}

const RING = { tag: "circle", cx: "7", cy: "7", r: "6", fill: "none", stroke: "currentColor", "stroke-width": "1.6" };
const SIGNS: Record<Sign, Record<string, string>[]> = {
  running: [RING, { tag: "circle", cx: "7", cy: "7", r: "3", fill: "currentColor" }],
  idle: [RING],
  waiting: [{ ...RING, "stroke-dasharray": "2 2" }],
  paused: [{ d: "M3.5 2h2.6v10H3.5zM7.9 2h2.6v10H7.9z", fill: "currentColor" }],
  stopped: [{ d: "M2 2h10v10H2z", fill: "currentColor" }],
  done: [{ d: "M1.5 7.5 5.5 11.5 12.5 2.5", fill: "none", stroke: "currentColor", "stroke-width": "2" }],
  failed: [{ d: "M2 2 12 12M12 2 2 12", fill: "none", stroke: "currentColor", "stroke-width": "2" }],
  gone: [RING, { d: "M2.8 11.2 11.2 2.8", stroke: "currentColor", "stroke-width": "1.6" }],
};
const PAUSE = { d: "M2 1h3v10H2zM7 1h3v10H7z", fill: "currentColor" };
const PLAY = { d: "M2 1 11 6 2 11z", fill: "currentColor" };
const STOP = { d: "M1 1h10v10H1z", fill: "currentColor" };
const EXPAND = { d: "M7 1h4v4M11 1 7 5M5 11H1V7M1 11 5 7", fill: "none", stroke: "currentColor", "stroke-width": "1.5" };
const SHRINK = { d: "M7 1v4h4M7 5 11 1M1 7h4v4M5 7 1 11", fill: "none", stroke: "currentColor", "stroke-width": "1.5" };
const DOTS = { d: "M0 5h2.6v2.6H0zM4.7 5h2.6v2.6H4.7zM9.4 5H12v2.6H9.4z", fill: "currentColor" };
const CHEVRON = { d: "M1.5 3 5 6.5 8.5 3", fill: "none", stroke: "currentColor", "stroke-width": "1.6" };

export function cellName(cell: Cell | null): string {
  if (!cell) return "";
  return cell.number === null ? cell.title : `In [${cell.number}]`;
}

class Button {
  readonly el = h("button", "rm-button");
  readonly #icon = h("span", "rm-icon");
  readonly #word = h("span", "rm-button-word");
  #path = "";

  constructor(click: () => void) {
    this.el.type = "button";
    this.el.append(this.#icon, this.#word);
    this.el.addEventListener("click", click);
  }

  show(word: string, path: Record<string, string>, label = word): void {
    setText(this.#word, word);
    setAttribute(this.el, "aria-label", label);
    setTip(this.el, label);
    if (path["d"] === this.#path) return;
    this.#path = path["d"] ?? "";
    this.#icon.replaceChildren(icon("", 12, path));
  }
}

/** Menu of the units, and at the narrow size of everything that has no button of its own. */
class Menu {
  readonly el = h("div", "rm-menu");
  readonly #commands: Commands;
  readonly #expand: HTMLElement;
  #units: readonly Unit[] = [];
  #items: HTMLElement[] = [];
  readonly #opener: () => HTMLElement;

  constructor(commands: Commands, opener: () => HTMLElement) {
    this.#commands = commands;
    this.#opener = opener;
    this.el.setAttribute("role", "menu");
    this.el.setAttribute("aria-label", "units");
    this.el.hidden = true;
    this.#expand = this.#item("menuitem", "expand", () => commands.expand());
    this.#expand.classList.add("rm-menu-expand");
    this.el.append(this.#expand);
    this.el.addEventListener("keydown", (event) => this.#key(event));
    this.el.addEventListener("focusout", (event) => {
      const to = event.relatedTarget;
      if (!(to instanceof Node) || !this.el.contains(to)) this.close(false);
    });
  }

  #item(role: string, text: string, run: () => void): HTMLElement {
    const el = h("div", "rm-menu-item", text);
    el.setAttribute("role", role);
    el.tabIndex = -1;
    el.addEventListener("click", () => {
      run();
      this.close(true);
    });
    return el;
  }

  /** The units of this schema; the menu that is open stays as it is. */
  #offer(units: readonly Unit[]): void {
    if (units === this.#units || !this.el.hidden) return;
    this.#units = units;
    for (const item of this.#items) item.remove();
    this.#items = units.map((unit) => {
      const el = this.#item("menuitemradio", unit.name, () => this.#commands.units(unit));
      el.dataset["unit"] = unit.id;
      setTip(el, unit.about || null);
      return el;
    });
    this.el.prepend(...this.#items);
  }

  show(units: readonly Unit[], unit: Unit, expanded: boolean): void {
    this.#offer(units);
    for (const item of this.#items) setAttribute(item, "aria-checked", String(item.dataset["unit"] === unit.id));
    setText(this.#expand, expanded ? "shrink" : "expand");
  }

  toggle(): void {
    if (!this.el.hidden) return this.close(true);
    this.el.hidden = false;
    this.#opener().setAttribute("aria-expanded", "true");
    (this.#items.find((item) => item.getAttribute("aria-checked") === "true") ?? this.#items[0])?.focus();
  }

  close(refocus: boolean): void {
    if (this.el.hidden) return;
    this.el.hidden = true;
    this.#opener().setAttribute("aria-expanded", "false");
    if (refocus) this.#opener().focus();
  }

  #key(event: KeyboardEvent): void {
    const shown = [...this.#items, this.#expand].filter((item) => item.offsetParent !== null);
    const at = shown.indexOf(event.target as HTMLElement);
    const go = (to: number): void => shown.at(to % shown.length)?.focus();
    const keys: Record<string, () => void> = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      Home: () => go(0),
      End: () => go(-1),
      Escape: () => this.close(true),
      Enter: () => shown[at]?.click(),
      " ": () => shown[at]?.click(),
    };
    const run = keys[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  }
}

export class Header implements Section {
  readonly el = h("div", "rm-header");
  readonly #sign = h("span", "rm-sign");
  readonly #word = h("b", "rm-state-word");
  readonly #status = h("span", "rm-state", this.#sign, this.#word);
  readonly #more = h("span", "rm-state-more");
  readonly #number = h("b");
  readonly #title = h("span", "rm-title");
  readonly #cell = h("span", "rm-cell", this.#number, this.#title);
  readonly #elapsed = h("b", "rm-elapsed");
  readonly #items = h("b");
  readonly #itemsUnit = h("span");
  readonly #rate = h("span", "rm-throughput", this.#items, this.#itemsUnit);
  readonly #machine = h("span", "rm-machine");
  readonly #said = h("span", "rm-said");
  readonly #pause: Button;
  readonly #stop: Button;
  readonly #expand: Button;
  readonly #units = h("button", "rm-button rm-units");
  readonly #unitsWord = h("span", "rm-units-word");
  readonly #dots: Button;
  readonly #menu: Menu;
  readonly #toolbar = h("div", "rm-toolbar");
  #signShown: Sign | "" = "";

  constructor(commands: Commands) {
    this.#pause = new Button(commands.pause);
    this.#stop = new Button(commands.stop);
    this.#expand = new Button(commands.expand);
    this.#dots = new Button(() => this.#menu.toggle());
    this.#units.type = "button";
    this.#units.append(this.#unitsWord, icon("", 10, CHEVRON));
    this.#units.setAttribute("aria-label", "units");
    this.#units.addEventListener("click", () => this.#menu.toggle());
    this.#menu = new Menu(commands, () => (this.#units.offsetParent ? this.#units : this.#dots.el));
    for (const opener of [this.#units, this.#dots.el]) {
      opener.setAttribute("aria-haspopup", "menu");
      opener.setAttribute("aria-expanded", "false");
    }
    this.#expand.el.classList.add("rm-expand");
    this.#dots.el.classList.add("rm-dots");
    this.#dots.show("", DOTS, "more");
    this.#status.setAttribute("role", "status");
    // the live region of the panel speaks of what matters; each change of state here would speak twice
    this.#status.setAttribute("aria-live", "off");
    this.#elapsed.setAttribute("role", "timer");
    this.#elapsed.setAttribute("aria-live", "off");
    this.#toolbar.setAttribute("role", "toolbar");
    this.#toolbar.setAttribute("aria-label", "panel");
    this.#toolbar.append(this.#pause.el, this.#stop.el, this.#units, this.#expand.el, this.#dots.el);
    this.#toolbar.addEventListener("keydown", (event) => this.#arrows(event));
    const first = h("div", "rm-headline-line", this.#status, this.#more, this.#cell, this.#elapsed, this.#rate, this.#machine);
    this.el.append(first, this.#said, this.#toolbar, this.#menu.el);
    this.#rove(this.#pause.el);
  }

  build(frame: Frame): void {
    const { gpus } = frame.schema;
    const names = new Set(gpus.map((gpu) => shortName(gpu.name)));
    const compact = density(frame) !== "full" && gpus.length > 0;
    setText(this.#machine, compact ? `${gpus.length} × ${names.size === 1 ? [...names][0] : "GPU"}` : "");
    setTip(this.#machine, compact && names.size > 1 ? [...names].join(", ") : null);
  }

  resize(): void {}

  graphics(): void {}

  text({ store, ranks }: Frame): void {
    const cell = store.cell;
    setText(this.#number, cell?.number === null ? "" : cellName(cell));
    setText(this.#title, cell ? (cell.number === null ? cell.title : ` ${cell.title}`) : "");
    setTip(this.#cell, cell ? [cellName(cell), cell.number === null ? "" : cell.title].filter(Boolean).join(" ") : null);
    const until = cell?.t1 ?? store.row?.t ?? store.series.newest;
    setText(this.#elapsed, cell && cell.t0 !== null ? format_duration(Math.max(0, until - cell.t0)) : "");
    const { value, unit } = this.#throughput(store, ranks);
    setText(this.#items, known(value) && cell ? itemsDigits(value) : "");
    setText(this.#itemsUnit, known(value) && cell ? ` ${unit}/s` : "");
  }

  /** What the cell's code counts, else what its ranks do together, else how fast they step. */
  #throughput(store: Store, ranks: RankFacts | null): { readonly value: number; readonly unit: string } {
    const counted = store.value("cell.items_per_s");
    if (known(counted) || !ranks) return { value: counted, unit: store.cell?.items_unit ?? "items" };
    const items = store.ranks.itemsPerSecond;
    return known(items) ? { value: items, unit: ranks.items_unit } : { value: store.ranks.stepsPerSecond, unit: "step" };
  }

  /** What can change without a row: state, buttons, units. */
  state(state: PanelState, { said, unit, units, prefixed, paused, expanded }: Controls): void {
    if (state.sign !== this.#signShown) {
      this.#signShown = state.sign;
      this.#sign.replaceChildren(icon("", 14, ...SIGNS[state.sign]));
    }
    setText(this.#word, state.word);
    setAttribute(this.#status, "aria-label", [state.word, state.beside, state.more].filter(Boolean).join(", "));
    setTip(this.#status, [state.word, state.beside, state.more].filter(Boolean).join("\n"));
    setText(this.#more, state.beside);
    setAttribute(this.#more, "data-word", state.word);
    setText(this.#said, said);
    setTip(this.#said, said);
    setHidden(this.#said, !said);
    this.#pause.show(paused ? "Resume" : "Pause", paused ? PLAY : PAUSE, paused ? "Resume drawing" : "Pause drawing");
    const stopped = state.sign === "stopped";
    this.#stop.show(stopped ? "Start" : "Stop", stopped ? PLAY : STOP, stopped ? "Start measuring" : "Stop measuring");
    const gone = state.sign === "gone";
    setAttribute(this.#stop.el, "aria-disabled", gone ? "true" : null);
    this.#expand.show("", expanded ? SHRINK : EXPAND, expanded ? "Shrink" : "Expand");
    setAttribute(this.#expand.el, "aria-pressed", String(expanded));
    setText(this.#unitsWord, prefixed || unit.id);
    setAttribute(this.#units, "data-unit", unit.id);
    setTip(this.#units, unit.about || null);
    this.#menu.show(units, unit, expanded);
  }

  closeMenu(): void {
    this.#menu.close(false);
  }

  #buttons(): HTMLElement[] {
    return ([...this.#toolbar.children] as HTMLElement[]).filter((el) => el.offsetParent !== null);
  }

  /** One tab stop for the whole toolbar. */
  #rove(to: HTMLElement): void {
    for (const el of this.#toolbar.children) (el as HTMLElement).tabIndex = el === to ? 0 : -1;
  }

  #arrows(event: KeyboardEvent): void {
    const buttons = this.#buttons();
    const at = buttons.indexOf(event.target as HTMLElement);
    const steps: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 };
    const to = steps[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = buttons.at(to % buttons.length);
    if (!next) return;
    this.#rove(next);
    next.focus();
  }
}
