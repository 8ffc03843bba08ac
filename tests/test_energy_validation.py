"""Simulated boards with a known true energy: how near what is said comes to it, and how often the interval holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from resmon.energy.counter import CounterTrack
from resmon.energy.intervals import between
from tests.validation.devices import HELD, LOADS, Board, Instant
from tests.validation.table import (
    GAIN_KNOWN,
    GAIN_PRIOR,
    LIMIT_W,
    Row,
    Setting,
    calibrated,
    lines,
    one_window,
    table,
)

TAUS = (0.023, 0.1)


def held(rows: Sequence[Row]) -> float:
    return float(np.average([r.coverage for r in rows], weights=[r.windows for r in rows]))


@pytest.fixture(scope="module")
def fresh() -> list[Row]:
    return table([Setting(period_s=tau) for tau in TAUS], (2.3, 10.0), windows=100)


def test_errors_are_those_of_an_oracle_that_polls_alike(fresh: list[Row]) -> None:
    """Where power changes faster than it is read (0.23 periods) the spread of the periods shows; see the docs."""
    for name in LOADS:
        rows = [r for r in fresh if r.load == name]
        allowed = 1.6 if name in {"duty, 0.23 periods", "duty, 1 period"} else 1.1
        ratio = np.mean([r.error_median / r.polled_median for r in rows])
        assert ratio <= allowed, "\n".join(lines(rows))


def test_intervals_hold_as_often_as_they_say(fresh: list[Row]) -> None:
    assert 0.93 <= held(fresh) <= 0.98, "\n".join(lines(fresh))
    for name in LOADS:
        rows = [r for r in fresh if r.load == name]
        assert held(rows) >= 0.915, "\n".join(lines(rows))


def test_intervals_are_not_wider_than_they_must_be(fresh: list[Row]) -> None:
    assert np.median([r.width / r.oracle_width for r in fresh]) <= 1.5


def test_intervals_hold_with_the_gain_drawn() -> None:
    rows = table([Setting(period_s=tau, gain_error=GAIN_PRIOR) for tau in TAUS], (4.6,), windows=80)
    assert 0.93 <= held(rows) <= 0.98, "\n".join(lines(rows))
    assert np.median([r.width / r.oracle_width for r in rows]) <= 1.5


@pytest.mark.parametrize("gain_error", [GAIN_KNOWN, GAIN_PRIOR])
def test_intervals_hold_over_the_mix_where_power_is_no_fresher_than_the_counter(gain_error: float) -> None:
    stale: Instant = "with the counter"
    rows = table([Setting(period_s=tau, instant=stale, gain_error=gain_error) for tau in TAUS], (4.6, 10.0), windows=60)
    assert 0.92 <= held(rows) <= 0.98, "\n".join(lines(rows))


def test_a_held_interpreter_lock_widens_the_interval() -> None:
    rows = table([Setting(period_s=tau, polling=HELD) for tau in TAUS], (2.3, 31.0), windows=40)
    assert held(rows) >= 0.95
    assert all(r.least_j > 0 for r in rows)


@pytest.mark.parametrize("name", LOADS)
def test_no_window_of_any_length_is_empty_or_negative(name: str) -> None:
    rng = np.random.default_rng(7)
    setting = Setting(period_s=0.1)
    calibration = calibrated(setting, rng)
    for _ in range(30):
        board = Board.make(LOADS[name](rng, 0.1), rng, period_s=0.1, jitter=0.1, gain=1.0, instant="fresh")
        start_s = 2 + rng.random()
        end_s = start_s + float(rng.choice([0.001, 0.01, 0.05, 0.15, 20.0]))
        reads = setting.polling.window(board, start_s, end_s, rng)
        window = one_window(board, calibration, setting, start_s, end_s, reads)
        assert window.energy_j > 0
        assert window.low_j <= window.energy_j <= window.high_j
        if window.estimated:
            assert window.high_j <= LIMIT_W * window.duration_s * 1.0001 or window.high_j == window.energy_j


def test_a_board_that_nobody_calibrated_is_learned_while_it_is_used() -> None:
    rng = np.random.default_rng(3)
    board = Board.make(LOADS["duty, 4 periods"](rng, 0.023), rng, period_s=0.023, jitter=0.1, gain=1.0, instant="fresh")
    track = CounterTrack(power_limit_w=LIMIT_W)
    for read in board.reads(np.arange(2.0, 3.0, 0.0015)):
        track.add(read)
    assert track.calibration.period_s == pytest.approx(0.023, rel=0.03)
    assert track.calibration.power_error is not None
    assert track.calibration.power_error < 0.3


def test_the_first_window_of_an_unknown_board_holds() -> None:
    rng = np.random.default_rng(5)
    setting = Setting(period_s=0.023)
    inside = []
    for _ in range(60):
        board = Board.make(LOADS["steps"](rng, 0.023), rng, period_s=0.023, jitter=0.1, gain=1.0, instant="fresh")
        start_s = 2 + rng.random()
        track = CounterTrack(power_limit_w=LIMIT_W)
        for read in board.reads(setting.polling.window(board, start_s, start_s + 1.0, rng)):
            track.add(read)
        start, end = track.mark(start_s), track.mark(start_s + 1.0)
        assert start is not None
        assert end is not None
        window = between(start, end, gain_error=0.005, power_limit_w=LIMIT_W)
        inside.append(window.low_j <= board.true_j(start_s, start_s + 1.0) <= window.high_j)
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize(("instant", "low", "high"), [("fresh", 0.0, 0.3), ("with the counter", 0.7, 1.5)])
def test_calibration_tells_whether_power_follows_the_load(instant: Instant, low: float, high: float) -> None:
    rng = np.random.default_rng(11)
    for tau in TAUS:
        found = calibrated(Setting(period_s=tau, instant=instant), rng)
        assert found.period_s == pytest.approx(tau, rel=0.04)
        assert found.power_error is not None
        assert low <= found.power_error <= high
