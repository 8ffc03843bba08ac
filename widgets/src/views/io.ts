// Disk and network: four rates with the shape of the last minute.

import { Picture, strokeLine } from "../canvas";
import { h, setText, setTip } from "../dom";
import { THIN, UNKNOWN, format_rate, rateParts } from "../format";
import type { Frame, Section } from "../frame";

export const RATES: readonly (readonly [column: string, long: string, short: string])[] = [
  ["host.disk_read_bytes_per_s", "Disk read", "Read"],
  ["host.disk_write_bytes_per_s", "Disk write", "Write"],
  ["host.net_in_bytes_per_s", "Net in", "Net in"],
  ["host.net_out_bytes_per_s", "Net out", "Net out"],
];
const SPAN_S = 60;
/** A quiet line stays flat: less than this is no full scale. */
const LEAST_SCALE = 10e3;

class Rate {
  readonly el: HTMLElement;
  readonly #column: string;
  readonly #long = h("span", "rm-rate-name");
  readonly #value = h("b", "rm-num");
  readonly #unit = h("span", "rm-unit");
  readonly #picture = new Picture("rm-sparkline", 18);
  readonly #names: readonly [string, string];
  #prefix: number | undefined;

  constructor([column, long, short]: (typeof RATES)[number]) {
    this.#column = column;
    this.#names = [long, short];
    this.el = h("div", "rm-rate", this.#long, h("span", "rm-value", this.#value, this.#unit), this.#picture.el);
  }

  resize({ size }: Frame): void {
    setText(this.#long, size === "narrow" ? this.#names[1] : this.#names[0]);
    this.#picture.measure();
  }

  text({ store }: Frame): void {
    const { value, unit, prefix } = rateParts(store.value(this.#column), this.#prefix);
    if (value !== UNKNOWN) this.#prefix = prefix;
    setText(this.#value, value);
    setText(this.#unit, THIN + unit);
    const unknown = value === UNKNOWN && store.row !== null;
    setTip(this.el, unknown ? "the system does not report it here" : null);
    if (unknown) this.el.tabIndex = 0;
    else this.el.removeAttribute("tabindex");
  }

  draw({ store, theme, size }: Frame): void {
    if (size === "narrow") return;
    const c = this.#picture.begin();
    const values = store.series.mean(this.#column);
    if (!c || !values) return;
    const { width, height } = this.#picture;
    const { series } = store;
    const end = series.newest;
    const first = Math.max(0, series.firstAt(end - SPAN_S) - 1);
    let most = LEAST_SCALE;
    for (let i = first; i < series.length; i += 1) if ((values[i] as number) > most) most = values[i] as number;
    c.strokeStyle = theme.palette.hairline;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, height - 0.5);
    c.lineTo(width, height - 0.5);
    c.stroke();
    c.strokeStyle = theme.palette.io;
    c.lineWidth = 1.5;
    c.lineJoin = "round";
    strokeLine(
      c,
      series.length - first,
      (i) => width - ((end - (series.t[first + i] as number)) / SPAN_S) * width,
      (i) => height - 2 - ((values[first + i] as number) / most) * (height - 4),
    );
  }
}

export class Io implements Section {
  readonly el = h("div", "rm-row rm-io");
  readonly #name = h("b", "rm-label");
  #rates: Rate[] = [];

  build({ schema }: Frame): void {
    this.#rates = RATES.map((rate) => new Rate(rate));
    setText(this.#name, schema.gpus.length ? "Disk, network" : "I/O");
    this.el.replaceChildren(h("div", "rm-name", this.#name), ...this.#rates.map((rate) => rate.el));
    this.el.setAttribute("role", "group");
    this.el.setAttribute("aria-label", "disk and network");
  }

  resize(frame: Frame): void {
    for (const rate of this.#rates) {
      rate.resize(frame);
      rate.draw(frame);
    }
  }

  text(frame: Frame): void {
    for (const rate of this.#rates) {
      rate.text(frame);
      rate.draw(frame);
    }
  }

  /** A minute in so little width moves two or three pixels a second: drawing it with the text is enough. */
  graphics(): void {}
}

/** "disk 1.9 GB/s" and "net 3.1 MB/s", both directions together, for the footer of the compact form. */
export function summedRates({ store }: Frame): readonly { readonly name: string; readonly value: string }[] {
  const sum = (a: string, b: string): number => store.value(a) + store.value(b);
  return [
    { name: "disk", value: format_rate(sum("host.disk_read_bytes_per_s", "host.disk_write_bytes_per_s")) },
    { name: "net", value: format_rate(sum("host.net_in_bytes_per_s", "host.net_out_bytes_per_s")) },
  ];
}
