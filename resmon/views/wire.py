"""What travels between the kernel and the panel, as ``docs/wire.md`` has it. Pure: monitor in, bytes and dicts out."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

from resmon.blocks import Row
from resmon.cells import Cell
from resmon.facts import HOST, Device, EnergySource, SensorStatus
from resmon.history import HistoryView
from resmon.monitor import Monitor
from resmon.plan import CPU_S, MISSED
from resmon.results import Energy, Factors
from resmon.sensors.wording import short_status, why_nothing_is_measured
from resmon.sharing import mark, shared_scope, sharing

VERSION = 1
MAX_CORE_COLUMNS = 64
MAX_POINTS = 2_000
NAN = float("nan")

HOST_COLUMNS = (
    "cpu_utilization",
    "load_1min",
    "memory_used_bytes",
    "memory_tree_bytes",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
    "net_in_bytes_per_s",
    "net_out_bytes_per_s",
    "temperature_c",
    "power_w",
    "power_low_w",
    "power_high_w",
)
GPU_COLUMNS = (
    "utilization",
    "memory_used_bytes",
    "memory_own_bytes",
    "power_w",
    "power_limit_w",
    "temperature_c",
    "sm_clock_hz",
    "throttle",
)
HOST_TIMELINE = (
    "cpu_utilization",
    "power_w",
    "memory_tree_bytes",
    "memory_used_bytes",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
    "net_in_bytes_per_s",
    "net_out_bytes_per_s",
)
GPU_TIMELINE = ("utilization", "power_w", "memory_used_bytes")


class Layout:
    """The columns of one shape of a monitor: which channels make a row, and how the panel is told.

    A layout is valid while devices, sources, the states of sensors and whose memory is known are what they were;
    :meth:`stale` tells.
    """

    def __init__(self, monitor: Monitor, revision: int) -> None:
        self._monitor = monitor
        self.revision = revision
        self.devices = monitor.sampler.devices
        self.sources = monitor.sampler.sources
        self.statuses = monitor.sensors
        self.factors = monitor.factors
        self.gpus = tuple(d for d in self.devices if d.kind != "host")
        self.host = next((d for d in self.devices if d.kind == "host"), None)
        cores = monitor.core_count()
        self._per_column = max(1, -(-cores // MAX_CORE_COLUMNS))
        self._core_ids = [f"{HOST}.core_{i}" for i in range(cores)]
        self.core_columns = -(-cores // self._per_column)
        self._host_ids = [f"{HOST}.{name}" for name in HOST_COLUMNS]
        self._gpu_ids = [f"{gpu.id}.{name}" for gpu in self.gpus for name in GPU_COLUMNS]
        self._timeline_ids = [f"{HOST}.{name}" for name in HOST_TIMELINE]
        self._timeline_ids += [f"{gpu.id}.{name}" for gpu in self.gpus for name in GPU_TIMELINE]
        self._own_ids = [f"{gpu.id}.memory_own_bytes" for gpu in self.gpus]
        self._own_known = self._whose_is_known(self._newest())
        self._shared = self._how_shared(self._newest())
        self._outdated = False
        self.columns = self._column_names()
        self._pack = struct.Struct(f"<d{len(self.columns)}f{self.core_columns}B").pack

    def stale(self) -> bool:
        """True once a device, a source, a sensor's state or the owner of a GPU's memory came or went."""
        sampler = self._monitor.sampler
        return (
            self._outdated
            or sampler.devices != self.devices
            or sampler.sources != self.sources
            or self._monitor.sensors != self.statuses
            or self._monitor.factors != self.factors
        )

    def _column_names(self) -> list[str]:
        names = list(self._host_ids)
        names += ["resmon.cpu_fraction", "resmon.missed", "resmon.ticks", "cell.items_per_s"]
        for scope in ("cell", "session"):
            for basis in ("measured", "estimated"):
                names += [f"{scope}.{basis}_j", f"{scope}.{basis}_low_j", f"{scope}.{basis}_high_j"]
        names += [f"energy.{i}.cell_j" for i in range(len(self.sources))]
        names += [f"gpu.{i}.{name}" for i in range(len(self.gpus)) for name in GPU_COLUMNS]
        return names

    def schema(self, kind: str, *, subshells: bool) -> dict[str, Any]:
        """The JSON that tells the panel what the numbers are."""
        monitor = self._monitor
        marked = tuple(zip(self.sources, self._shared, strict=True))
        bases = {basis: [s for s in marked if s[0].basis == basis] for basis in ("measured", "estimated")}
        started_s = monitor.started_s or 0.0
        return {
            "v": VERSION,
            "revision": self.revision,
            "kind": kind,
            "interval_s": monitor.interval_s,
            "wall_offset_s": monitor.clock.wall(0.0).timestamp(),
            "session_started_s": started_s,
            "host": self._host_facts(),
            "gpus": [self._gpu_facts(gpu) for gpu in self.gpus],
            "energy": [_source_facts(source) for source in self.sources],
            "measured_caption": caption(bases["measured"]),
            "estimated_caption": caption(bases["estimated"]),
            "factors": factor_facts(self.factors),
            "not_covered": list(monitor.not_covered()),
            "no_measured_reason": "" if bases["measured"] else why_nothing_is_measured(self.statuses),
            "sensors": [
                {"name": s.name, "state": s.state, "short": short_status(s), "cause": s.cause, "remedy": s.remedy}
                for s in self.statuses
                if s.state != "absent"
            ],
            "notices": notices(self.statuses),
            "columns": self.columns,
            "timeline": [self._timeline_name(channel_id) for channel_id in self._timeline_ids],
            "subshells": subshells,
        }

    def _host_facts(self) -> dict[str, Any]:
        limits, host = self._monitor.limits, self.host
        cores = host.cores if host is not None else None
        basis = next((s.basis for s in self.sources if s.kind == "cpu"), "none")
        return {
            "label": "CPU",
            "name": host.name if host is not None else "",
            "cores": cores,
            "core_columns": self.core_columns,
            "cpu_limit_cores": limits.cpu_cores if limits else cores,
            "cpu_limit_source": limits.cpu_source if limits else "machine",
            "memory_limit_bytes": limits.memory_bytes if limits else (host.memory_total_bytes if host else None),
            "memory_limit_source": limits.memory_source if limits else "machine",
            "memory_total_bytes": host.memory_total_bytes if host is not None else None,
            "power_max_w": (host.power_max_w if host is not None else None)
            or next((s.power_limit_w for s in self.sources if s.kind == "cpu"), None),
            "power_basis": basis,
        }

    def _gpu_facts(self, gpu: Device) -> dict[str, Any]:
        return {
            "label": gpu.label,
            "name": gpu.name,
            "kind": gpu.kind,
            "memory_total_bytes": gpu.memory_total_bytes,
            "power_max_w": gpu.power_max_w,
            "power_basis": "measured" if gpu.power_max_w is not None or gpu.kind == "gpu" else "none",
            "own_memory_known": self._own_known[self.gpus.index(gpu)],
        }

    def _whose_is_known(self, row: Row | None) -> tuple[bool, ...]:
        """For each GPU, whether it is known how much of its memory is this process tree's."""
        own = [NAN if row is None else row.value(channel_id) for channel_id in self._own_ids]
        return tuple(value == value for value in own)

    def _how_shared(self, row: Row | None) -> tuple[str, ...]:
        """For each source the word for a device that others use too, or may use."""
        found = []
        for source in self.sources:
            channel_id = f"{source.device_id}.other_processes"
            others = None if row is None else row.block.column(channel_id, row.i, row.i + 1)
            found.append(mark([shared_scope(source.scope, "" if others is None else sharing(others[0]))]))
        return tuple(found)

    def _timeline_name(self, channel_id: str) -> str:
        for i, gpu in enumerate(self.gpus):
            if channel_id.startswith(gpu.id + "."):
                return f"gpu.{i}.{channel_id.removeprefix(gpu.id + '.')}"
        return channel_id

    def _newest(self) -> Row | None:
        sampler = self._monitor.sampler
        newest_s = sampler.history.newest_s
        return None if newest_s is None else sampler.history.around(CPU_S, newest_s)[0]

    def row(self, cell: Cell | None, items_per_s: float | None, cpu_fraction: float | None) -> bytes | None:
        """The newest sample as the buffer of a ``row`` message; None before the first."""
        row = self._newest()
        if row is None:
            return None
        changed = (self._whose_is_known(row), self._how_shared(row)) != (self._own_known, self._shared)
        self._outdated = self._outdated or changed
        cell_energy = cell.window.energy_so_far() if cell is not None else Energy()
        values = [self._value(row, channel_id) for channel_id in self._host_ids]
        values += [NAN if cpu_fraction is None else cpu_fraction, row.value(MISSED), float(self._monitor.sampler.ticks)]
        values.append(NAN if items_per_s is None else items_per_s)
        for energy in (cell_energy, self._monitor.session_energy()):
            values += _totals(energy)
        by_label = {c.device: c.energy_j for c in cell_energy.components}
        values += [by_label.get(source.label, NAN) for source in self.sources]
        values += [row.value(channel_id) for channel_id in self._gpu_ids]
        return self._pack(row.at_s, *values, *self._cores(row))

    def _value(self, row: Row, channel_id: str) -> float:
        """As stored, or else as read last: what is not stored is asked for of the newest row alone."""
        value = row.value(channel_id)
        return value if value == value else self._monitor.sampler.newest(channel_id)

    def _cores(self, row: Row) -> list[int]:
        values = [row.value(channel_id) for channel_id in self._core_ids]
        columns = []
        for i in range(0, len(values), self._per_column):
            known = [v for v in values[i : i + self._per_column] if v == v]
            columns.append(min(254, max(0, round(max(known) * 254))) if known else 255)
        return columns

    def history(self, view: HistoryView) -> tuple[int, bytes]:
        """How many points, and the buffer of a ``history`` message: at most ``MAX_POINTS``, the newest finest."""
        times = view.times
        keep = _thinned(len(times))
        columns = [view.raw(channel_id) for channel_id in self._timeline_ids]
        parts = [struct.pack("<II", len(keep), len(columns)), struct.pack(f"<{len(keep)}d", *(times[i] for i in keep))]
        parts += [array("f", [column[i] for i in keep]).tobytes() for column in columns]
        return len(keep), b"".join(parts)


