"""A recorded run, played again on a virtual clock: the same numbers every time, without the hardware."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resmon.clock import Ticking
from resmon.energy.edges import CounterRead
from resmon.errors import RecordError, ResmonWarning
from resmon.facts import Channel, Device, EnergySource, Limits, SensorState, SensorStatus
from resmon.monitor import Monitor
from resmon.origins import Origin
from resmon.plan import CPU_S, MISSED
from resmon.private_files import record_directory
from resmon.record import MAGIC
from resmon.record_reading import RecordedRun, read_record
from resmon.recorded_cells import RecordedCell, RecordedCells
from resmon.results import Measurement
from resmon.sensors import NAN
from resmon.spans import Work, measure_span
from resmon.trace_reading import read_trace

SYNTHETIC = "synthetic trace: no device was measured"
SHIPPED = Path(__file__).parent / "traces"


class _Recorded:
    """The sensor whose readings are the rows of a record."""

    name = "replay"
    generation = 0

    def __init__(self, run: RecordedRun, origin: str) -> None:
        facts = run.facts
        synthetic = f" ({SYNTHETIC})" if facts.get("synthetic") else ""
        self._detail = f"recorded: {origin}{synthetic}"
        self._cut = str(facts.get("cut", ""))
        self.devices = tuple(Device(**d) for d in facts.get("devices", ()))
        self.sources = tuple(EnergySource(**s) for s in facts.get("sources", ()))
        self.not_covered: Sequence[str] = tuple(facts.get("not_covered", ()))
        limits = facts.get("limits")
        self.limits = None if limits is None else Limits(**limits)
        derived = {"energy", "resmon"}
        kept = [
            (i, c)
            for i, c in enumerate(run.channels, 1)
            if c.device_id not in derived and c.id not in facts.get("derived", ())
        ]
        self.channels: tuple[Channel, ...] = tuple(c for _, c in kept)
        self._columns = [i for i, _ in kept]
        self.row: Sequence[float] = ()

    @property
    def status(self) -> Sequence[SensorStatus]:
        state: SensorState = "degraded" if self._cut else "available"
        return (SensorStatus(name=self.name, state=state, detail=self._detail, cause=self._cut),)

    def discover(self) -> None:
        """Nothing to look for: the record says what there was."""

    def read(self, at_s: float) -> list[float]:
        return [self.row[i] for i in self._columns] if self.row else [NAN] * len(self.channels)

    def close(self) -> None:
        """Nothing is open."""


class _ReplayClock:
    """Moves from recorded row to recorded row."""

    threaded = False

    def __init__(
        self,
        run: RecordedRun,
        sensor: _Recorded,
        happened: Callable[[Mapping[str, Any]], None],
        read: Callable[[Sequence[float]], None],
    ) -> None:
        self._run = run
        self._happened = happened
        self._read = read
        self._sensor = sensor
        self._next = 0
        self._events = deque(run.events)
        self._ticking: Ticking | None = None
        self._now_s = run.rows[0][0]
        self.boot = str(run.facts.get("boot", "recorded"))
        self._wall_at_0 = datetime.fromisoformat(run.facts["wall_at_0"]).timestamp()

    def now(self) -> float:
        return self._now_s

    def wall(self, at_s: float) -> datetime:
        return datetime.fromtimestamp(self._wall_at_0 + at_s, UTC)

    def attach(self, ticking: Ticking) -> None:
        self._ticking = ticking
        self.advance_to(self._now_s)

    def detach(self, ticking: Ticking) -> None:
        self._ticking = None

    def read_edge(self, ticking: Ticking) -> None:
        """A record holds no reading between its rows."""

    def look_ahead(self, ticking: Ticking) -> bool:
        """Play the next row, and what happened before it."""
        rows, now_s = self._run.rows, self._now_s
        if self._ticking is None or self._next == len(rows):
            return False
        self.advance_to(rows[self._next][0])
        self._now_s = now_s
        return True

    def advance_to(self, until_s: float) -> None:
        rows = self._run.rows
        while self._ticking is not None and self._next < len(rows) and rows[self._next][0] <= until_s:
            row = rows[self._next]
            self._next += 1
            # A sample and an event of one time: the sample was there first.
            while self._events and self._events[0].get("at_s", 0.0) < row[0]:
                self._happened(self._events.popleft())
            self._now_s = row[0]
            self._sensor.row = row
            self._read(row)
            self._ticking.tick()
        while self._ticking is not None and self._events and self._events[0].get("at_s", 0.0) <= until_s:
            self._happened(self._events.popleft())
        self._now_s = max(self._now_s, until_s)


class Replay(Monitor):
    """A :class:`~resmon.Monitor` fed by a record. ``advance`` and ``play`` move its clock; nothing waits.

    ``duration_s`` is the length of the record. ``cells`` are the cells that were executed in it.
    """

    def __init__(self, run: RecordedRun, origin: str, calibration: str | os.PathLike[str] | None = None) -> None:
        sensor = _Recorded(run, origin)
        self._run = run
        self._replay_clock = _ReplayClock(run, sensor, self._happened, self._row_comes)
        self._origin_name = origin
        self._recorded = RecordedCells()
        self._cells: list[Measurement] = []
        super().__init__(
            float(run.facts.get("interval_s", 0.5)),
            sensors=[sensor],
            clock=self._replay_clock,
            record=False,
            calibration=calibration,
        )
        self.meter_id = f"record {origin}"
        places = {channel.id: i for i, channel in enumerate(run.channels, 1)}
        self._cpu_place, self._missed_place = places.get(CPU_S), places.get(MISSED)
        origins: Mapping[str, Origin] = run.facts.get("origins", {})
        for source in sensor.sources:
            if source.id in origins:
                self.sampler.resume(source, origins[source.id])
        self.sampler.after_tick.append(self._finish_cells)

    def __repr__(self) -> str:
        marks = "synthetic: no device was measured" if self.synthetic else "", self.cut
        said = "".join(f", {mark}" for mark in marks if mark)
        devices = ", ".join(device.label for device in self.sampler.devices) or "no device"
        return f"<Replay of {self._origin_name}, {self.duration_s:.0f} s{said}: {devices}>"

    @property
    def synthetic(self) -> bool:
        """Whether the record says that no device was measured."""
        return bool(self._run.facts.get("synthetic"))

    @property
    def cut(self) -> str:
        """After which line the record ends in the middle, of one that was not finished; else empty."""
        return str(self._run.facts.get("cut", ""))

    def _row_comes(self, row: Sequence[float]) -> None:
        """What the recording monitor counted of itself stands in the row; a replay costs something else."""
        if self._cpu_place is not None and row[self._cpu_place] == row[self._cpu_place]:
            self.sampler.cpu_s = row[self._cpu_place]
        if self._missed_place is not None and row[self._missed_place] == row[self._missed_place]:
            self.sampler.missed = round(row[self._missed_place])

    def _happened(self, event: Mapping[str, Any]) -> None:
        """Something other than a sample, at its place between the samples."""
        if "interval_s" in event:
            self.sampler.interval_s = float(event["interval_s"])
        elif "instant" in event:
            self._recorded.instant(self.sampler.ask(float(event["instant"])), event.get("process_cpu_s"))
        elif "cell" in event:
            self._recorded.take(event)
        elif "poll" in event:
            read = CounterRead(*(NAN if value is None else float(value) for value in event["read"]))
            self.sampler.counters.take_poll(event["poll"], read)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last recorded sample."""
        return self._run.rows[-1][0] - self._run.rows[0][0]

    def advance(self, seconds: float) -> None:
        """Play the next seconds of the record. ValueError for a step back."""
        if not seconds >= 0:
            raise ValueError(f"a record is played forward: seconds must be >= 0, not {seconds!r}")
        self._replay_clock.advance_to(self.clock.now() + seconds)

    def play(self) -> Measurement:
        """Play to the end; returns the measurement of the whole record."""
        self._replay_clock.advance_to(max(self.clock.now(), self._run.rows[-1][0]))
        return measure_span(
            self,
            self._run.rows[0][0],
            self._run.rows[-1][0],
            Work(name="whole record", notes=(*self._remarks(), *filter(None, [self.cut]))),
        )

    @property
    def cells(self) -> tuple[Measurement, ...]:
        """The measurements of the recorded cells that have been played, in order; one that never ended says so."""
        return (*self._cells, *map(self._cell, (*self._recorded.ended, *self._recorded.open.values())))

    def _finish_cells(self, newest_s: float) -> None:
        """Measure the cells whose closing reading is there, as their windows did: while the rows are fresh."""
        while (cell := self._recorded.next_measurable(newest_s)) is not None:
            self._cells.append(self._cell(cell))

    def _cell(self, cell: RecordedCell) -> Measurement:
        start, end = cell.start, cell.end
        if end is None:
            work = Work(name=cell.name, error="the record ends before the cell did", notes=self._remarks())
            return measure_span(self, start.at_s, self.clock.now(), work)
        error = end.event.get("error")
        work = Work(name=cell.name, error=error, process_cpu_s=end.process_cpu_s, notes=self._remarks())
        marks = None if start.instant is None or end.instant is None else (start.instant.marks, end.instant.marks)
        return measure_span(self, start.at_s, end.at_s, work, marks)

    def _remarks(self) -> tuple[str, ...]:
        return (SYNTHETIC,) if self.synthetic else ()


