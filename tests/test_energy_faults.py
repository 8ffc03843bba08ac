"""Windows while something goes wrong, end to end: never negative, never a silent 0, and what is not known is said."""

from __future__ import annotations

import pytest

from tests.validation.faults import FAULTS, FaultRow, faults

pytestmark = pytest.mark.slow
NAMES = [fault.fault for fault in FAULTS]
SAYS = {
    "driver reloaded": "the counter went back",
    "counter stuck until the end": "stood still while power was drawn",
    "permission lost in mid-run": "could not be read at its end",
    "RAPL, permission lost in mid-run": "could not be read at its end",
    "power not supported": "measured, counter",
    "counter not supported": "measured, integrated",
    "neither supported": "not covered: GPU 0 power",
    "MIG slices": "MIG parent 0",
    "a window of 1 ms": "estimated, counter; shorter than two periods",
    "a window of 50 ms": "estimated, counter; shorter than two periods",
    "RAPL, two dies that mirror each other": "CPU package 0 die 0 measured",
}
GAPS = {
    "driver reloaded",
    "counter stuck until the end",
    "permission lost in mid-run",
    "RAPL, permission lost in mid-run",
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FaultRow]:
    """All of them, six at a time."""
    return {row.fault: row for row in faults(tmp_path_factory.mktemp("faults"), at_once=6)}


@pytest.mark.parametrize("name", NAMES)
def test_the_true_energy_lies_in_the_interval_or_none_is_given(played: dict[str, FaultRow], name: str) -> None:
    row = played[name]
    assert row.holds, row
    assert (row.said_j is None) == (name == "neither supported")


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_beside_the_joules(played: dict[str, FaultRow], name: str) -> None:
    row = played[name]
    assert SAYS.get(name, "") in row.says
    if row.coverage is not None:
        assert (row.coverage < 0.96) == (name in GAPS), row


def test_what_the_counter_caught_up_with_is_no_loss(played: dict[str, FaultRow]) -> None:
    for name in ("reads fail for 0.5 s", "counter stuck for 0.4 s", "RAPL wraps", "a window of 3 days"):
        row = played[name]
        assert row.said_j == pytest.approx(row.true_j, rel=0.15), row