def _states(statuses: Sequence[SensorStatus]) -> list[tuple[str, str, str]]:
    return [(s.name, s.state, s.cause) for s in statuses]


def _thinned(count: int) -> list[int]:
    """Which rows to send: every one of the newest half of the budget, evenly spaced ones before."""
    if count <= MAX_POINTS:
        return list(range(count))
    recent = MAX_POINTS // 2
    older = count - recent
    step = -(-older // (MAX_POINTS - recent))
    return [*range(0, older, step), *range(older, count)]


def _totals(energy: Energy) -> list[float]:
    found = (
        energy.measured_j,
        energy.measured_low_j,
        energy.measured_high_j,
        energy.estimated_j,
        energy.estimated_low_j,
        energy.estimated_high_j,
    )
    return [NAN if value is None else value for value in found]


def _source_facts(source: EnergySource) -> dict[str, str]:
    resource = {"gpu": "gpu", "module": "gpu", "cpu": "cpu", "dram": "memory"}[source.kind]
    return {
        "id": source.id,
        "label": source.label,
        "resource": resource,
        "basis": source.basis,
        "method": source.method,
        "scope": source.scope,
    }


def caption(sources: Sequence[tuple[EnergySource, str]]) -> str:
    """``shared: 2 GPU counters``, ``CPU model``: how these joules are known; each source with how it is shared."""
    words = {"counter": "counter", "integrated": "power sensor", "model": "model"}
    names = {"gpu": "GPU", "module": "module", "cpu": "CPU", "dram": "DRAM"}
    counts: dict[tuple[str, str], int] = {}
    for source, _ in sources:
        key = (names[source.kind], words[source.method])
        counts[key] = counts.get(key, 0) + 1
    said = [f"{name} {word}" if n == 1 else f"{n} {name} {word}s" for (name, word), n in counts.items()]
    shared = {word for _, word in sources}
    word = next((word for word in ("shared", "may be shared") if word in shared), "")
    return ": ".join(filter(None, [word, ", ".join(said)]))  # the word first: what is cut is the end


def factor_facts(factors: Factors) -> list[dict[str, Any]]:
    """What the panel can show energy as besides joules: carbon, carbon with PUE, cost."""
    found: list[dict[str, Any]] = []
    carbon, price = factors.carbon, factors.price
    if carbon is not None:
        for pue in (None,) if factors.pue is None else (None, factors.pue):
            per_kwh = {"kind": "carbon", "unit": "g", "per_kwh": carbon.g_per_kwh, "pue": pue}
            found.append({**per_kwh, "source": carbon.source, "zone": carbon.zone, "date": carbon.date})
    if price is not None:
        per_kwh = {"kind": "cost", "unit": price.currency, "per_kwh": price.per_kwh, "pue": None}
        found.append({**per_kwh, "source": price.source, "zone": "", "date": ""})
    return found


def notices(statuses: Sequence[SensorStatus]) -> list[str]:
    """What the footer says besides numbers."""
    found = []
    for status in statuses:
        if status.name == "nvml" and status.state == "looking":
            found.append("GPU: looking…")
        elif status.name == "nvml" and not status.ok:
            found.append("no GPU on this machine" if status.state == "absent" else short_status(status))
        elif status.name == "record":
            found.append("history in memory only")
    return found


def cell_facts(cell: Cell) -> dict[str, Any]:
    """A cell as JSON."""
    return {
        "id": cell.id,
        "number": cell.number,
        "title": cell.title,
        "t0": cell.window.opened_s,
        "t1": cell.window.closed_s,
        "state": cell.state,
        "error": cell.error,
        "items_unit": cell.window.items_unit,
    }