def replay(source: str | os.PathLike[str], *, calibration: str | os.PathLike[str] | None = None) -> Replay:
    """A started monitor fed by a recorded run.

    source: a trace or flight record by its path, a trace that ships with resmon by its name (``"cpu-training"``), or a
    flight record in the user's own directory by its name. calibration: the file with the gains of the boards that the
    run was measured with; a record holds readings, and no gain. A trace that was cut short is played up to there, with
    a ResmonWarning and a note. Raises RecordError naming the file, the place and what is wrong with it; where there is
    nothing of that name, what there is; CalibrationError for a wrong calibration.
    """
    path = _find(source)
    try:
        with path.open("rb") as file:
            is_record = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from error
    run = read_record(path) if is_record or path.suffix == ".resmon" else read_trace(path)
    if "wall_at_0" not in run.facts:
        raise RecordError(f"{path}: its facts lack wall_at_0")
    monitor = Replay(run, path.name, calibration)
    if monitor.cut:
        warnings.warn(f"{path}: {monitor.cut}", ResmonWarning, stacklevel=2)
    monitor.start()
    return monitor


def _find(source: str | os.PathLike[str]) -> Path:
    path, own = Path(source), record_directory()
    candidates = [path]
    if path.name == os.fspath(source):
        candidates += [SHIPPED / f"{path.name}.ndjson.gz", own / path.name, own / f"{path.name}.resmon"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    shipped = ", ".join(sorted(p.name.removesuffix(".ndjson.gz") for p in SHIPPED.glob("*.ndjson.gz")))
    recorded = ", ".join(sorted(p.name for p in own.glob("*.resmon"))) if own.is_dir() else ""
    raise RecordError(
        f"{source}: no such file; shipped traces: {shipped or 'none'}; flight records in {own}: {recorded or 'none'}"
    )
