"""The total of a counter at an instant: one function of time that stays, adds up and never goes back."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon.energy.counter import CounterTrack, calibrate
from resmon.energy.edges import Calibration, CounterRead
from resmon.energy.mark import Mark

PERIOD_S = 0.1
BOARD = Calibration(period_s=PERIOD_S, period_p99_s=0.105, steps=100, power_ratio=1.0, power_error=0.01)
STALE = Calibration(period_s=PERIOD_S, period_p99_s=0.105, steps=100, power_ratio=1.0, power_error=1.0, step_error=0.01)
"""Of this one the power is the mean of the step that ends."""


def counter_j(at_s: float, power_w: float = 300.0) -> float:
    """A counter that moves at whole periods."""
    return math.floor(power_w * PERIOD_S * math.floor(at_s / PERIOD_S + 1e-9) * 1000) / 1000


def read(at_s: float, energy_j: float | None = None, power_w: float = 300.0) -> CounterRead:
    return CounterRead(at_s - 1e-5, at_s + 1e-5, counter_j(at_s) if energy_j is None else energy_j, power_w)


def marked(track: CounterTrack, at_s: float) -> Mark:
    mark = track.mark(at_s)
    assert mark is not None
    return mark


def polled(track: CounterTrack, from_s: float, until_s: float, every_s: float = 0.001) -> None:
    for i in range(round((until_s - from_s) / every_s)):
        track.add(read(from_s + i * every_s))


def test_a_value_is_of_the_middle_of_its_call() -> None:
    assert CounterRead(1.0, 1.5, 50.0).at_s == 1.25


@st.composite
def records(draw: st.DrawFn) -> list[CounterRead]:
    """Reads with every kind of gap, of a counter that may stand still, go back or fail."""
    at_s, energy_j = 1.0, 50.0
    reads = []
    for _ in range(draw(st.integers(3, 60))):
        at_s += draw(st.sampled_from([0.001, 0.002, 0.006, 0.05, 0.5, 2.0]))
        what = draw(st.sampled_from(["same", "more", "more", "more", "back", "failed"]))
        if what == "more":
            energy_j += draw(st.floats(0.001, 70.0))
        elif what == "back":
            energy_j = draw(st.floats(0.0, 5.0))
        power_w = draw(st.sampled_from([100.0, 250.0, 700.0, math.nan]))
        reads.append(CounterRead(at_s, at_s + 2e-5, math.nan if what == "failed" else energy_j, power_w))
    return reads


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([BOARD, STALE]),
    records(),
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12),
    st.randoms(use_true_random=False),
)
def test_parts_of_any_partition_sum_to_the_whole(
    board: Calibration, reads: list[CounterRead], cuts: list[float], rng: object
) -> None:
    track = CounterTrack(board, power_limit_w=700.0)
    for item in reads:
        track.add(item)
    begin_s, end_s = reads[0].after_s, reads[-1].before_s
    at = sorted({begin_s + cut * (end_s - begin_s) for cut in cuts})
    shuffled = list(at)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    asked = {at_s: track.mark(at_s) for at_s in shuffled}
    known = [(at_s, mark) for at_s in at if (mark := asked[at_s]) is not None]
    if len(known) < 2:
        return
    parts = [b.total_j - a.total_j for (_, a), (_, b) in pairwise(known)]
    assert all(part >= -1e-9 for part in parts)
    whole = marked(track, known[-1][0]).total_j - marked(track, known[0][0]).total_j
    assert sum(parts) == pytest.approx(whole, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([BOARD, STALE]), records(), st.data())
def test_what_was_said_of_an_instant_stays_whatever_comes_later(
    board: Calibration, reads: list[CounterRead], data: st.DataObject
) -> None:
    track = CounterTrack(board, power_limit_w=700.0)
    said: list[tuple[float, float]] = []
    for before, after in pairwise(reads):
        track.add(before)
        if data.draw(st.booleans()):
            at_s = data.draw(st.floats(before.after_s, after.before_s))
            mark = track.mark(at_s)
            if mark is not None:
                said.append((at_s, mark.total_j))
    track.add(reads[-1])
    said.sort()
    assert all(b_j >= a_j - 1e-9 for (_, a_j), (_, b_j) in pairwise(said))
    for at_s, total_j in said:
        assert marked(track, at_s).total_j == pytest.approx(total_j, abs=1e-6)


def test_a_window_of_even_load_is_known_to_the_poll() -> None:
    track = CounterTrack(BOARD)
    for start_s, end_s in ((0.03, 0.14), (0.567, 0.68), (2.031, 2.15)):
        polled(track, start_s, end_s)
    start, end = marked(track, 0.03), marked(track, 2.05)
    assert end.total_j - start.total_j == pytest.approx(300 * 2.02, abs=0.3)
    assert end.sigma_j < 0.3


@pytest.mark.parametrize(("board", "edge_s"), [(BOARD, 1.1), (STALE, 1.2)])
def test_polling_ends_at_the_first_edge_or_the_second_where_power_is_the_mean_of_a_step(
    board: Calibration, edge_s: float
) -> None:
    track = CounterTrack(board)
    track.add(read(0.5))
    polled(track, 1.031, edge_s - 0.001)
    assert not track.settled(1.03)
    polled(track, edge_s - 0.001, edge_s + 0.002)
    assert track.settled(1.03)


def test_a_counter_that_moves_all_the_time_needs_one_read() -> None:
    track = CounterTrack(Calibration(period_s=0.001, period_p99_s=0.0011, steps=100))
    track.add(read(0.5))
    assert not track.settled(0.6)
    track.add(read(0.601))
    assert track.settled(0.6)


def test_a_reset_is_bridged_by_power_and_says_so() -> None:
    track = CounterTrack(BOARD, power_limit_w=700.0)
    polled(track, 0.0, 1.0)
    start = marked(track, 0.5)
    track.add(read(2.0, energy_j=10.0))
    track.add(read(2.1, energy_j=40.0))
    end = marked(track, 2.05)
    assert track.resets == 1
    assert end.resets - start.resets == 1
    latest = track.latest
    assert latest is not None
    assert latest.total_j > end.total_j
    assert latest.gap_s == end.gap_s
    assert end.gap_s - start.gap_s == pytest.approx(1.1, abs=0.01)
    assert end.total_j - start.total_j == pytest.approx(300 * 1.55, rel=0.05)


def test_a_counter_that_stands_still_while_power_is_drawn_is_a_gap() -> None:
    track = CounterTrack(BOARD, power_limit_w=700.0)
    polled(track, 0.0, 1.0)
    start = marked(track, 0.95)
    for i in range(8):
        track.add(read(1.5 + i / 2, energy_j=counter_j(0.99)))
    assert track.stuck
    end = marked(track, 5.0)
    assert end.total_j - start.total_j == pytest.approx(300 * 4.05, rel=0.05)
    assert end.gap_s - start.gap_s == pytest.approx(4.1, abs=0.1)


def test_a_counter_that_was_late_loses_nothing_and_gives_nothing_twice() -> None:
    track = CounterTrack(BOARD, power_limit_w=700.0)
    polled(track, 0.0, 1.0)
    start = marked(track, 0.5)
    for i in range(8):
        track.add(read(1.5 + i / 2, energy_j=counter_j(0.99)))
    marked(track, 4.0)
    track.add(read(6.0))
    track.add(read(6.1))
    assert not track.stuck
    assert marked(track, 6.0).total_j - start.total_j == pytest.approx(300 * 5.5, rel=0.05)


def test_an_idle_board_that_draws_nothing_is_not_stuck() -> None:
    track = CounterTrack(BOARD)
    track.add(read(0.0, energy_j=5.0, power_w=0.0))
    for i in range(10):
        track.add(read(1.0 + i, energy_j=5.0, power_w=0.0))
    assert not track.stuck


def test_a_failed_read_is_no_gap() -> None:
    whole, holed = CounterTrack(BOARD), CounterTrack(BOARD)
    for i in range(20):
        at_s = i / 2
        whole.add(read(at_s))
        holed.add(read(at_s, energy_j=math.nan) if 5 <= i < 9 else read(at_s))
    a, b = marked(whole, 9.0), marked(holed, 9.0)
    assert (b.total_j, b.gap_s) == (a.total_j, 0.0)


def test_a_look_at_an_open_window_binds_nothing() -> None:
    looked, left = CounterTrack(BOARD), CounterTrack(BOARD)
    for track in (looked, left):
        polled(track, 0.0, 0.25)
        if track is looked:
            assert track.mark(0.249, final=False) is not None
        polled(track, 0.25, 0.35)
    assert marked(looked, 0.23).total_j == marked(left, 0.23).total_j


def test_an_instant_before_the_first_read_or_long_forgotten_is_not_marked() -> None:
    track = CounterTrack(BOARD, memory=8)
    assert track.mark(0.0) is None
    for i in range(100):
        track.add(read(1 + i / 10))
    assert track.mark(0.1) is None
    assert track.mark(1.5) is None
    assert track.mark(10.5) is not None


def test_memory_is_bounded() -> None:
    track = CounterTrack(BOARD, memory=16)
    for i in range(5000):
        track.add(read(i * 0.02))
        if i % 50 == 0:
            track.mark(i * 0.02)
    held = (track._edges, track._placed, track._load._points, track._powers)
    assert all(len(part) <= 256 for part in held)
    assert len(track._edges) <= 16


def test_a_value_that_no_board_can_have_drawn_is_not_believed() -> None:
    """A single 0 between good reads, as a resetting driver gives: neither the way down nor the way up is energy."""
    offset_j = 27_000.0
    track = CounterTrack(BOARD, power_limit_w=400.0)
    for i in range(200):
        at_s = 10.0 + i * 0.02
        track.add(read(at_s, 0.0 if i == 100 else offset_j + counter_j(at_s)))
    first, last = marked(track, 10.2), marked(track, 13.6)
    assert last.total_j - first.total_j == pytest.approx(3.4 * 300, rel=0.05)
    assert last.resets == 2
    assert 0 < last.gap_s < 0.3
    track.add(read(14.0, 1e12))
    assert marked(track, 14.0).total_j - first.total_j == pytest.approx(3.8 * 300, rel=0.1)


def test_a_board_that_draws_twice_its_limit_for_a_moment_is_believed() -> None:
    track = CounterTrack(BOARD, power_limit_w=300.0)
    for i in range(100):
        track.add(read(10.0 + i * 0.02, 2 * counter_j(10.0 + i * 0.02), power_w=600.0))
    assert marked(track, 11.9).resets == 0


def test_reads_out_of_order_are_refused() -> None:
    track = CounterTrack(BOARD)
    track.add(read(2.0))
    with pytest.raises(ValueError, match="order of time"):
        track.add(read(1.0))


def test_calibration_finds_the_period() -> None:
    found = calibrate(read(i * 0.0015) for i in range(1500))
    assert found.known
    assert found.period_s == pytest.approx(PERIOD_S, abs=0.001)
    assert found.power_ratio == pytest.approx(1.0, abs=0.01)
    assert found.power_error is None  # the load never changed


@pytest.mark.parametrize("power_w", [300.0, 288.0, 187.0, 450.0])
def test_a_counter_and_its_power_agree_or_not(power_w: float) -> None:
    found = calibrate(read(i * 0.0015, power_w=power_w) for i in range(1500))
    assert found.power_ratio == pytest.approx(300 / power_w, rel=0.01)
    assert found.ratio_sigma is not None
    assert found.ratio_sigma < 0.01
    agrees = abs(power_w - 300) < 15
    assert found.disagreement == (None if agrees else found.power_ratio)
    track = CounterTrack(found)
    polled(track, 10.0, 10.5)
    assert marked(track, 10.25).disagreement == found.disagreement


def test_power_that_lags_behind_the_load_is_no_witness_against_the_counter() -> None:
    lagging = Calibration(period_s=0.1, period_p99_s=0.11, steps=64, power_ratio=1.5, ratio_sigma=0.01, power_error=0.9)
    assert lagging.disagreement is None
    assert replace(lagging, power_error=0.1).disagreement == 1.5
    assert replace(lagging, step_error=0.01).disagreement == 1.5
    assert replace(lagging, power_error=0.1, ratio_sigma=0.2).disagreement is None, "the reads leave it open"


def test_a_board_whose_counter_and_power_disagree_is_looked_at_again() -> None:
    known = Calibration(period_s=0.1, period_p99_s=0.11, steps=100, power_ratio=1.5, ratio_sigma=0.01)
    track = CounterTrack(known)
    polled(track, 10.0, 30.0)
    assert track.calibration.disagreement is None


def test_sparse_reads_teach_nothing() -> None:
    assert not calibrate(read(i * 0.25) for i in range(100)).known


@pytest.mark.parametrize(
    "wrong",
    [
        {"period_s": 0.0},
        {"period_s": 0.2, "period_p99_s": 0.1},
        {"period_s": math.nan},
        {"power_ratio": -1.0},
        {"power_error": math.inf},
        {"ratio_sigma": -0.1},
    ],
)
def test_a_calibration_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|not"):
        Calibration(**wrong)  # type: ignore[arg-type]
