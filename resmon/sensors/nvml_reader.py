"""One GPU or MIG slice: which driver calls it understands, and how they are spread over the ticks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from resmon.facts import Channel
from resmon.sensors.base import NAN
from resmon.sensors.nvml_calls import (
    ENERGY,
    MODULE_SCOPE,
    POWER_AVERAGE,
    POWER_INSTANT,
    POWER_LIMIT,
    TOTAL_ENERGY,
    FieldValues,
    Step,
    single_calls,
)
from resmon.sensors.nvml_errors import ABSENT, LOST, STALE
from resmon.sensors.nvml_processes import OwnMemory

CALLS_PER_TICK: Final = 4

UNITS: Final[dict[str, str]] = {
    "utilization": "1",
    "memory_used_bytes": "B",
    "memory_own_bytes": "B",
    "other_processes": "1",
    "power_w": "W",
    "power_limit_w": "W",
    "energy_j": "J",
    "temperature_c": "°C",
    "sm_clock_hz": "Hz",
    "throttle": "1",
}
GPU_QUANTITIES: Final = tuple(UNITS)
MIG_PARENT_QUANTITIES: Final = tuple(UNITS)[4:]
SLICE_QUANTITIES: Final = tuple(UNITS)[:4]


class DeviceReader:
    """Reads one device with at most four driver calls a tick.

    Every tick: power, energy and power limit in one call where the driver can, utilisation, memory. One more call
    per tick goes round what changes slowly: process list, temperature, clock, clock-event reasons (then those a
    driver gives only by calls of their own); between its turns such a value is the one last read. Where power and
    energy need a call each, memory shares that turn: it is read at every other tick. Without ``energy_j`` support the
    channel is left out; every other quantity the driver refuses is NaN. ``supports`` are the quantities it gave when it
    was set up. Raises NVMLError when the device is lost while it is set up; with ``handle=None`` it is lost already.
    ``before`` is the reader that this one replaces.
    """

    def __init__(
        self,
        nvml: Any,
        handle: Any,
        device_id: str,
        quantities: Sequence[str],
        own: OwnMemory,
        before: DeviceReader | None = None,
    ) -> None:
        self._nvml = nvml
        self._handle = handle
        self._id = device_id
        self._own = own
        self.lost: int | None = None
        self.errors: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.averaged = False
        self._values: dict[str, float] = dict.fromkeys(quantities, NAN)
        steps = self._probe(quantities) if handle is not None else []
        if self._values.get("energy_j", NAN) != self._values.get("energy_j", NAN):
            self._values.pop("energy_j", None)
        self.supports = frozenset(quantity for quantity, value in self._values.items() if value == value)
        self.limit_w = self._values["power_limit_w"] if "power_limit_w" in self.supports else None
        self._energy = [s for s in steps if s.name in ("fields", "power", "energy")]
        self._always = [s for s in steps if s.name in ("utilization", "memory")]
        self.counts_module: bool = before.counts_module if before else self._counts_module()
        slow = [s for s in steps if s not in self._energy and s not in self._always]
        if len(self._energy) + len(self._always) >= CALLS_PER_TICK:
            memory = next(s for s in self._always if s.name == "memory")
            self._always.remove(memory)
            slow = [step for other in slow for step in (memory, other)] or [memory]
        self._turns = slow
        self._turn = 0
        self.channels = tuple(
            Channel(
                device_id=device_id,
                quantity=quantity,
                unit=UNITS[quantity],
                kind="counter" if quantity == "energy_j" else "gauge",
                code="d" if quantity == "energy_j" else "f",
            )
            for quantity in self._values
        )

    @property
    def energy_steps(self) -> Sequence[Step]:
        """The calls for power and energy; none while the device is lost."""
        return () if self.lost is not None else self._energy

    @property
    def energy_j(self) -> float:
        """The counter as last read; NaN where it could not be."""
        return self._values.get("energy_j", NAN)

    @property
    def power_w(self) -> float:
        """The power as last read; NaN where it could not be."""
        return self._values.get("power_w", NAN)

    def due(self, *, turn: bool = True) -> tuple[Sequence[Step], Sequence[Step]]:
        """The calls of this tick: those for power and energy, and the rest. Nothing while the device is lost.

        turn: whether what changes slowly has its turn in this tick.
        """
        if self.lost is not None:
            return (), ()
        if not self._turns:
            return self._energy, self._always
        if not turn:
            return self._energy, self._always
        now = self._turns[self._turn]
        self._turn = (self._turn + 1) % len(self._turns)
        return self._energy, (*self._always, now)

    def accept(self, step: Step, code: int) -> None:
        """Take in what a call gave. Never raises for what the driver answers: see ``lost`` and ``errors``."""
        if self.lost is None:
            try:
                self._take(step, code)
            except self._nvml.NVMLError as error:
                self.lose(error.value)

    def values(self) -> list[float]:
        """One float per channel, in their order."""
        if "memory_own_bytes" in self._values:
            self._values["memory_own_bytes"] = self._own.bytes(self._id)
            self._values["other_processes"] = self._own.others(self._id)
        return list(self._values.values())

    def lose(self, code: int) -> None:
        """Mark the device lost: every value is NaN until another reader takes its place."""
        self.lost = code
        self.errors.clear()
        self._own.forget(self._id)
        self._values = dict.fromkeys(self._values, NAN)

    def _take(self, step: Step, code: int) -> None:
        """Raises NVMLError when the device is lost; any other refusal makes the step's quantities NaN."""
        if code in STALE:
            raise self._nvml.NVMLError(code)
        if code:
            self.errors[step.name] = code
            self._values.update(dict.fromkeys(step.quantities, NAN))
            return
        if step.name in self.errors:
            self.errors.pop(step.name)
        self._values.update(zip(step.quantities, step.take(), strict=True))

    def _probe(self, quantities: Sequence[str]) -> list[Step]:
        """Try every call once; what this GPU, user or driver does not know is left out from then on."""
        wanted = set(quantities)
        steps = self._field_steps(wanted) if "power_w" in wanted else []
        covered = {quantity for step in steps for quantity in step.quantities}
        for alternatives in single_calls(self._nvml, self._handle, self._id, self._own):
            first = alternatives[0]
            if covered.intersection(first.quantities) or not wanted.issuperset(first.quantities):
                continue
            if not first.quantities and "memory_own_bytes" not in wanted:
                continue
            kept = self._first_that_works(alternatives)
            steps += [kept] if kept else []
        self.averaged = self.averaged or any(step.name == "power" for step in steps)
        return steps

    def _counts_module(self) -> bool:
        """Whether the energy counter runs with the power of the whole module (GPU and CPU) rather than the GPU's.

        Drivers do not say. Only where both powers can be read (a superchip) is the counter watched for half a second.
        """
        if not any(step.name == "fields" and "energy_j" in step.quantities for step in self._energy):
            return False
        fields = FieldValues(self._nvml, self._handle, (TOTAL_ENERGY, POWER_INSTANT, (POWER_INSTANT, MODULE_SCOPE)))
        if any(value != value for value in fields.read()):
            return False
        seen: list[tuple[float, list[float]]] = []
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            values = fields.read()
            if not seen or values[0] != seen[-1][1][0]:
                seen.append((time.monotonic(), values))
            time.sleep(0.005)
        edges = seen[1:]  # the first value was not caught at its edge
        if len(edges) < 2:
            return False
        power_w = (edges[-1][1][0] - edges[0][1][0]) / (edges[-1][0] - edges[0][0])
        gpu_w, module_w = (sum(values[i] for _, values in edges) / len(edges) for i in (1, 2))
        return abs(power_w - module_w) < abs(power_w - gpu_w)

    def _first_that_works(self, alternatives: Sequence[Step]) -> Step | None:
        for step in alternatives:
            try:
                self._take(step, step.ask())
            except self._nvml.NVMLError as error:
                if error.value in LOST:
                    raise
                self.refused[step.name] = error.value
                continue
            code = self.errors.get(step.name)
            if code not in ABSENT:
                self.refused.pop(step.name, None)
                return step
            self.refused[step.name] = self.errors.pop(step.name)
        return None

    def _field_steps(self, wanted: set[str]) -> list[Step]:
        fields: dict[str, int] = {}
        ids = (POWER_INSTANT, POWER_AVERAGE, TOTAL_ENERGY, ENERGY, POWER_LIMIT)
        try:
            answers = FieldValues(self._nvml, self._handle, ids).read()
        except self._nvml.NVMLError as error:
            if error.value in LOST:
                raise
            return []
        works = dict(zip(ids, (value == value for value in answers), strict=True))
        for quantity, choices in (
            ("power_w", (POWER_INSTANT, POWER_AVERAGE)),
            ("energy_j", (TOTAL_ENERGY, ENERGY)),
            ("power_limit_w", (POWER_LIMIT,)),
        ):
            chosen = next((field for field in choices if works[field]), None)
            if chosen is not None and quantity in wanted:
                fields[quantity] = chosen
        if not {"power_w", "energy_j"}.intersection(fields):
            return []
        self.averaged = fields.get("power_w") == POWER_AVERAGE
        asked = FieldValues(self._nvml, self._handle, tuple(fields.values()))
        step = Step("fields", tuple(fields), asked.ask, asked.take)
        self._take(step, step.ask())
        return [step]
