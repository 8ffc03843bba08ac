// Numbers as the panel shows them. resmon/units.py is its twin in Python; both are tested against
// tests/data/number_format.json, so a rule changes in three places or in none.
//
// Rounding is floor(x / place + 0.5) with the place as a power of ten with an integer exponent: the same
// IEEE operations in both languages, so that both print the same digits.

import type { EnergyUnit, Prefix, Unit } from "./units";
import { thousands, unitOf } from "./units";

/** Narrow no-break space: before units and per cent, and between groups of three digits. */
export const THIN = "\u202f";
export const UNKNOWN = "–";
const MINUS = "\u2212";

export type Known = number | null | undefined;

const RATES: readonly Prefix[] = thousands(1e3, ["kB/s", "MB/s", "GB/s", "TB/s"]);
const NOISE = 1e-9;

/** An energy in the parts that the views set in different sizes. */
export interface EnergyText {
  readonly value: string;
  /** "± 12" or "[12, 61]", empty where there is no interval to show. */
  readonly interval: string;
  readonly unit: string;
  /** Place in the list of prefixes, to be handed back for hysteresis. */
  readonly prefix: number;
}

export function known(x: Known): x is number {
  return typeof x === "number" && Number.isFinite(x);
}

/** Exponent of the leading decimal digit of a positive number. */
function exponentOf(x: number): number {
  let e = Math.floor(Math.log10(x));
  while (x >= pow10(e + 1)) e += 1;
  while (x < pow10(e)) e -= 1;
  return e;
}

function pow10(e: number): number {
  return e >= 0 ? 10 ** e : 1 / 10 ** -e;
}

type Direction = "nearest" | "up" | "down";

function roundToPlace(x: number, exponent: number, direction: Direction = "nearest"): number {
  const inPlaces = exponent >= 0 ? x / 10 ** exponent : x * 10 ** -exponent;
  const slack = Math.abs(inPlaces) * NOISE;
  const whole =
    direction === "up"
      ? Math.ceil(inPlaces - slack)
      : direction === "down"
        ? Math.floor(inPlaces + slack)
        : Math.floor(inPlaces + 0.5);
  return exponent >= 0 ? whole * 10 ** exponent : whole / 10 ** -exponent;
}

function fixed(x: number, exponent: number): string {
  return x.toFixed(Math.max(0, -exponent));
}

/** An uncertainty rounded up to one digit, or two where it starts with 1 or 2; its place is returned beside it. */
function roundUncertainty(u: number): { value: number; exponent: number } {
  let exponent = exponentOf(u);
  const lead = Math.floor(u / pow10(exponent) + NOISE);
  if (lead <= 2) exponent -= 1;
  const value = roundToPlace(u, exponent, "up");
  // 2.95 goes up to 3.0, which no longer starts with 2
  return lead <= 2 && value >= 3 * pow10(exponent + 1) * (1 - NOISE)
    ? { value, exponent: exponent + 1 }
    : { value, exponent };
}

function choosePrefix(value: number, prefixes: readonly Prefix[], previous?: number): number {
  const last = previous === undefined ? undefined : prefixes[previous];
  if (previous !== undefined && last && value >= 0.9 * last.scale && value < 1100 * last.scale) return previous;
  let best = 0;
  prefixes.forEach((p, i) => {
    if (value >= p.scale) best = i;
  });
  return best;
}

function negligible(high: number, { prefixes, least }: Unit): EnergyText {
  const first = prefixes[0] as Prefix;
  if (high <= least * first.scale) return { value: `< ${least}`, interval: "", unit: first.unit, prefix: 0 };
  let i = choosePrefix(high, prefixes);
  let bound = roundUncertainty(high / (prefixes[i] as Prefix).scale);
  if (bound.value >= 1000 && i + 1 < prefixes.length) {
    i += 1;
    bound = roundUncertainty(high / (prefixes[i] as Prefix).scale);
  }
  return { value: `< ${fixed(bound.value, bound.exponent)}`, interval: "", unit: (prefixes[i] as Prefix).unit, prefix: i };
}

function unknownEnergy(prefixes: readonly Prefix[], previous = 0): EnergyText {
  return { value: UNKNOWN, interval: "", unit: (prefixes[previous] as Prefix).unit, prefix: previous };
}

