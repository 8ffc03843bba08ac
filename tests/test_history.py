"""The ring: what is written is read back, memory stays bounded, and age makes it coarser without losing the peaks."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon.blocks import BLOCK_ROWS
from resmon.facts import Channel
from resmon.history import FOLD_S, FOLD_TOGETHER, RAW_ROWS, History

NAN = float("nan")
GAUGE = Channel(device_id="host", quantity="load", unit="1")
COUNTER = Channel(device_id="host", quantity="joules", unit="J", kind="counter", code="d")


def filled(count: int, step_s: float = 0.5, max_bytes: int = 64 * 2**20) -> History:
    history = History(max_bytes)
    history.set_channels([GAUGE, COUNTER])
    for i in range(count):
        history.append(i * step_s, [float(i % 7), i / 2])
    return history


def test_rows_are_read_back_as_written() -> None:
    view = filled(2_000).view()
    assert view.times == [i / 2 for i in range(2_000)]
    assert view.column("host.load") == [float(i % 7) for i in range(2_000)]
    assert view.column("host.joules") == [i / 2 for i in range(2_000)]


def test_a_span_takes_both_its_ends() -> None:
    assert filled(100).view(10.0, 11.0).times == [10.0, 10.5, 11.0]


def test_unknown_is_none_and_never_zero() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    history.append(0.0, [NAN, 1.0])
    assert history.view().column("host.load") == [None]
    assert history.view().last("host.load") is None
    assert history.view().extreme("host.load") is None
    with pytest.raises(KeyError, match=r"host\.load"):
        history.view().column("host.laod")


def test_a_counter_keeps_what_four_bytes_would_lose() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    history.append(0.0, [0.0, 123_456_789.123])
    assert history.view().last("host.joules") == 123_456_789.123


def test_a_new_layout_keeps_the_rows_of_the_old_one() -> None:
    history = filled(10)
    late = Channel(device_id="gpu:x", quantity="power_w", unit="W")
    history.set_channels([GAUGE, COUNTER, late])
    history.append(5.0, [1.0, 2.0, 300.0])
    view = history.view()
    assert view.column("gpu:x.power_w") == [None] * 10 + [300.0]
    assert len(view.column("host.load")) == 11


def test_memory_stops_growing_once_the_ring_is_full() -> None:
    history = filled(60_000, max_bytes=2**16)
    full = history.nbytes
    for i in range(60_000, 120_000):
        history.append(i / 2, [float(i % 7), i / 2])
        assert history.nbytes <= 2**16
    assert history.nbytes == pytest.approx(full, rel=0.1)


def test_a_day_is_held() -> None:
    view = filled(180_000).view()
    assert view.times[-1] - view.times[0] > 24 * 3600
    assert len(view) < RAW_ROWS + 24 * 3600 / FOLD_S + 2 * BLOCK_ROWS


@pytest.mark.parametrize("max_bytes", [2**20, 4 * 2**20])
def test_wide_rows_stay_within_the_budget(max_bytes: int) -> None:
    cores = [Channel(device_id="host", quantity=f"core_{i}", unit="1") for i in range(256)]
    history = History(max_bytes)
    history.set_channels([*cores, COUNTER])
    for i in range(8_000):
        history.append(i / 2, [0.5] * 256 + [float(i)])
    assert history.nbytes <= max_bytes
    assert history.view().times[-1] == 3_999.5


def test_a_peak_outlives_the_raw_rows() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    for i in range(40_000):
        history.append(i / 2, [99.0 if i == 100 else 1.0, float(i)])
    old = history.view(0.0, 100.0)
    assert len(old) < 20
    assert old.extreme("host.load") == 99.0
    assert min(v for v in old.raw("host.load", "min")) == 1.0
    means = old.raw("host.load")
    assert max(means) == pytest.approx((99 + 19) / 20, rel=0.01)


def test_folded_rows_leave_the_unknown_out_of_their_mean() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    for i in range(30_000):
        history.append(i / 2, [NAN if i % 2 else 4.0, NAN if i < 100 else float(i)])
    old = history.view(0.0, 200.0)
    assert set(old.raw("host.load")) == {4.0}
    assert old.column("host.joules")[0] is None


def test_no_row_is_told_twice_where_the_tiers_meet() -> None:
    times = filled(60_000).view().times
    assert times == sorted(set(times))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60), st.floats(0, 1))
def test_a_counter_between_rows_is_interpolated_and_never_decreases(steps: list[float], where: float) -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    total = 0.0
    for i, step in enumerate(steps):
        total += step
        history.append(float(i), [0.0, total])
    at_s = where * (len(steps) - 1)
    value = history.value("host.joules", at_s)
    assert value is not None
    low, high = history.value("host.joules", math.floor(at_s)), history.value("host.joules", math.ceil(at_s))
    assert low is not None
    assert high is not None
    assert low - 1e-6 <= value <= high + 1e-6


def test_a_counter_is_looked_up_past_failed_reads() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    for i, value in enumerate([1.0, NAN, NAN, 4.0]):
        history.append(float(i), [0.0, value])
    assert history.value("host.joules", 1.5) == pytest.approx(2.5)
    before, after = history.around("host.joules", 2.0)
    assert (before and before.at_s, after and after.at_s) == (0.0, 3.0)


def test_waiting_ends_with_the_next_row() -> None:
    history = filled(1)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(history.wait(1, 10.0)))
    reader.start()
    history.append(1.0, [0.0, 0.0])
    reader.join(5.0)
    assert seen == [True]
    assert history.wait(2, 0.01) is False


def test_readers_see_whole_rows_while_one_writes() -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    done = threading.Event()
    torn: list[tuple[float, float]] = []

    def read() -> None:
        while not done.is_set():
            view = history.view(0.0)
            loads, joules = view.raw("host.load"), view.raw("host.joules")
            torn.extend((a, b) for a, b in zip(loads, joules, strict=False) if a == a and b == b and a != b % 1000)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(3_000):
        history.append(i / 2, [float(i % 1000), float(i)])
    done.set()
    reader.join(10.0)
    assert torn == []


def test_pandas_gets_a_frame_indexed_by_seconds() -> None:
    frame = filled(4).view().to_pandas()
    assert list(frame.columns) == ["host.joules", "host.load"]
    assert frame.index.name == "time_s"
    assert list(frame["host.joules"]) == [0.0, 0.5, 1.0, 1.5]


def test_no_row_waits_for_more_than_a_few_buckets_to_be_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    history.set_channels([GAUGE, COUNTER])
    folds, most = 0, 0
    fold = history._fold

    def counted(bucket: object) -> None:
        nonlocal folds
        folds += 1
        fold(bucket)  # type: ignore[arg-type]

    monkeypatch.setattr(history, "_fold", counted)
    for i in range(3 * BLOCK_ROWS):
        before = folds
        history.append(float(i), [0.0, 0.0])
        most = max(most, folds - before)
    assert most == FOLD_TOGETHER
    assert folds > 3 * BLOCK_ROWS / FOLD_S - 2 * FOLD_TOGETHER


def test_a_counter_at_its_first_row_and_at_a_kept_instant_outlives_the_rows() -> None:
    late = Channel(device_id="gpu:x", quantity="joules", unit="J", kind="counter", code="d")
    history = History(64 * 2**10)
    history.set_channels([GAUGE, COUNTER])
    kept = history.keep(100.3)
    for i in range(60_000):
        if i == 100:
            history.set_channels([GAUGE, COUNTER, late])
        history.append(i / 2, [0.0, i * i / 2] if i < 100 else [0.0, i * i / 2, NAN if i < 110 else float(i * i)])
    assert history.value("host.joules", 0.0) == 0.0
    assert history.value("host.joules", -1.0) == 0.0
    assert history.value("gpu:x.joules", 10.0) == 110**2
    within = 0.6  # of the half second that begins at 100.0
    assert history.value("host.joules", 100.3) == pytest.approx((200**2 + within * (201**2 - 200**2)) / 2, rel=1e-12)
    assert history.beside("host.joules", 100.3) == ((100.0, 200**2 / 2), (100.5, 201**2 / 2))
    del kept
    assert history.beside("host.joules", 100.3) != ((100.0, 200**2 / 2), (100.5, 201**2 / 2))
    assert history.beside("host.joules", 200.3) != ((200.0, 400**2 / 2), (200.5, 401**2 / 2))
