"""What a finished measurement says, part by part: the words that its text and its HTML share.

Measured and estimated stay apart in every part, and the pattern of each stands beside its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from resmon import units
from resmon.facts import Basis
from resmon.results import EnergyComponent, GpuUse, Measurement
from resmon.sharing import mark
from resmon.views.escape import plain, shortened
from resmon.views.table import Cell, Column, Row

MARKS = {"measured": "■", "estimated": "▨", "not covered": "□"}
"""Pattern for how well something is known, as characters: it must survive where every style is stripped."""

METHOD_WORDS = {"counter": "counters", "integrated": "power readings", "model": "model"}

NOTE = Column(title="Note", wrap=True)
DEVICE_COLUMNS = (
    Column(title="Device"),
    Column(title="Energy", align="right"),
    Column(title="How"),
    Column(title="Mean W", align="right"),
    Column(title="Max W", align="right"),
    Column(title="Mean util", align="right"),
    Column(title="Peak memory, yours", align="right"),
    Column(title="Max °C", align="right"),
    NOTE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A figure, the word that says how well it is known (``measured``, …, or empty), and what it stands for."""

    figure: str
    known: str = ""
    about: str = ""

    @property
    def mark(self) -> str:
        """The character beside the word."""
        return MARKS.get(self.known, "")

    @property
    def caption(self) -> str:
        """``■ measured, GPU counters``: mark, word and remark in one."""
        return ", ".join(part for part in (f"{self.mark} {self.known}".strip(), self.about) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The first line: sign, what ran, how it ended, how long it took; then more, each with what joins it."""

    sign: str
    label: str
    ended: str
    duration: str
    rest: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.sign} {self.label}, {self.ended} {self.duration}" + "".join(f"{a}{b}" for a, b in self.rest)


def outcome(m: Measurement, title: str | None = None, number: int | None = None) -> Outcome:
    """How the span ended. ``title`` stands for the measurement's name, ``number`` is that of the cell."""
    name = shortened(m.name if title is None else title)
    label = " ".join(part for part in ("" if number is None else f"In [{number}]", name) if part) or "this span"
    rest: list[tuple[str, str]] = []
    if m.items_per_s is not None:
        rest.append((" at ", units.format_items_per_s(m.items_per_s, plain(m.items_unit))))
    if m.error is not None:
        rest.append((", ", "measured up to there"))
    return Outcome(
        sign="✓" if m.error is None else "✗",
        label=label,
        ended="done in" if m.error is None else f"failed: {shortened(m.error, 120)} after",
        duration=units.format_duration_words(m.duration_s),
        rest=tuple(rest),
    )


def headlines(m: Measurement) -> list[Headline]:
    """The energy figures, the one that is known first; then energy per item; then what nothing covers."""
    energy = m.energy
    measured = Headline(
        figure=units.format_measured(energy.measured_j, energy.measured_low_j, energy.measured_high_j),
        known="measured",
        about=_provenance(energy.components, "measured") or no_measured_reason(m),
    )
    found = [measured]
    if energy.estimated_j is not None:
        estimated = Headline(
            figure=units.format_estimated(energy.estimated_j, energy.estimated_low_j, energy.estimated_high_j),
            known="estimated",
            about=_provenance(energy.components, "estimated"),
        )
        found.insert(1 if energy.measured_j is not None else 0, estimated)
    per_item = _per_item(m)
    if per_item is not None:
        found.append(per_item)
    found += _amounts(m)
    if energy.not_covered:
        found.append(Headline(figure=", ".join(plain(n) for n in energy.not_covered), known="not covered"))
    return found


def no_measured_reason(m: Measurement) -> str:
    """Why nothing was measured, as far as the measurement knows."""
    notes = [m.host.note if m.host else "", *(gpu.note for gpu in m.gpus)]
    return next((plain(note) for note in notes if note), "nothing here has an energy sensor that can be read")


def device_table(m: Measurement) -> tuple[list[Column], list[Row]]:
    """A row for each device and, below them, for each component that belongs to none.

    Components of one device with one basis are added; so are the ends of their intervals, which is what errors
    with a common cause do. Columns in which nothing is known of any device are left out.
    """
    of_gpu: dict[str, list[EnergyComponent]] = {gpu.device.label: [] for gpu in m.gpus}
    of_host: list[EnergyComponent] = []
    of_none: list[EnergyComponent] = []
    for c in m.energy.components:
        of_gpu.get(c.device, of_host if c.kind == "cpu" else of_none).append(c)
    rows: list[Row] = []
    for gpu in m.gpus:
        rows += _rows_of(_gpu_name(gpu), of_gpu[gpu.device.label], _gpu_cells(gpu))
    rows += _rows_of(_host_name(m), of_host, _host_cells(m))
    rows += [_energy_row(plain(c.device), [c]) for c in of_none]
    kept = [i for i in range(len(DEVICE_COLUMNS)) if any(str(row[i]) not in ("", units.UNKNOWN) for row in rows)]
    return [DEVICE_COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in rows]


LONGEST_NOTE = 40
"""Characters of a note that may stand in the table: longer ones would push it beyond its box."""


def devices(m: Measurement, longest_note: int = LONGEST_NOTE) -> tuple[list[Column], list[Row], list[tuple[str, str]]]:
    """:func:`device_table`, without its notes where one of them is longer; then they follow, each with its device."""
    columns, rows = device_table(m)
    if columns[-1] is not NOTE or all(len(str(row[-1])) <= longest_note for row in rows):
        return columns, rows, []
    return (
        columns[:-1],
        [row[:-1] for row in rows],
        [(plain(row[0]), plain(row[-1])) for row in rows if row[-1]],
    )


def remarks(m: Measurement) -> list[str]:
    """Notes on the whole measurement, each a line."""
    return [plain(note) for note in m.notes if note]


def footer(m: Measurement) -> str:
    """Samples, missed ticks, resmon's own share, the level of the intervals and the time of day it ended."""
    rate = f" at {_rate(m.interval_s)}" if m.interval_s else ""
    parts = [f"{m.samples} {'sample' if m.samples == 1 else 'samples'}{rate}, {m.missed} missed"]
    if m.resmon_cpu_fraction is not None:
        parts.append(f"resmon used {units.format_share(m.resmon_cpu_fraction)} of a core")
    parts.append(f"95{units.THIN}% intervals")
    finished = (m.started_at + timedelta(seconds=m.duration_s)).astimezone()
    parts.append(f"finished {finished:%H:%M:%S}")
    return " · ".join(parts)


def _rate(interval_s: float) -> str:
    return f"{1.0 / interval_s:.3g}{units.THIN}Hz"


def _per_item(m: Measurement) -> Headline | None:
    if not m.items or m.items <= 0:
        return None
    energy, items = m.energy, m.items

    def each(*values: float | None) -> list[float | None]:
        return [None if value is None else value / items for value in values]

    unit = plain(m.items_unit)
    if energy.measured_j is not None:
        value, low, high = each(energy.measured_j, energy.measured_low_j, energy.measured_high_j)
        return Headline(figure=units.format_measured_per_item(value, low, high, unit), about="measured part only")
    if energy.estimated_j is not None:
        value, low, high = each(energy.estimated_j, energy.estimated_low_j, energy.estimated_high_j)
        return Headline(
            figure=units.format_estimated_per_item(value, low, high, unit), known="estimated", about="per item"
        )
    return None


def _amounts(m: Measurement) -> list[Headline]:
    """What the energy amounts to by the factors that were given: of the part that leads, as energy per item is."""
    energy, carbon, price = m.energy, m.factors.carbon, m.factors.price
    estimated = energy.measured_j is None
    interval: units.Interval = (energy.measured_j, energy.measured_low_j, energy.measured_high_j)
    if estimated:
        interval = (energy.estimated_j, energy.estimated_low_j, energy.estimated_high_j)
    if interval[0] is None:
        return []
    found: list[tuple[float, str, str]] = []
    if carbon is not None:
        where = ", ".join(plain(part) for part in (carbon.source, carbon.zone, str(carbon.date)) if part)
        found.append((carbon.g_per_kwh, "CO₂", f"{carbon.g_per_kwh:g} g/kWh ({where})"))
        if m.factors.pue is not None:
            found.append((carbon.g_per_kwh * m.factors.pue, "CO₂", f"the same with PUE {m.factors.pue:g}"))
    if price is not None:
        currency = plain(price.currency)
        found.append((price.per_kwh, currency, f"{price.per_kwh:g} {currency}/kWh ({plain(price.source)})"))
    return [
        Headline(
            figure=units.format_amount(interval, per_kwh / 3.6e6, unit, estimated=estimated),
            known="estimated" if estimated else "",
            about=about if estimated else f"measured part only, {about}",
        )
        for per_kwh, unit, about in found
    ]


def _provenance(components: Sequence[EnergyComponent], basis: Basis) -> str:
    """``GPU counters``, ``CPU model``: which kinds of device, by which method."""
    by_method: dict[str, list[str]] = {}
    for c in components:
        if c.basis == basis:
            kind = "module" if c.kind == "module" else c.kind.upper()
            kinds = by_method.setdefault(METHOD_WORDS[c.method], [])
            if kind not in kinds:
                kinds.append(kind)
    said = "; ".join(f"{' and '.join(kinds)} {word}" for word, kinds in by_method.items())
    return ", ".join(filter(None, [said, mark(c.scope for c in components if c.basis == basis)]))


def _rows_of(name: Cell, components: Sequence[EnergyComponent], cells: Sequence[str]) -> list[Row]:
    by_basis = [[c for c in components if c.basis == basis] for basis in ("measured", "estimated")]
    found = [group for group in by_basis if group]
    first = _energy_cells(found[0]) if found else (units.UNKNOWN, "")
    *figures, note = cells
    notes = [note, *((_notes(found[0]), _partly_seen(found[0])) if found else ())]
    rest = [_energy_row(str(name.strong), group) for group in found[1:]]
    return [(name, *first, *figures, "; ".join(filter(None, notes))), *rest]


def _notes(components: Sequence[EnergyComponent]) -> str:
    """What components say of themselves; of the part that was seen this view speaks in its own words."""
    said = [part for c in components for part in plain(c.note).split("; ") if part and not part.startswith("seen ")]
    shared = [plain(c.scope).partition(", ")[2] for c in components if "shared" in c.scope]
    return "; ".join(dict.fromkeys(shared + said))


def _partly_seen(components: Sequence[EnergyComponent]) -> str:
    seen = min(c.coverage for c in components)
    return f"seen {units.format_percent(seen)} of the time" if seen < 0.995 else ""


def _energy_row(name: str, components: Sequence[EnergyComponent]) -> Row:
    notes = "; ".join(filter(None, [_notes(components), _partly_seen(components)]))
    return (Cell(name), *_energy_cells(components), "", "", "", "", "", notes)


def _energy_cells(components: Sequence[EnergyComponent]) -> tuple[Cell, str]:
    value, low, high = (
        sum(values) for values in zip(*((c.energy_j, c.low_j, c.high_j) for c in components), strict=True)
    )
    basis = components[0].basis
    written = (units.format_measured if basis == "measured" else units.format_estimated)(value, low, high)
    figure, _, rest = written.partition(" ") if not written.startswith("<") else (written, "", "")
    return Cell(figure, rest), f"{MARKS[basis]} {basis}"


def _gpu_name(gpu: GpuUse) -> Cell:
    return Cell(shortened(gpu.device.label, 24), shortened(_short_model(gpu.device.name), 32))


def _short_model(name: str) -> str:
    return plain(name).removeprefix("NVIDIA ").removeprefix("GeForce ")


def _gpu_cells(gpu: GpuUse) -> tuple[str, ...]:
    own = gpu.memory_own_peak_bytes is not None
    memory = _of(gpu.memory_own_peak_bytes if own else gpu.memory_peak_bytes, gpu.device.memory_total_bytes)
    notes = []
    if gpu.throttled_fraction:
        reason = plain(gpu.throttle_reason) or "throttled"
        share = units.format_percent(gpu.throttled_fraction) if gpu.throttled_fraction >= 0.005 else "< 1\u202f%"
        notes.append(f"⚠ {reason} {share} of the time")
    if gpu.note:
        notes.append(shortened(gpu.note, 120))
    return (
        _watts(gpu.power_mean_w),
        _watts(gpu.power_max_w),
        units.format_percent(gpu.utilization_mean),
        memory if own or memory == units.UNKNOWN else f"all processes {memory}",
        _degrees(gpu.temperature_max_c),
        "; ".join(notes),
    )


def _host_name(m: Measurement) -> Cell:
    if m.host is None:
        return Cell("CPU")
    cores = m.host.cpu_limit_cores or m.host.device.cores
    return Cell(shortened(m.host.device.label, 24), "" if cores is None else f"{cores:g} cores")


def _host_cells(m: Measurement) -> tuple[str, ...]:
    host = m.host
    return (
        _watts(host.power_mean_w if host else None),
        _watts(host.power_max_w if host else None),
        _busy(m),
        _of(m.peak_memory_bytes, host.memory_limit_bytes if host else None),
        _degrees(host.temperature_max_c if host else None),
        shortened(host.note, 120) if host else "",
    )


def _busy(m: Measurement) -> str:
    """``88 %, yours 61``: everybody's under the limit, and the part of this process and its children."""
    own = m.own_cpu_utilization
    busy = units.format_percent(m.cpu_utilization)
    return busy if own is None or m.cpu_utilization is None else f"{busy}, yours {min(own, 1.0):.0%}".removesuffix("%")


def _of(value_bytes: float | None, total_bytes: float | None) -> str:
    """``41.2 of 140 GiB``."""
    if value_bytes is None:
        return units.UNKNOWN
    if total_bytes is None:
        return units.format_gib(value_bytes)
    return f"{units.gib_number(value_bytes)} of {units.format_gib(total_bytes)}"


def _watts(value_w: float | None) -> str:
    return units.format_power_w(value_w).removesuffix(f"{units.THIN}W")


def _degrees(value_c: float | None) -> str:
    return units.format_temperature_c(value_c).removesuffix(f"{units.THIN}°C")
