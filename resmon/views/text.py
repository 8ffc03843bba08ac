"""A measurement as plain text: one line for a log, several for where nothing else can be shown."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from resmon import units
from resmon.facts import Sample
from resmon.results import Energy, Measurement
from resmon.sharing import mark
from resmon.views import content, rank_table, table
from resmon.views.escape import plain, shortened


def measurement_line(m: Measurement) -> str:
    """One line: name, duration, energy by basis, then CPU, GPUs and peak memory as far as they are known."""
    head = f"{shortened(m.name) or 'this span'}: {units.format_duration_words(m.duration_s)}"
    parts = [head if m.error is None else f"{head}, failed: {shortened(m.error)}"]
    if m.items_per_s is not None:
        parts.append(units.format_items_per_s(m.items_per_s, plain(m.items_unit)))
    parts.append(plain(m.energy))
    if m.cpu_utilization is not None:
        parts.append(f"CPU {units.format_percent(m.cpu_utilization)}")
    busy = [gpu.utilization_mean for gpu in m.gpus if gpu.utilization_mean is not None]
    if busy:
        parts.append(
            f"{'GPU' if len(busy) == 1 else f'{len(busy)} GPUs'} {units.format_percent(sum(busy) / len(busy))}"
        )
    parts += [f"{plain(c.device)} {word}" for c in m.energy.components if (word := mark([c.scope]))]
    if m.peak_memory_bytes is not None:
        parts.append(f"peak memory {units.format_gib(m.peak_memory_bytes)}")
    return " | ".join(parts)


def live_line(
    title: str, elapsed_s: float, energy: Energy, sample: Sample, ranks: Mapping[str, Any] | None = None
) -> str:
    """One line about a cell that still runs: elapsed time, its ranks, energy so far, and the newest sample.

    ``ranks`` is what a row on the wire says of them.
    """
    host = sample.host
    parts = [f"resmon: {shortened(title) or 'this cell'} {units.format_duration(max(0.0, elapsed_s))}"]
    if ranks is not None:
        slow = ranks["straggler"]
        held_up = "" if slow is None else f", rank {slow['rank']} computes {slow['factor']:.2f}× the median"
        parts.append(f"{ranks['n']} {'rank' if ranks['n'] == 1 else 'ranks'}{held_up}")
    if energy.measured_j is not None:
        joules = units.format_measured(energy.measured_j, energy.measured_low_j, energy.measured_high_j)
        parts.append(f"{joules} measured")
    if energy.estimated_j is not None:
        joules = units.format_estimated(energy.estimated_j, energy.estimated_low_j, energy.estimated_high_j)
        parts.append(f"{joules} estimated")
    parts.append(f"CPU {units.format_percent(host.cpu_utilization)}")
    parts.append(f"memory {units.format_gib(host.memory_tree_bytes)}")
    for gpu in sample.gpus:
        label = shortened(gpu.device.label, 24)
        parts.append(f"{label} {units.format_percent(gpu.utilization)} {units.format_power_w(gpu.power_w)}")
    return " | ".join(parts)


def measurement_text(m: Measurement, title: str | None = None, number: int | None = None) -> str:
    """The whole summary as text, in the order of the HTML; ``title`` stands for the measurement's name."""
    found = content.headlines(m)
    width = max(len(headline.figure) for headline in found if headline.known != "not covered")
    lines = [str(content.outcome(m, title, number)), ""]
    lines += [
        f"{headline.caption}: {headline.figure}"
        if headline.known == "not covered"
        else f"{headline.figure:<{width}}  {headline.caption}"
        for headline in found
    ]
    lines += ["", *_devices(m), ""]
    for uses in rank_table.runs_of(m.ranks):
        lines += [rank_table.sentence(uses), table.to_text(*rank_table.rank_table(uses)), ""]
    lines += [*content.remarks(m), content.footer(m)]
    return "\n".join(lines)


_NOTE_WIDTH = 100


def _devices(m: Measurement) -> list[str]:
    """The table of devices, and below it their notes: in a column of their own they would make it twice as wide."""
    columns, rows, notes = content.devices(m, longest_note=0)
    lines = [wrap(f"{device}: {note}", _NOTE_WIDTH, subsequent_indent="  ") for device, note in notes]
    return [table.to_text(columns, rows), *(line for each in lines for line in each)]
