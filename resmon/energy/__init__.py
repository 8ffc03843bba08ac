"""Energy arithmetic: running totals, windows of them, the rated-power model, carbon. Pure: no I/O in this room."""

from __future__ import annotations

from resmon.energy.attribution import attribution
from resmon.energy.idle import AboveIdle, above_idle
from resmon.energy.ledger import Ledger, attribute
from resmon.energy.meter import Meter, Reading
from resmon.energy.rated import rated_energy_j
from resmon.energy.span import combine, span_component
from resmon.results import CarbonIntensity, Factors, Price

__all__ = [
    "AboveIdle",
    "CarbonIntensity",
    "Factors",
    "Ledger",
    "Meter",
    "Price",
    "Reading",
    "above_idle",
    "attribute",
    "attribution",
    "combine",
    "rated_energy_j",
    "span_component",
]
