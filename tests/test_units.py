"""The numbers a person reads, held to the answers that the panel is held to as well."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resmon import units

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "number_format.json").read_text())["cases"]
PREFIXES = {"nJ": 1e-9, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9}

joules = st.floats(min_value=0.1, max_value=9e11)
widths = st.floats(min_value=1e-6, max_value=3.0)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['fn']}{tuple(c['args'])}")
def test_every_case_shared_with_the_panel(case: dict[str, Any]) -> None:
    assert getattr(units, case["fn"])(*case["args"]) == case["expected"]


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash_and_never_a_number(unknown: float | None) -> None:
    formatters = (
        units.format_power_w, units.format_percent, units.format_share, units.format_temperature_c, units.format_gib,
        units.format_rate, units.format_items_per_s, units.format_duration, units.format_duration_words,
        units.format_count, units.gib_number,
    )  # fmt: skip
    assert {formatter(unknown) for formatter in formatters} == {"–"}
    assert units.format_measured(unknown, 1.0, 2.0) == units.format_estimated(unknown, 1.0, 2.0) == "–"


def _read(text: str) -> tuple[float, float, float]:
    """The value and the largest rounding-free interval that a written energy claims."""
    number, unit = text.rsplit(units.THIN, 1)
    factor = PREFIXES[unit.split("/")[0]]
    if "±" in number:
        value, u = (float(part) for part in number.split(" ± "))
        return value * factor, (value - u) * factor, (value + u) * factor
    found = re.fullmatch(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", number)
    assert found, text
    value, low, high = (float(part) for part in found.groups())
    return value * factor, low * factor, high * factor


@given(joules, widths)
def test_a_measured_value_keeps_its_interval_within_the_rounding_of_the_value(value: float, width: float) -> None:
    u = value * width
    shown, low, high = _read(units.format_measured(value, value - u, value + u))
    if width >= 1:  # the ends are written, rounded outwards
        assert low <= (value - u) * (1 + 1e-6) or low == 0.0
        assert high >= (value + u) * (1 - 1e-6)
        return
    shown_u = (high - low) / 2
    assert u <= shown_u * (1 + 1e-6) <= 2.0001 * u
    assert abs(shown - value) <= max(shown_u / 2, value / 2) * (1 + 1e-6)


@given(joules, st.floats(0.0, 1.0), st.floats(1.0, 20.0))
def test_an_estimate_is_shown_inside_an_interval_that_is_never_narrower(
    value: float, below: float, above: float
) -> None:
    low, high = value * below, value * above
    shown, shown_low, shown_high = _read(units.format_estimated(value, low, high))
    assert shown_low <= low * (1 + 1e-6)
    assert shown_high >= high * (1 - 1e-6)
    assert abs(shown - value) <= 0.051 * value


@given(joules, widths)
def test_the_prefix_leaves_one_to_three_digits_before_the_point(value: float, width: float) -> None:
    text = units.format_measured(value, value * (1 - width), value * (1 + width))
    number = float(text.split(" ")[0])
    assert 1 <= number < 1000 or value < 1


@given(st.floats(min_value=0, max_value=1e-1, exclude_max=True), st.floats(min_value=0, max_value=1e4))
def test_energy_too_small_to_tell_is_a_bound_and_never_zero_joules(value: float, above: float) -> None:
    text = units.format_measured(value, 0.0, value + above)
    assert text.startswith("< ")
    number, unit = text.removeprefix("< ").split(units.THIN)
    assert float(number) * PREFIXES[unit] >= max(0.1, value + above) * (1 - 1e-6)


def test_energy_per_item_goes_down_to_where_items_are_cheap() -> None:
    assert units.format_measured_per_item(0.112, 0.104, 0.12, "images") == "112 ± 8\u202fmJ/image"
    assert units.format_measured_per_item(2.5e-6, 2.3e-6, 2.7e-6, "tokens") == "2.50 ± 0.20\u202fµJ/token"
    assert units.format_estimated_per_item(0.014, 0.006, 0.031, "samples") == "14 [6, 31]\u202fmJ/sample"
    assert units.format_measured_per_item(0.0, 0.0, 0.0, "samples") == "–"


def test_the_parts_of_an_energy_are_named_and_nothing_is_added() -> None:
    both = units.format_energy_parts(
        measured=(156e3, 144e3, 168e3), estimated=(27e3, 12e3, 61e3), not_covered=("PSU", "fans")
    )
    assert both == "measured 156 ± 12\u202fkJ | estimated 27 [12, 61]\u202fkJ | not covered: PSU, fans"
    assert units.format_energy_parts(estimated=(27.0, 12.0, 61.0)) == "measured – | estimated 27 [12, 61]\u202fJ"
    assert units.format_energy_parts(measured=(5.0, 4.5, 5.5)) == "measured 5.0 ± 0.5\u202fJ"


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.0001, "< 1\u202fms"), (0.031, "31\u202fms"), (0.3144, "314\u202fms"), (0.99951, "1.0\u202fs"),
        (7.24, "7.2\u202fs"), (59.96, "1\u202fmin 0\u202fs"), (192.0, "3\u202fmin 12\u202fs"),
        (3599.7, "1\u202fh 0\u202fmin"), (6723.0, "1\u202fh 52\u202fmin"), (-1.0, "–"),
    ],
)  # fmt: skip
def test_a_duration_that_is_over_is_told_in_words(duration_s: float, text: str) -> None:
    assert units.format_duration_words(duration_s) == text


@pytest.mark.parametrize(
    ("plural", "one"),
    [("images", "image"), ("batches", "batch"), ("boxes", "box"), ("queries", "query"), ("loss", "loss"), ("", "")],
)
def test_the_unit_of_one_item(plural: str, one: str) -> None:
    assert units.singular(plural) == one
