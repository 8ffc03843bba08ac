"""Where the totals of the energy sources stood when a trace began, so that a replay goes on from there.

A total depends on all reads since the monitor started. A trace that begins later has to say what those before it
amounted to: then every total in it can be recomputed to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from resmon.energy.edges import Calibration, CounterRead
from resmon.energy.load import Moments

NAN = float("nan")
METER_VALUES = 9
MOST = 1e18
"""No joules, seconds or counts of a trace are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterOrigin:
    """How the track of a counter began: all that its totals depend on besides the reads that it took since.

    ``total_j``, ``gap_s``, ``gap_j``, ``resets`` and ``load`` are what the track before it had come to, ``ahead_j`` the
    joules that it gave out before the counter counted them, ``read`` its last read, which is the first of this one.
    """

    calibration: Calibration = field(default_factory=Calibration)
    total_j: float = 0.0
    gap_s: float = 0.0
    gap_j: float = 0.0
    resets: int = 0
    ahead_j: float = 0.0
    load: Moments = field(default_factory=Moments)
    read: CounterRead | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; floats read back the same."""
        found = asdict(self)
        found["load"] = list(self.load)
        found["read"] = None if self.read is None else [None if v != v else v for v in self.read]
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The inverse. Raises KeyError, TypeError or ValueError for what is no such thing."""
        values = dict(found)
        values["calibration"] = _calibration(values["calibration"])
        values["load"] = Moments(*_numbers(values["load"], 3))
        if values["read"] is not None:
            values["read"] = CounterRead(*_numbers(values["read"], 4))
            if not values["read"].before_s <= values["read"].after_s:
                raise ValueError(f"a read of a counter ends after it begins, not {found['read']!r}")
        origin = cls(**values)
        if type(origin.resets) is not int or not 0 <= origin.resets < MOST:
            raise ValueError(f"resets is a whole number of at least 0, not {origin.resets!r:.200}")
        _numbers([origin.total_j, origin.gap_s, origin.gap_j, origin.ahead_j], 4, known=True)
        return origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one source stood: the state of its meter (:meth:`resmon.energy.meter.Meter.state`), and of its counter."""

    meter: tuple[float, ...]
    counter: CounterOrigin | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; unknown values are null."""
        meter = [None if v != v else v for v in self.meter]
        return {"meter": meter, "counter": None if self.counter is None else self.counter.to_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The inverse. Raises KeyError, TypeError or ValueError for what is no such thing."""
        counter = found.get("counter")
        meter = tuple(_numbers(found["meter"], METER_VALUES))
        return cls(meter=meter, counter=None if counter is None else CounterOrigin.from_json(counter))


def _calibration(found: Mapping[str, Any]) -> Calibration:
    if type(found["steps"]) is not int or not 0 <= found["steps"] < MOST:
        raise ValueError(f"steps is a whole number of at least 0, not {found['steps']!r:.200}")
    known = {key: value for key, value in found.items() if key != "steps" and value is not None}
    _numbers(list(known.values()), len(known), known=True)
    return Calibration(**found)


def _numbers(values: Sequence[Any], count: int, *, known: bool = False) -> list[float]:
    """``count`` numbers of at least 0; null is NaN unless they have to be ``known``."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{count} numbers are wanted, not {values!r:.200}")
    found = []
    for value in values:
        if value is None and not known:
            found.append(NAN)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MOST:
            raise ValueError(f"a finite number of at least 0 is wanted, not {value!r:.200}")
        found.append(float(value))
    return found
