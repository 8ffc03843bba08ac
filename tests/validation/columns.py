"""The columns of the validation: which boards, read how."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.validation.devices import BUSY, HELD, Instant
from tests.validation.table import GAIN_KNOWN, GAIN_PRIOR, Row, Setting, table
from tests.validation.tools import plain_tools

PERIODS_S = (0.023, 0.1)
LENGTHS = (2.3, 4.6, 10.0, 31.0)


@dataclass(frozen=True)
class Column:
    """Boards of both periods that have one thing in common."""

    key: str
    title: str
    setting: Setting

    @property
    def settings(self) -> tuple[Setting, ...]:
        """One for each period."""
        return tuple(replace(self.setting, period_s=period_s) for period_s in PERIODS_S)

    def rows(self, windows: int, seed: int) -> list[Row]:
        """Every load in every length; beside the first column the plain tools."""
        return table(self.settings, LENGTHS, windows, seed=seed, others=plain_tools() if self is COLUMNS[0] else ())


_KNOWN = Setting(period_s=PERIODS_S[0], gain_error=GAIN_KNOWN)
_DRAWN = replace(_KNOWN, gain_error=GAIN_PRIOR)
_MEAN: Instant = "with the counter"

COLUMNS = (
    Column("fresh", "power always fresh, gain known to 0.5 %", _KNOWN),
    Column("fresh-drawn", "power always fresh, gain drawn (5 %)", _DRAWN),
    Column("mean", "power is the mean of each period, gain known to 0.5 %", replace(_KNOWN, instant=_MEAN)),
    Column("mean-drawn", "power is the mean of each period, gain drawn (5 %)", replace(_DRAWN, instant=_MEAN)),
    Column("lagging", "power is the mean of the last 25 ms, gain known", replace(_KNOWN, instant="mean of 25 ms")),
    Column(
        "sampling",
        "power is the mean of 25 ms of each period, gain known",
        replace(_KNOWN, instant="25 ms with the counter"),
    ),
    Column("busy", "beside a Python loop (reads 5-8 ms apart), gain known", replace(_KNOWN, polling=BUSY)),
    Column("held", "the interpreter lock held up to 0.6 s at both ends, gain known", replace(_KNOWN, polling=HELD)),
)
