"""What is written beside the history, queued and written together; and the facts a reader needs besides channels."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from resmon.clock import Clock
from resmon.energy.edges import CounterRead
from resmon.facts import Channel, Device, EnergySource
from resmon.origins import Origin
from resmon.sensors import Sensor, limits_of, not_covered


class RowWriter(Protocol):
    """The flight record, a trace. Called by one thread at a time; nothing raises: one that fails turns itself off."""

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None: ...

    def add_rows(self, rows: Sequence[tuple[float, Sequence[float]]]) -> None:
        """Samples: when each was, and its values in the order of the channels."""
        ...

    def event(self, event: Mapping[str, Any]) -> None: ...

    def poll(self, source_id: str, read: CounterRead) -> None: ...

    def flush(self) -> None:
        """The rows, events and polls that were given belong together and end here: out with them."""
        ...

    def close(self) -> None: ...


class Writers:
    """Queues what is to be written and writes it to all that are there. Any thread; ``write`` waits for the disk."""

    def __init__(self) -> None:
        self.all: tuple[RowWriter, ...] = ()
        self._told: tuple[RowWriter, ...] = ()
        self._queue: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._lock = threading.Lock()

    def add(self, writer: RowWriter) -> None:
        """Write there too, from the next ``start`` on."""
        self.all = (*self.all, writer)

    def remove(self, writer: RowWriter) -> None:
        """Write there what is queued, and no more. The caller closes it."""
        self.write()
        with self._lock:
            self.all = tuple(w for w in self.all if w is not writer)
            self._told = tuple(w for w in self._told if w is not writer)

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        """Queue the layout of the rows that follow."""
        if self.all:
            self._queue.append(("start", (facts, channels)))

    def add_rows(self, rows: Sequence[tuple[float, Sequence[float]]]) -> None:
        """Queue rows, which are kept until they are written."""
        if self.all:
            self._queue.append(("add_rows", (rows,)))

    def event(self, event: Mapping[str, Any]) -> None:
        """Queue an event."""
        if self.all:
            self._queue.append(("event", (event,)))

    def poll(self, source_id: str, read: CounterRead) -> None:
        """Queue a read between samples."""
        if self.all:
            self._queue.append(("poll", (source_id, read)))

    def write(self) -> None:
        """Write all that is queued."""
        with self._lock:
            while self._queue:
                what, arguments = self._queue.popleft()
                if what == "start":
                    self._told = self.all
                for writer in self._told:
                    getattr(writer, what)(*arguments)
            for writer in self._told:
                writer.flush()

    def after_fork(self) -> None:
        """In a forked child: what is queued is the parent's to write."""
        self._lock = threading.Lock()
        self._queue.clear()
        for writer in self.all:
            writer.close()
        self.all = self._told = ()


def record_facts(
    *,
    devices: Iterable[Device],
    sources: Iterable[EnergySource],
    sensors: Sequence[Sensor],
    derived: Iterable[str],
    origins: Mapping[str, Origin],
    interval_s: float,
    clock: Clock,
) -> dict[str, object]:
    """JSON-ready; ``origins`` are where the totals of the sources stand before the first row."""
    return {
        "devices": [asdict(d) for d in devices],
        "sources": [asdict(s) for s in sources],
        "not_covered": sorted(not_covered(sensors)),
        "derived": list(derived),
        "limits": next((asdict(found) for s in sensors if (found := limits_of(s)) is not None), None),
        "origins": {source_id: origin.to_json() for source_id, origin in origins.items()},
        "interval_s": interval_s,
        "boot": clock.boot,
        "wall_at_0": clock.wall(0.0).isoformat(),
    }
