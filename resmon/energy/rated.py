"""The rated-power model, the arithmetic of the articles that estimate energy without a meter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast


def rated_energy_j(power_w: float | Sequence[float], utilization: float | Sequence[float], duration_s: float) -> float:
    """Joules of devices that draw ``power_w`` at full load and are busy ``utilization`` of the time.

    ``E = (p_1·u_1 + p_2·u_2 + …)·t``: the rated power of each device times the fraction (0-1) it was used, times the
    seconds. Give one number each, or two sequences of the same length. 300 W at 0.8, 100 W at 0.5 and
    20 W at 0.2 over one hour are 240 + 50 + 4 = 294 Wh.

    Utilisation is not power: this is an estimate, which the caller labels as one.

    Raises ValueError naming the value: a power or duration that is negative or not finite, a utilisation outside
    0-1, or sequences of different lengths; TypeError for what is no number.
    """
    powers = _values(power_w)
    shares = _values(utilization)
    for name, values in (("power_w", powers), ("utilization", shares), ("duration_s", (duration_s,))):
        for value in values:
            if not hasattr(value, "__float__"):
                raise TypeError(f"{name} must be a number, not {value!r}")
    if len(powers) != len(shares):
        raise ValueError(f"{len(powers)} values of power_w do not match {len(shares)} of utilization")
    for power in powers:
        if not 0.0 <= power < math.inf:
            raise ValueError(f"power_w must be finite and at least 0, not {power!r}")
    for share in shares:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"utilization is a fraction between 0 and 1 (80 % is 0.8), not {share!r}")
    if not 0.0 <= duration_s < math.inf:
        raise ValueError(f"duration_s must be finite and at least 0, not {duration_s!r}")
    return sum(power * share for power, share in zip(powers, shares, strict=True)) * duration_s


def _values(given: object) -> Sequence[float]:
    if hasattr(given, "__len__") and not isinstance(given, str):
        return cast(Sequence[float], given)
    return (cast(float, given),)
