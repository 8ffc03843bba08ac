"""The course of the energy where power cannot show it: between the edges of a stale board, and where nobody read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resmon.energy.counter import CounterTrack
from resmon.energy.edges import Calibration
from resmon.energy.mark import Mark
from tests.validation.devices import Board, Instant, Load

PERIOD_S = 0.1
FACTS = {"period_s": PERIOD_S, "period_p99_s": 0.108, "steps": 100, "power_ratio": 1.0}
STALE = Calibration(**FACTS, power_error=1.0, step_error=0.001)  # type: ignore[arg-type]
FRESH = Calibration(**FACTS, power_error=0.01)  # type: ignore[arg-type]
EDGE_S = 4.0
"""The board has an edge here, and one every period before and after."""


def board(load: Load, instant: Instant) -> Board:
    """A board without jitter and without a gain error."""
    at_s = np.arange(-40.0, 40.0, dtype=np.float64) * PERIOD_S + EDGE_S
    return Board(load, PERIOD_S, 1.0, instant, at_s, load.energy_j(at_s) + 5000.0)


def jump(at_s: float) -> Load:
    return Load.held(np.array([-10.0, at_s]), np.array([100.0, 700.0]))


def marked(
    played: Board, known: Calibration, at_s: float, read_s: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Mark:
    track = CounterTrack(known, power_limit_w=700.0)
    for read in played.reads(read_s):
        track.add(read)
    mark = track.mark(at_s)
    assert mark is not None
    return mark


def missed_j(played: Board, mark: Mark) -> float:
    """How far a mark is from the true total."""
    return mark.total_j + mark.origin_j - 5000.0 - float(played.load.energy_j(np.array(mark.at_s)))


def polls(from_s: float, periods: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A tick, and polls that go on from an instant for so many periods."""
    return np.concatenate([[from_s - 0.4], np.arange(from_s + 0.0003, from_s + periods * PERIOD_S, 0.0005)])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_power_that_rises_evenly_is_followed_though_only_means_are_read(share: float) -> None:
    ramp = board(Load.of(np.array([-10.0, 3.0, 5.0, 50.0]), np.array([100.0, 100.0, 700.0, 700.0])), "with the counter")
    at_s = EDGE_S + share * PERIOD_S
    mark = marked(ramp, STALE, at_s, polls(at_s, 2.2))
    even_j = 30.0 * PERIOD_S / 2 * share * (1 - share)
    assert abs(missed_j(ramp, mark)) < 0.25 * even_j + 0.1
    assert mark.sigma_j < 0.5
    unsure = marked(ramp, STALE, at_s, polls(at_s, 1.05))
    assert missed_j(ramp, unsure) == pytest.approx(even_j, abs=0.1), "one edge alone does not tell"
    assert unsure.sigma_j > 5 * mark.sigma_j


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_jump_between_two_steady_steps_is_found(share: float) -> None:
    stale = board(jump(EDGE_S + 0.4 * PERIOD_S), "with the counter")
    at_s = EDGE_S + share * PERIOD_S
    mark = marked(stale, STALE, at_s, polls(at_s, 2.2))
    assert abs(missed_j(stale, mark)) < 0.1
    unsure = marked(stale, STALE, at_s, polls(at_s, 1.05))
    assert abs(missed_j(stale, unsure)) > 1.0
    assert mark.sigma_j < unsure.sigma_j


def test_a_burst_between_two_quiet_steps_may_have_been_anywhere() -> None:
    burst = Load.held(np.array([-10.0, EDGE_S + 0.02, EDGE_S + 0.05]), np.array([100.0, 700.0, 100.0]))
    stale = board(burst, "with the counter")
    mark = marked(stale, STALE, EDGE_S + 0.06, polls(EDGE_S + 0.06, 2.2))
    assert 1.0 < abs(missed_j(stale, mark)) < 1.96 * mark.sigma_j


def unread(played: Board, at_s: float) -> Mark:
    """The mark at an instant about which nobody read from 0.2 s before to 0.3 s after it."""
    after_s = at_s + 0.3
    return marked(
        played, FRESH, at_s, np.concatenate([[at_s - 0.7, at_s - 0.2], np.arange(after_s, after_s + 0.15, 0.0005)])
    )


def test_an_unread_stretch_of_even_load_is_even() -> None:
    steady = board(Load.held(np.array([-10.0]), np.array([300.0])), "fresh")
    mark = unread(steady, EDGE_S + 0.03)
    assert abs(missed_j(steady, mark)) < 1.96 * mark.sigma_j < 20.0, "the board could have taken 60 J more or less"


@pytest.mark.parametrize("jump_s", [-0.1, 0.0, 0.15])
def test_an_unread_stretch_with_a_change_is_as_unsure_as_the_change(jump_s: float) -> None:
    changed = board(jump(EDGE_S + 0.03 + jump_s), "fresh")
    mark = unread(changed, EDGE_S + 0.03)
    assert abs(missed_j(changed, mark)) < 1.96 * mark.sigma_j


def test_an_unread_stretch_is_surer_where_power_is_seen_to_change_quickly() -> None:
    def cycles(cycle_s: float) -> Board:
        starts = np.arange(-10.0, 45.0, cycle_s)
        knots = np.column_stack([starts, starts + cycle_s / 2]).ravel()
        return board(Load.held(knots, np.tile([700.0, 100.0], len(starts))), "fresh")

    quick, slow = unread(cycles(0.02), EDGE_S + 0.03), unread(cycles(1.0), EDGE_S + 0.03)
    assert quick.sigma_j < slow.sigma_j / 2
    assert abs(missed_j(cycles(0.02), quick)) < 1.96 * quick.sigma_j


def test_without_power_an_unread_stretch_can_have_taken_what_the_board_can_draw() -> None:
    steady = board(Load.held(np.array([-10.0]), np.array([300.0])), "fresh")
    at_s = EDGE_S + 0.03
    track = CounterTrack(FRESH, power_limit_w=700.0)
    for read in steady.reads(np.concatenate([[at_s - 0.7, at_s - 0.2], np.arange(at_s + 0.3, at_s + 0.45, 0.0005)])):
        track.add(read._replace(power_w=math.nan))
    mark = track.mark(at_s)
    assert mark is not None
    assert mark.sigma_j > 2 * unread(steady, at_s).sigma_j
    assert mark.strays_w != mark.strays_w
