"""The fewest words for the state of a sensor: what fits into a footer."""

from __future__ import annotations

from collections.abc import Sequence

from resmon.facts import SensorStatus

_SHORT = {"rapl": "RAPL", "nvml": "GPU", "host": "CPU", "rated": "CPU model", "torch": "torch"}
_LONGEST = 40


def short_status(status: SensorStatus) -> str:
    """``RAPL: needs root``."""
    name = _SHORT.get(status.name, status.name)
    cause = status.cause or status.detail or status.state
    if "root" in cause or "readable by" in cause:
        cause = "needs root"
    elif "permission" in cause.lower():
        cause = "no permission"
    return f"{name}: {cause}" if len(cause) <= _LONGEST else f"{name}: {status.state}"


def why_nothing_is_measured(statuses: Sequence[SensorStatus]) -> str:
    """The energy counter that could be had first, and what keeps it from being read."""
    for name in ("rapl", "nvml"):
        for status in statuses:
            if status.name == name and status.state in ("unavailable", "lost") and status.remedy:
                return short_status(status)
    return "no energy counter on this machine"