/** `156 ± 12 kJ`: the uncertainty is the wider side of the interval; without one, three digits and no interval. */
export function measuredParts(value: Known, low: Known, high: Known, unit: EnergyUnit = "J", previous?: number): EnergyText {
  const scale = unitOf(unit);
  const { prefixes } = scale;
  if (!known(value)) return unknownEnergy(prefixes, previous);
  const bounded = known(low) && known(high);
  if (value < scale.least * (prefixes[0] as Prefix).scale) return negligible(bounded ? high : 0, scale);
  const uncertainty = bounded ? Math.max(high - value, value - low) : 0;
  // as large as the value: ± would speak of less than nothing, so the ends are written
  if (uncertainty >= value) return estimatedParts(value, low, high, unit, previous);
  const write = (i: number): EnergyText & { rounded: number } => {
    const p = prefixes[i] as Prefix;
    const v = value / p.scale;
    const u = uncertainty > 0 ? roundUncertainty(uncertainty / p.scale) : null;
    let exponent = u ? u.exponent : exponentOf(v) - 2;
    // an uncertainty far above the value must not round the value away
    if (roundToPlace(v, exponent) === 0) exponent = exponentOf(v);
    const rounded = roundToPlace(v, exponent);
    return {
      value: fixed(rounded, exponent),
      interval: u ? `± ${fixed(u.value, u.exponent)}` : "",
      unit: p.unit,
      prefix: i,
      rounded,
    };
  };
  return settlePrefix(write, choosePrefix(value, prefixes, previous), prefixes.length, previous);
}

/** `27 [12, 61] kJ`: at most two digits each, bounds rounded outwards; without bounds an estimate is not shown. */
export function estimatedParts(value: Known, low: Known, high: Known, unit: EnergyUnit = "J", previous?: number): EnergyText {
  const scale = unitOf(unit);
  const { prefixes } = scale;
  if (!known(value) || !known(low) || !known(high)) return unknownEnergy(prefixes, previous);
  if (value < scale.least * (prefixes[0] as Prefix).scale) return negligible(high, scale);
  const write = (i: number): EnergyText & { rounded: number } => {
    const p = prefixes[i] as Prefix;
    const v = value / p.scale;
    // 9.96 is 10 with two digits, not 10.0
    const place = exponentOf(roundToPlace(v, exponentOf(v) - 1)) - 1;
    const rounded = roundToPlace(v, place);
    const bound = (x: number, direction: Direction): string => {
      if (x <= 0) return "0";
      const exponent = Math.max(place, exponentOf(x) - 1);
      const b = roundToPlace(x, exponent, direction);
      return b === 0 ? "0" : fixed(b, exponent);
    };
    return {
      value: fixed(rounded, place),
      interval: `[${bound(low / p.scale, "down")}, ${bound(high / p.scale, "up")}]`,
      unit: p.unit,
      prefix: i,
      rounded,
    };
  };
  return settlePrefix(write, choosePrefix(value, prefixes, previous), prefixes.length, previous);
}

/** Rounding can lift 999.96 to 1000: then the next prefix, unless hysteresis keeps the last one. */
function settlePrefix(
  write: (i: number) => EnergyText & { rounded: number },
  i: number,
  count: number,
  previous?: number,
): EnergyText {
  const text = write(i);
  return text.rounded >= 1000 && i + 1 < count && i !== previous ? write(i + 1) : text;
}

function joined(text: EnergyText): string {
  if (text.value === UNKNOWN) return UNKNOWN;
  return `${text.value}${text.interval ? ` ${text.interval}` : ""}${THIN}${text.unit}`;
}

export function format_measured(value: Known, low: Known, high: Known, unit: EnergyUnit = "J"): string {
  return joined(measuredParts(value, low, high, unit));
}

export function format_estimated(value: Known, low: Known, high: Known, unit: EnergyUnit = "J"): string {
  return joined(estimatedParts(value, low, high, unit));
}

/** A number with its unit apart, for the views that set them in two sizes. */
export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

function text(q: Quantity): string {
  return q.value === UNKNOWN ? UNKNOWN : `${q.value}${THIN}${q.unit}`;
}

function signed(x: number, written: string): string {
  return x < 0 ? MINUS + written.replace("-", "") : written;
}

function whole(x: number): string {
  const rounded = roundToPlace(x, 0);
  return rounded === 0 ? "0" : signed(rounded, group(Math.abs(rounded).toFixed(0)));
}

