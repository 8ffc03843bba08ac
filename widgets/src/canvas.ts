// Drawing on canvases that follow their box and the screen's resolution.

const tiles = new Map<string, HTMLCanvasElement>();

/** Hatch that says "estimated", in device pixels. */
export function hatch(context: CanvasRenderingContext2D, color: string, ground: string, ratio: number): CanvasPattern | string {
  const key = `${color} ${ground} ${ratio}`;
  const tile = tiles.get(key) ?? hatchTile(color, ground, ratio);
  tiles.set(key, tile);
  return context.createPattern(tile, "repeat") ?? color;
}

function hatchTile(color: string, ground: string, ratio: number): HTMLCanvasElement {
  const size = Math.round(6 * ratio);
  const tile = document.createElement("canvas");
  tile.width = size;
  tile.height = size;
  const c = tile.getContext("2d");
  if (!c) return tile;
  c.fillStyle = ground;
  c.fillRect(0, 0, size, size);
  c.strokeStyle = color;
  c.lineWidth = 1.5 * ratio;
  for (const shift of [-size, 0, size]) {
    c.beginPath();
    c.moveTo(shift - size * 0.25, size * 1.25);
    c.lineTo(shift + size * 1.25, -size * 0.25);
    c.stroke();
  }
  return tile;
}

const widths = new Map<string, number>();
const MOST_WIDTHS = 2000;
let ruler: CanvasRenderingContext2D | null = null;
let family = "sans-serif";

/** The family in which `textWidth` measures: one page has one theme. */
export function measureIn(font: string): void {
  if (font === family) return;
  family = font;
  widths.clear();
}

/** Width of a text in px, without asking the layout; `font` is weight and size. */
export function textWidth(text: string, font: string): number {
  const key = `${font} ${text}`;
  const kept = widths.get(key);
  if (kept !== undefined) return kept;
  ruler ??= document.createElement("canvas").getContext("2d");
  if (!ruler) return 0;
  ruler.font = `${font} ${family}`;
  const width = ruler.measureText(text).width;
  if (widths.size > MOST_WIDTHS) widths.clear();
  widths.set(key, width);
  return width;
}

/** A canvas of given height and of the width that its box has. Not shown to assistive technology. */
export class Picture {
  readonly el = document.createElement("canvas");
  height: number;
  width = 0;
  #context: CanvasRenderingContext2D | null = null;
  #ratio = 0;

  constructor(className: string, height: number) {
    this.el.className = className;
    this.el.style.height = `${height}px`;
    this.el.setAttribute("aria-hidden", "true");
    this.height = height;
  }

  setHeight(height: number): void {
    if (height === this.height) return;
    this.height = height;
    this.el.style.height = `${height}px`;
    this.#ratio = 0;
  }

  /** Call on resize: reads layout. True when the size changed. */
  measure(): boolean {
    const width = this.el.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    if (width === this.width && ratio === this.#ratio) return false;
    this.width = width;
    this.#ratio = ratio;
    this.el.width = Math.max(1, Math.round(width * ratio));
    this.el.height = Math.round(this.height * ratio);
    return true;
  }

  get ratio(): number {
    return this.#ratio || 1;
  }

  /** A cleared context in CSS pixels; null while the canvas has no size. */
  begin(): CanvasRenderingContext2D | null {
    if (!this.width) this.measure();
    if (!this.width) return null;
    this.#context ??= this.el.getContext("2d");
    this.#context?.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    this.#context?.clearRect(0, 0, this.width, this.height);
    return this.#context;
  }
}

/** Goes along points at `x(i)`, `y(i)`; NaN lifts the pen. */
function follow(
  count: number,
  x: (i: number) => number,
  y: (i: number) => number,
  move: (x: number, y: number) => void,
  line: (x: number, y: number) => void,
): void {
  let pen = false;
  for (let i = 0; i < count; i += 1) {
    const at = y(i);
    const known = !Number.isNaN(at);
    if (known) (pen ? line : move)(x(i), at);
    pen = known;
  }
}

/** A line as the path of an SVG element, which costs no layer of its own: for what changes rarely. */
export function linePath(count: number, x: (i: number) => number, y: (i: number) => number): string {
  let path = "";
  const add = (letter: string) => (atX: number, atY: number): void => {
    path += `${letter}${atX.toFixed(1)} ${atY.toFixed(1)}`;
  };
  follow(count, x, y, add("M"), add("L"));
  return path;
}

/** The same, drawn. */
export function strokeLine(
  c: CanvasRenderingContext2D,
  count: number,
  x: (i: number) => number,
  y: (i: number) => number,
): void {
  c.beginPath();
  follow(count, x, y, c.moveTo.bind(c), c.lineTo.bind(c));
  c.stroke();
}
