// Devices: each a row that answers how busy, how full, how much power, how hot.

import { Picture } from "../canvas";
import { h, setHidden, setText, setTip, swatch, warningSign } from "../dom";
import { UNKNOWN, THIN, format_duration } from "../format";
import type { Frame, Section } from "../frame";
import { Meter } from "../meter";
import {
  gpuMemory,
  gpuPower,
  gpuUtilization,
  hostMemory,
  hostPower,
  hostUtilization,
  shortName,
  temperature,
  trim,
} from "../readings";
import type { GpuSchema, Schema } from "../wire";

interface DeviceRow {
  readonly el: HTMLElement;
  resize(frame: Frame): void;
  text(frame: Frame): void;
  graphics(frame: Frame): void;
}

/** A driver's own reserve is nobody's use. */
const NOT_YOURS_BYTES = 1024 ** 3;

/** Widths of the three meter columns in px. */
export function meterRooms(frame: Frame): { readonly utilization: number; readonly memory: number; readonly power: number } {
  const gap = frame.size === "wide" ? 22 : 16;
  const share = (frame.width - 2 - 32 - 184 - 4 * gap) / 3.3;
  return { utilization: share, memory: share * 1.3, power: share };
}

export class Badge {
  readonly el = h("span", "rm-badge");
  readonly #word = h("span");

