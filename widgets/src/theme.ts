// Light or dark, and the colours as the browser resolves them: canvases cannot read custom properties.

import { measureIn } from "./canvas";

export interface Palette {
  readonly text: string;
  readonly surface: string;
  readonly muted: string;
  readonly hairline: string;
  readonly frame: string;
  readonly track: string;
  readonly band: string;
  readonly bandRunning: string;
  readonly gpu: string;
  readonly cpu: string;
  readonly memory: string;
  readonly io: string;
  readonly font: string;
}

/** Theme variables of the front ends that have them, in the order in which the style sheet asks for them. */
const SURFACES = ["--jp-layout-color1", "--vscode-editor-background"];
const DARK_QUERY = "(prefers-color-scheme: dark)";
const FORCED_QUERY = "(forced-colors: active)";

/** `rgb(1 2 3)`, `rgba(1, 2, 3, .5)` or `color(srgb .1 .2 .3)` as three numbers 0–255. */
function channels(color: string): readonly [number, number, number] | null {
  const numbers = color.match(/[\d.]+(?:e-?\d+)?/g)?.map(Number);
  if (!numbers || numbers.length < 3) return null;
  const scale = color.startsWith("color(") ? 255 : 1;
  return [(numbers[0] as number) * scale, (numbers[1] as number) * scale, (numbers[2] as number) * scale];
}

/** The colour with the opacity, for canvases. */
export function withAlpha(color: string, alpha: number): string {
  const c = channels(color);
  return c ? `rgba(${c.map((x) => Math.round(x)).join(", ")}, ${alpha})` : color;
}

export class Theme {
  readonly #root: HTMLElement;
  readonly #probe: HTMLElement;
  #palette: Palette | null = null;

  constructor(root: HTMLElement) {
    this.#root = root;
    this.#probe = document.createElement("span");
    this.#probe.hidden = true;
    root.append(this.#probe);
  }

  /** Resolved once per change of theme. */
  get palette(): Palette {
    return (this.#palette ??= this.#read());
  }

  /** Looks again; true when something that is drawn is different. Outside the page an element has no colours. */
  look(): boolean {
    const before = JSON.stringify(this.#palette);
    this.#palette = null;
    this.#root.dataset["theme"] = this.#isDark() ? "dark" : "light";
    return JSON.stringify(this.palette) !== before;
  }

  /** Looks again; calls `changed` when something that is drawn is different. Returns what ends the watching. */
  watch(changed: () => void): () => void {
    const look = (): void => {
      if (this.look()) changed();
    };
    look();
    const observer = new MutationObserver(look);
    const options = { attributes: true, attributeFilter: ["class", "style", "theme", "data-jp-theme-name", "data-jp-theme-light"] };
    observer.observe(document.documentElement, options);
    observer.observe(document.body, options);
    // a theme's style sheet can arrive after the attribute that names it
    const queries = [DARK_QUERY, FORCED_QUERY].map((q) => window.matchMedia(q));
    document.head.addEventListener("load", look, true);
    for (const query of queries) query.addEventListener("change", look);
    return () => {
      observer.disconnect();
      document.head.removeEventListener("load", look, true);
      for (const query of queries) query.removeEventListener("change", look);
    };
  }

  #isDark(): boolean {
    const style = getComputedStyle(this.#root);
    for (const name of SURFACES) {
      const value = style.getPropertyValue(name).trim();
      const c = value && channels(this.#resolve(value));
      if (c) return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] < 128;
    }
    const colab = document.documentElement.getAttribute("theme");
    if (colab === "dark" || colab === "light") return colab === "dark";
    return window.matchMedia(DARK_QUERY).matches;
  }

  #resolve(color: string): string {
    this.#probe.style.color = "";
    this.#probe.style.color = color;
    return getComputedStyle(this.#probe).color;
  }

  #read(): Palette {
    const font = getComputedStyle(this.#root).fontFamily;
    measureIn(font);
    const of = (name: string): string => this.#resolve(`var(--rm-${name})`);
    return {
      text: of("text"),
      surface: of("surface"),
      muted: of("muted"),
      hairline: of("hairline"),
      frame: of("frame"),
      track: of("track"),
      band: of("band"),
      bandRunning: of("band-running"),
      gpu: of("gpu"),
      cpu: of("cpu"),
      memory: of("memory"),
      io: of("io"),
      font,
    };
  }
}
