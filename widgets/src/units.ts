// The units an energy can be shown in: joules, watt-hours, and what factors make of it that came with the schema.

import type { FactorSchema, Schema } from "./wire";

export interface Prefix {
  /** Joules in one of it. */
  readonly scale: number;
  readonly unit: string;
}

export interface Unit {
  readonly id: string;
  /** As the menu names it. */
  readonly name: string;
  /** The factor and where it comes from; empty for a unit of energy. */
  readonly about: string;
  readonly prefixes: readonly Prefix[];
  /** Less than so many of the first prefix is told as a bound. */
  readonly least: number;
}

/** The two that are always there go by their names. */
export type EnergyUnit = "J" | "Wh" | Unit;

const JOULES_PER_KWH = 3.6e6;

/** Prefixes a thousand apart; `first` is the value of the first. */
export function thousands(first: number, units: readonly string[]): Prefix[] {
  return units.map((unit, i) => ({ scale: first * 1000 ** i, unit }));
}

const JOULE: Unit = { id: "J", name: "joule, J", about: "", prefixes: thousands(1, ["J", "kJ", "MJ", "GJ"]), least: 0.1 };
const WATT_HOUR: Unit = {
  id: "Wh",
  name: "watt-hours, Wh",
  about: "",
  prefixes: thousands(JOULES_PER_KWH / 1e6, ["mWh", "Wh", "kWh", "MWh"]),
  least: 0.1,
};
/** Money has no milli: an amount keeps its decimals instead. */
const LEAST_MONEY = 0.0001;

export function unitOf(unit: EnergyUnit): Unit {
  return unit === "J" ? JOULE : unit === "Wh" ? WATT_HOUR : unit;
}

const made = new WeakMap<Schema, readonly Unit[]>();

/** What the menu offers with this schema; the same objects for the same schema. */
export function unitsOf(schema: Schema | null): readonly Unit[] {
  if (!schema) return [JOULE, WATT_HOUR];
  let units = made.get(schema);
  if (!units) {
    units = [JOULE, WATT_HOUR, ...(schema.factors ?? []).filter((f) => f.per_kwh > 0).map(factorUnit)];
    made.set(schema, units);
  }
  return units;
}

function factorUnit(factor: FactorSchema): Unit {
  const pue = factor.pue ?? 1;
  const one = JOULES_PER_KWH / (factor.per_kwh * pue);
  const carbon = factor.kind === "carbon";
  const from = [factor.source, factor.zone, factor.date].filter(Boolean).join(", ");
  const times = factor.pue === null ? "" : `, times PUE ${factor.pue}`;
  const prefixes = carbon ? thousands(one / 1e3, ["mg CO₂", "g CO₂", "kg CO₂", "t CO₂"]) : thousands(one, [factor.unit]);
  return {
    id: `${factor.kind}${factor.pue === null ? "" : " pue"}`,
    name: `${carbon ? "g CO₂" : `cost, ${factor.unit}`}${factor.pue === null ? "" : ` with PUE ${factor.pue}`}`,
    about: `${factor.per_kwh} ${carbon ? "g" : factor.unit}/kWh${times}${from && ` (${from})`}`,
    prefixes,
    least: carbon ? 0.1 : LEAST_MONEY,
  };
}
