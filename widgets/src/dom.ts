// Small helpers over the DOM. Text goes in as text only: names come from outside and must never become markup.

type Child = Node | string;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, className = "", ...children: Child[]): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  if (className) el.className = className;
  el.append(...children);
  return el;
}

const SVG = "http://www.w3.org/2000/svg";

/** A picture of fixed paths, drawn in the text colour. */
export function icon(className: string, size: number, ...paths: Record<string, string>[]): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("width", String(size));
  svg.setAttribute("height", String(size));
  svg.setAttribute("aria-hidden", "true");
  for (const { tag = "path", ...attributes } of paths) {
    const el = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
    svg.append(el);
  }
  return svg;
}

/** Writes only what changed: an unchanged text costs no layout. */
export function setText(el: HTMLElement, text: string): void {
  if (el.textContent !== text) el.textContent = text;
}

export function setAttribute(el: Element, name: string, value: string | null): void {
  if (value === null) {
    if (el.hasAttribute(name)) el.removeAttribute(name);
  } else if (el.getAttribute(name) !== value) el.setAttribute(name, value);
}

export function setHidden(el: HTMLElement, hidden: boolean): void {
  if (el.hidden !== hidden) el.hidden = hidden;
}

/** What the tooltip shows on hover and focus; null for nothing. */
export function setTip(el: HTMLElement, tip: string | null): void {
  setAttribute(el, "data-tip", tip || null);
}

export type Pattern = "measured" | "estimated" | "uncovered" | "others" | "yours";

/** The small square that shows a pattern beside its word. */
export function swatch(pattern: Pattern, resource: "text" | "memory" = "text"): HTMLElement {
  const el = h("span", "rm-swatch");
  el.dataset["pattern"] = pattern;
  el.dataset["resource"] = resource;
  el.setAttribute("aria-hidden", "true");
  return el;
}

export function warningSign(): SVGSVGElement {
  return icon(
    "rm-warning",
    12,
    { d: "M6 1.2 11.2 10.8H.8Z", fill: "none", stroke: "currentColor", "stroke-width": "1.3", "stroke-linejoin": "round" },
    { d: "M6 4.6v3M6 8.6v1", stroke: "currentColor", "stroke-width": "1.3" },
  );
}