  constructor() {
    this.el.append(warningSign(), this.#word);
    this.el.tabIndex = 0;
    this.el.hidden = true;
  }

  show(word: string, tip: string): void {
    setHidden(this.el, !word);
    setText(this.#word, word);
    setTip(this.el, tip);
  }
}

export class Temperature {
  readonly el = h("span", "rm-temperature rm-value");
  readonly #value = h("b", "rm-num");

  constructor(withUnit = true) {
    this.el.append(this.#value);
    if (withUnit) this.el.append(h("span", "rm-unit", `${THIN}°C`));
  }

  text(celsius: number): void {
    const { digits, spoken } = temperature(celsius);
    setText(this.#value, digits);
    const unknown = digits === UNKNOWN;
    setTip(this.el, unknown ? "no temperature sensor is readable here" : null);
    if (unknown) this.el.tabIndex = 0;
    else this.el.removeAttribute("tabindex");
    this.el.setAttribute("aria-label", unknown ? "temperature unknown" : `temperature ${spoken}`);
    this.el.setAttribute("role", "img");
  }
}

/** "power lost 0:14": what this device used to report and no longer does. */
export function lostText(frame: Frame, label: string): string {
  const { store } = frame;
  const t = store.row?.t ?? NaN;
  return store.watch
    .lostOf(label)
    .map((lost) => `${lost.what} lost ${format_duration(t - lost.since)}`)
    .join(", ");
}

/** Others hold its memory and this process holds none. */
export function notYours({ store, schema }: Frame, gpu: number): boolean {
  const own = store.value(`gpu.${gpu}.memory_own_bytes`);
  const used = store.value(`gpu.${gpu}.memory_used_bytes`);
  return schema.gpus[gpu]?.own_memory_known === true && own === 0 && used > NOT_YOURS_BYTES;
}

function nameCell(label: string, lines: readonly string[], tip: string): HTMLElement {
  const el = h("div", `rm-name rm-lines-${lines.length}`, h("b", "rm-label", label), ...lines.map((line) => h("span", "rm-sub", line)));
  setTip(el, tip);
  return el;
}

class GpuRow implements DeviceRow {
  readonly el: HTMLElement;
  readonly #gpu: GpuSchema;
  readonly #i: number;
  readonly #state = h("span", "rm-device-state");
  readonly #temperature = new Temperature();
  readonly #badge = new Badge();
  readonly #utilization: Meter;
  readonly #memory: Meter;
  readonly #power: Meter;

  constructor(gpu: GpuSchema, i: number) {
    this.#gpu = gpu;
    this.#i = i;
    const name = nameCell(gpu.label, [shortName(gpu.name)], gpu.name ?? "");
    this.#utilization = new Meter(`${gpu.label} utilisation`, "Util", "gpu");
    this.#memory = new Meter(`${gpu.label} memory`, "Mem", "memory");
    this.#power = new Meter(`${gpu.label} power`, "Power", "gpu");
    const meters = [this.#utilization.el, this.#memory.el, this.#power.el];
    this.el = h("div", "rm-row rm-device", name, ...meters, h("div", "rm-heat", this.#temperature.el, this.#badge.el, this.#state));
    this.el.setAttribute("role", "group");
    this.el.setAttribute("aria-label", [gpu.label, gpu.name].filter(Boolean).join(", "));
  }

  resize(): void {}

  text(frame: Frame): void {
    const { store } = frame;
    const rooms = meterRooms(frame);
    this.#read(frame);
    this.#utilization.text(rooms.utilization);
    this.#memory.text(rooms.memory);
    this.#power.text(rooms.power);
    this.#temperature.text(store.value(`gpu.${this.#i}.temperature_c`));
    const { word, reasons } = store.watch.throttle(this.#i);
    this.#badge.show(word, reasons);
    setText(this.#state, lostText(frame, this.#gpu.label) || (notYours(frame, this.#i) ? "not yours" : ""));
  }

  graphics(frame: Frame): void {
    this.#read(frame);
    for (const meter of [this.#utilization, this.#memory, this.#power]) meter.graphics();
  }

  #read({ store }: Frame): void {
    this.#utilization.read(gpuUtilization(store, this.#i, this.#gpu));
    this.#memory.read(gpuMemory(store, this.#i, this.#gpu));
    this.#power.read(gpuPower(store, this.#i, this.#gpu));
  }
}

class HostRow implements DeviceRow {
  readonly el: HTMLElement;
  readonly #schema: Schema;
  readonly #state = h("span", "rm-device-state");
  readonly #temperature = new Temperature();
  readonly #utilization: Meter;
  readonly #memory: Meter;
  readonly #power: Meter;
  readonly #cores: Picture;

  constructor(schema: Schema) {
    this.#schema = schema;
    const { host } = schema;
    const name = nameCell(host.label, hostLines(schema), host.name ?? "");
    this.#utilization = new Meter(`${host.label} utilisation`, "Util", "cpu");
    this.#memory = new Meter("host memory", "Mem", "memory");
    this.#power = new Meter(`${host.label} power`, "Power", "cpu");
    this.#cores = new Picture("rm-cores", schema.gpus.length ? 16 : 26);
    setTip(this.#cores.el, coresTip(schema));
    const util = h("div", "rm-with-cores", this.#utilization.el, this.#cores.el);
    const heat = h("div", "rm-heat", this.#temperature.el, this.#state);
    this.el = h("div", "rm-row rm-device rm-host", name, util, this.#memory.el, this.#power.el, heat);
    this.el.setAttribute("role", "group");
    this.el.setAttribute("aria-label", [host.label, host.name].filter(Boolean).join(", "));
    setHidden(this.#cores.el, host.core_columns < 2);
  }

  resize(frame: Frame): void {
    this.#cores.measure();
    this.#drawCores(frame);
  }

  text(frame: Frame): void {
    const rooms = meterRooms(frame);
    this.#read(frame);
    this.#utilization.text(rooms.utilization);
    this.#memory.text(rooms.memory);
    this.#power.text(rooms.power);
    this.#temperature.text(frame.store.value("host.temperature_c"));
    setText(this.#state, lostText(frame, this.#schema.host.label));
  }

  graphics(frame: Frame): void {
    this.#read(frame);
    for (const meter of [this.#utilization, this.#memory, this.#power]) meter.graphics();
    this.#drawCores(frame);
  }

  #read({ store, schema }: Frame): void {
    this.#utilization.read(hostUtilization(store, schema));
    this.#memory.read(hostMemory(store, schema));
    this.#power.read(hostPower(store, schema));
  }

  #drawCores({ store, theme }: Frame): void {
    const cores = store.row?.cores;
    const c = this.#cores.begin();
    if (!c || !cores?.length) return;
    const { width, height } = this.#cores;
    const wide = width / cores.length;
    const gap = wide > 4 ? 1.5 : wide > 2 ? 1 : 0;
    const step = (width + gap) / cores.length;
    const { cpu, track } = theme.palette;
    const columns = (color: string, tall: (core: number) => number): void => {
      c.fillStyle = color;
      c.beginPath();
      cores.forEach((core, i) => c.rect(i * step, height - tall(core), step - gap, tall(core)));
      c.fill();
    };
    columns(track, () => height);
    columns(cpu, (core) => (core === 255 ? 0 : (core / 254) * height));
  }
}

function hostLines(schema: Schema): string[] {
  const { cores, cpu_limit_cores: limit, cpu_limit_source: source } = schema.host;
  const limited = source !== null && source !== "machine";
  if (cores === null) return limited ? [`${source} limit`] : [];
  const count = limited && limit !== null && limit < cores ? `${trim(limit)} of ${cores} cores` : `${cores} cores`;
  return limited ? [count, `${source} limit`] : [count];
}

function coresTip(schema: Schema): string {
  const { cores, core_columns: columns } = schema.host;
  if (cores === null || cores <= columns) return "each core, 0 to 100 %";
  return `each column is the busiest of ${Math.ceil(cores / columns)} cores`;
}

/** Headings of the matrix, with the legend of the patterns that really occur. */
export function matrixHeadings(schema: Schema): HTMLElement {
  const bases = new Set([schema.host.power_basis, ...schema.gpus.map((gpu) => gpu.power_basis)]);
  const both = bases.has("measured") && bases.has("estimated");
  const power = h("span", both ? "rm-heading rm-both" : "rm-heading", h("span", "", "Power"));
  const short = (word: string, cut: string): Node[] => [h("span", "rm-long", word), h("span", "rm-short", cut)];
  if (bases.has("measured")) power.append(swatch("measured"), ...(both ? short("measured", "meas.") : [h("span", "", "measured")]));
  if (bases.has("estimated")) power.append(swatch("estimated"), h("span", "", both ? "est." : "estimated"));
  const memory = h("span", "rm-heading", "Memory", swatch("yours", "memory"), "yours", swatch("others", "memory"), "others");
  return h("div", "rm-row rm-headings", h("span"), h("span", "", "Utilisation"), memory, power, h("span", "", "Temp."));
}

export class Devices implements Section {
  readonly el = h("div", "rm-devices");
  #rows: DeviceRow[] = [];

  build({ schema }: Frame): void {
    this.#rows = [...schema.gpus.map((gpu, i) => new GpuRow(gpu, i)), new HostRow(schema)];
    this.el.replaceChildren(matrixHeadings(schema), ...this.#rows.map((row) => row.el));
  }

  resize(frame: Frame): void {
    for (const row of this.#rows) row.resize(frame);
  }

  text(frame: Frame): void {
    for (const row of this.#rows) row.text(frame);
  }

  graphics(frame: Frame): void {
    for (const row of this.#rows) row.graphics(frame);
  }
}
