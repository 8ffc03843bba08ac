"""What a distributed run gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resmon.ranks import RankUse
from resmon.results import Measurement


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a distributed run gave.

    ``results`` are what the ranks' functions returned, in the order of ranks; None for a rank that did not return.
    ``outcomes`` say how each rank ended: ``"done"``, or what ended it. ``measurement`` is what the run cost, each joule
    once. ``logs`` are the files with what each rank printed, in ``directory``; they are kept until newer runs follow.
    """

    name: str
    results: list[Any]
    outcomes: tuple[str, ...]
    measurement: Measurement | None = field(repr=False)
    directory: Path
    logs: tuple[Path, ...] = field(repr=False)

    @property
    def world_size(self) -> int:
        """How many ranks there were."""
        return len(self.outcomes)

    @property
    def ranks(self) -> tuple[RankUse, ...]:
        """What each rank did, as far as samples of it arrived."""
        return () if self.measurement is None else self.measurement.ranks

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        from resmon.views.runs import run_report

        report = run_report(self.name, self.results, self.outcomes, self.measurement, self.directory)
        return report._repr_mimebundle_()