function group(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** Three significant digits, no place finer than `finest`, none coarser than one. */
function threeDigits(x: number, finest: number): string {
  const place = (y: number): number => Math.min(0, Math.max(exponentOf(y) - 2, finest));
  const first = roundToPlace(x, place(x));
  // 9.996 is 10.0 with three digits, not 10.00
  const exponent = first > 0 ? place(first) : place(x);
  const [integer = "", fraction] = fixed(roundToPlace(x, exponent), exponent).split(".");
  return fraction === undefined ? group(integer) : `${group(integer)}.${fraction}`;
}

/** Whole watts, as a device's own meter shows them. */
export function wholeWatts(watts: Known): string {
  if (!known(watts)) return UNKNOWN;
  return watts > 0 && watts < 0.5 ? "< 1" : whole(watts);
}

/** Whole watts, from 1000 W kilowatts with three digits. */
export function powerParts(watts: Known): Quantity {
  if (!known(watts)) return { value: UNKNOWN, unit: "W" };
  if (roundToPlace(watts, 0) < 1000) return { value: wholeWatts(watts), unit: "W" };
  return { value: threeDigits(watts / 1e3, -2), unit: "kW" };
}

export function format_power_w(watts: Known): string {
  return text(powerParts(watts));
}

export function percentDigits(ratio: Known): string {
  return known(ratio) ? whole(ratio * 100) : UNKNOWN;
}

export function format_percent(ratio: Known): string {
  return text({ value: percentDigits(ratio), unit: "%" });
}

/** A small share, such as resmon's own: two decimals below 0.1 %, one below 10 %. */
export function format_share(ratio: Known): string {
  if (!known(ratio)) return UNKNOWN;
  const percent = ratio * 100;
  if (percent <= 0) return `0${THIN}%`;
  if (percent < 0.01) return `< 0.01${THIN}%`;
  const exponent = percent < 0.095 ? -2 : percent < 9.95 ? -1 : 0;
  return `${fixed(roundToPlace(percent, exponent), exponent)}${THIN}%`;
}

export function celsiusDigits(celsius: Known): string {
  return known(celsius) ? whole(celsius) : UNKNOWN;
}

export function format_temperature_c(celsius: Known): string {
  return text({ value: celsiusDigits(celsius), unit: "°C" });
}

/** Three digits, at most two decimals. */
export function gibDigits(bytes: Known): string {
  if (!known(bytes)) return UNKNOWN;
  const gib = bytes / 1024 ** 3;
  if (gib <= 0) return "0";
  return gib < 0.005 ? "< 0.01" : threeDigits(gib, -2);
}

export function format_gib(bytes: Known): string {
  return text({ value: gibDigits(bytes), unit: "GiB" });
}

/** Decimal prefixes from kB/s: one decimal below 10, whole numbers above. */
export function rateParts(bytesPerSecond: Known, previous?: number): Quantity & { prefix: number } {
  if (!known(bytesPerSecond)) return { value: UNKNOWN, unit: (RATES[previous ?? 1] as Prefix).unit, prefix: previous ?? 1 };
  if (bytesPerSecond <= 0) return { value: "0", unit: (RATES[previous ?? 0] as Prefix).unit, prefix: previous ?? 0 };
  let i = choosePrefix(bytesPerSecond, RATES, previous);
  let x = bytesPerSecond / (RATES[i] as Prefix).scale;
  if (roundToPlace(x, 0) >= 1000 && i + 1 < RATES.length && i !== previous) {
    i += 1;
    x = bytesPerSecond / (RATES[i] as Prefix).scale;
  }
  const { unit } = RATES[i] as Prefix;
  if (x < 0.05) return { value: "< 0.1", unit, prefix: i };
  return { value: x < 9.95 ? fixed(roundToPlace(x, -1), -1) : whole(x), unit, prefix: i };
}

export function format_rate(bytesPerSecond: Known): string {
  return text(rateParts(bytesPerSecond));
}

/** Three to four digits, thin space from 1 000, k from 10 000, M from a million. */
export function itemsDigits(perSecond: Known): string {
  if (!known(perSecond)) return UNKNOWN;
  if (perSecond <= 0) return "0";
  if (perSecond < 0.001) return "< 0.001";
  if (roundToPlace(perSecond, 0) < 10_000) {
    return perSecond < 999.5 ? threeDigits(perSecond, -3) : whole(perSecond);
  }
  if (roundToPlace(perSecond / 1e3, 0) < 1000) return `${threeDigits(perSecond / 1e3, -1)}${THIN}k`;
  return `${threeDigits(perSecond / 1e6, -2)}${THIN}M`;
}

export function format_items_per_s(perSecond: Known, unit = "items"): string {
  return known(perSecond) ? `${itemsDigits(perSecond)} ${unit}/s` : UNKNOWN;
}

/** `0:07`, `2:47`, `1:52:03`: whole seconds that have passed. */
export function format_duration(seconds: Known): string {
  if (!known(seconds) || seconds < 0) return UNKNOWN;
  const total = Math.floor(seconds);
  const two = (n: number): string => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function format_count(n: Known): string {
  return known(n) ? whole(n) : UNKNOWN;
}
