// The names of the lines: at their right ends, or where there is no room for that in one legend line.

import { h, icon, setHidden, setText } from "../dom";
import type { Series } from "../series";
import type { Size } from "../frame";
import { spread, type Window } from "./axis";
import type { Geometry } from "./ground";
import { DASHES, type Plot } from "./plot";
import type { Line } from "./strips";

const GAP = 14;

interface EndLabel {
  readonly el: HTMLElement;
  readonly word: HTMLElement;
  readonly line: Line;
  readonly plot: Plot;
}

export class LineNames {
  readonly ends = h("div", "rm-ends");
  readonly legend = h("div", "rm-legend");
  #labels: EndLabel[] = [];

  build(plots: Geometry["plots"], size: Size): void {
    const narrow = size === "narrow";
    setHidden(this.legend, !narrow);
    const label = (plot: Plot, lines: readonly Line[]): EndLabel[] =>
      lines.map((line) => {
        const word = h("span", "", line.name);
        return { el: h("span", "rm-line-name", lineSwatch(line), word), word, line, plot };
      });
    const first = plots[0];
    this.#labels = narrow ? [] : plots.flatMap(({ plot }) => label(plot, fromTop(plot.strip.lines)));
    this.ends.replaceChildren(...this.#labels.map(({ el }) => el));
    this.legend.replaceChildren(...(narrow && first ? label(first.plot, first.plot.strip.lines) : []).map(({ el }) => el));
  }

  /** Beside the last known value in the window. */
  move(plots: Geometry["plots"], series: Series, window: Window): void {
    setHidden(this.ends, !series.length);
    const first = series.firstAt(window.from);
    const last = Math.min(series.length, series.firstAt(window.to) + 1) - 1;
    for (const { plot, top } of plots) {
      const labels = this.#labels.filter((label) => label.plot === plot);
      const wanted = labels.map(({ line }) => {
        const at = lastKnown(line, first, last);
        return Number.isNaN(at) ? plot.strip.height : plot.y(at);
      });
      const places = spread(wanted, GAP, plot.strip.height + 2);
      labels.forEach(({ el, word, line }, i) => {
        setText(word, line.name);
        const transform = `translateY(${Math.round(top + (places[i] as number) - 8)}px)`;
        if (el.style.transform !== transform) el.style.transform = transform;
      });
    }
  }
}

/** The topmost layer of a stack is named first; lines beside each other keep their order where they meet. */
export function fromTop(lines: readonly Line[]): readonly Line[] {
  return lines.some((line) => line.stacked) ? [...lines].reverse() : lines;
}

function lastKnown(line: Line, first: number, last: number): number {
  for (let i = last; i >= first; i -= 1) {
    const at = line.at(i);
    if (!Number.isNaN(at)) return at;
  }
  return NaN;
}

function lineSwatch(line: Line): SVGSVGElement {
  const svg = icon("rm-line-swatch", 18, {
    d: "M0 9h18",
    fill: "none",
    stroke: `var(--rm-${line.color})`,
    "stroke-width": "2",
    "stroke-dasharray": DASHES[line.dash].join(" ") || "none",
  });
  svg.setAttribute("viewBox", "0 3 18 12");
  svg.setAttribute("height", "12");
  return svg;
}
