"""Measurements side by side: equal bases only, and a difference within the intervals is called so."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import resmon
from resmon.comparison import ComparedRow, compare
from resmon.results import Measurement
from resmon.testing import ManualClock, scripted_host
from tests.measurements import HOSTILE, component, energy, measurement
from tests.played_ranks import use

GPU = component("GPU 0", 1000.0, spread=0.05)
CPU = component("CPU", 100.0, "estimated", spread=0.5)


def test_each_is_set_against_the_first() -> None:
    a = measurement(name="a", duration_s=60.0, energy=energy(GPU, CPU))
    b = measurement(
        name="b", duration_s=40.0, energy=energy(replace(GPU, energy_j=500.0, low_j=475.0, high_j=525.0), CPU)
    )
    first, second = compare([a, b]).rows
    assert (first.speedup, first.energy_ratio, second.speedup) == (1.0, 1.0, 1.5)
    assert second.energy_ratio_basis == "measured"
    assert (second.energy_ratio_low, second.energy_ratio, second.energy_ratio_high) == pytest.approx(
        (475 / 1050, 0.5, 525 / 950)
    )
    assert second.energy_differs is True
    assert "■ 0.50× [0.45, 0.55]" in str(compare([a, b]))


def test_a_difference_within_the_intervals_is_called_so() -> None:
    a = measurement(energy=energy(GPU))
    b = measurement(energy=energy(replace(GPU, energy_j=1040.0, low_j=988.0, high_j=1092.0)))
    assert compare([a, b]).rows[1].energy_differs is False
    assert "1.04×, within the intervals" in str(compare([a, b]))


def test_in_a_notebook_wide_cells_break_where_they_are_read_apart() -> None:
    """Beside its energy the table would not fit between the margins of a notebook."""
    a = measurement(items=600.0, items_unit="images", energy=energy(CPU))
    html = compare([a, replace(a, name="b")])._repr_mimebundle_()["text/html"]
    for cell in ("▨\u00a01.00×, within the intervals", "100 [50,\u00a0150]\u202fJ"):
        (style,) = set(re.findall(rf'<td style="([^"]*)">{re.escape(cell)}</td>', html))
        assert "white-space:normal" in style
    assert "white-space:nowrap" in re.findall(r'<td style="([^"]*)">[\d.]+ images/s</td>', html)[0]


def test_with_items_throughput_and_energy_per_item_are_compared() -> None:
    a = measurement(duration_s=60.0, items=600.0, items_unit="images", energy=energy(GPU))
    b = measurement(duration_s=60.0, items=1200.0, items_unit="images", energy=energy(GPU))
    row = compare([a, b]).rows[1]
    assert row.speedup == pytest.approx(2.0)
    assert row.energy_ratio == pytest.approx(0.5)
    assert row.measured_j_per_item == pytest.approx(1000 / 1200)
    assert "830 ± 50\u202fmJ/image" in str(compare([a, b]))


def test_items_of_different_kinds_are_not_divided_by_each_other() -> None:
    a = measurement(duration_s=60.0, items=600.0, items_unit="images", energy=energy(GPU))
    b = measurement(duration_s=30.0, items=5.0, items_unit="batches", energy=energy(GPU))
    found = compare([a, b])
    assert (found.rows[1].speedup, found.rows[1].energy_ratio) == (2.0, 1.0)
    assert any("different kinds" in note for note in found.notes)
    assert any("ratios of durations" in note for note in compare([a, measurement()]).notes)


def test_measured_is_never_set_against_estimated() -> None:
    found = compare([measurement(name="a", energy=energy(GPU)), measurement(name="b", energy=energy(CPU))])
    assert found.rows[1].energy_ratio is None
    assert found.rows[1].energy_differs is None
    assert any("a: GPU measured; b: CPU estimated" in note for note in found.notes)
    assert any(note.startswith("b has no energy ratio") for note in found.notes)
    assert all(note in str(found) for note in found.notes)


def test_a_measured_part_that_covers_less_is_no_saving() -> None:
    both = energy(GPU, component("CPU", 500.0))
    found = compare([measurement(energy=both), measurement(energy=energy(GPU))])
    assert found.rows[1].energy_ratio is None
    assert found.notes
    shared = compare([measurement(energy=energy(GPU, CPU)), measurement(energy=energy(CPU))])
    assert shared.rows[1].energy_ratio_basis == "estimated"


def test_a_failed_measurement_is_named() -> None:
    found = compare([measurement(name="a"), measurement(name="b", error="MemoryError")])
    assert any("b failed (MemoryError): it is measured up to there" in note for note in found.notes)


def test_what_is_unknown_stays_unknown() -> None:
    row = compare([measurement(energy=energy(), peak_memory_bytes=None, cpu_utilization=None)]).rows[0]
    assert (row.measured_j, row.estimated_j, row.energy_ratio, row.peak_memory_bytes) == (None, None, None, None)
    assert "0 J" not in str(compare([measurement(energy=energy())]))


def test_names_are_given_or_its_own_and_are_never_markup() -> None:
    a, b = measurement(name="a"), measurement(name="b")
    assert [row.name for row in compare([a, b]).rows] == ["a", "b"]
    assert [row.name for row in compare([a, b], names=["32", "64"]).rows] == ["32", "64"]
    bundle = compare([a, b], names=[HOSTILE, HOSTILE])._repr_mimebundle_()
    assert "<img" not in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]


@pytest.mark.parametrize(
    ("given", "names", "error", "said"),
    [
        ([], None, ValueError, "at least one measurement"),
        (measurement(), None, TypeError, r"compare\(\[a, b\]\)"),
        (5, None, TypeError, "not a int"),
        ([measurement(), "b"], None, TypeError, "item 1 is a str"),
        ([SimpleNamespace(measurement=None)], None, ValueError, "item 0, a SimpleNamespace, has no measurement"),
        ([SimpleNamespace(measurement=5)], None, TypeError, "item 0 is a SimpleNamespace"),
        ([measurement()], ["a", "b"], ValueError, "2 names for 1 measurements"),
    ],
)
def test_bad_input_is_told_with_its_remedy(given: object, names: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        compare(given, names=names)  # type: ignore[arg-type]


def scaled(ranks: int, duration_s: float, items: float = 1000.0, **facts: object) -> Measurement:
    """What a run of so many ranks cost; each rank counts its part of the items."""
    own = tuple(use(i, items=items / ranks, compute_fraction=0.7, communication_fraction=0.2, wait_fraction=0.1)
                for i in range(ranks))  # fmt: skip
    known: dict[str, object] = {
        "name": f"{ranks} ranks",
        "duration_s": duration_s,
        "ranks": own,
        "energy": energy(GPU, CPU),
    }
    return measurement(0, **(known | facts))


def test_one_rank_against_several_has_speedup_efficiency_and_the_share_of_communication() -> None:
    found = compare([scaled(1, 100.0), scaled(2, 62.5), scaled(4, 40.0)])
    one, two, four = found.rows
    assert (one.ranks, two.ranks, four.ranks) == (1, 2, 4)
    assert (one.speedup, two.speedup, four.speedup) == pytest.approx((1.0, 1.6, 2.5))
    assert (one.scaling_efficiency, two.scaling_efficiency, four.scaling_efficiency) == pytest.approx((1, 0.8, 0.625))
    assert (two.items, two.items_per_s) == pytest.approx((1000.0, 16.0))
    assert two.measured_j_per_item == pytest.approx(1.0)
    assert two.estimated_j_per_item == pytest.approx(0.1)
    assert (two.compute_fraction, two.communication_fraction, two.wait_fraction) == pytest.approx((0.7, 0.2, 0.1))
    assert found.notes == ()
    text = str(found)
    for said in ("Ranks", "1.60×", "80\u202f%", "Scaling efficiency", "Communication", "20\u202f%"):
        assert said in text


def test_a_run_stands_for_its_measurement_and_no_ranks_count_as_one() -> None:
    alone = measurement(name="alone", duration_s=100.0, items=1000.0, energy=energy(GPU))
    found = compare([SimpleNamespace(measurement=alone), SimpleNamespace(measurement=scaled(2, 62.5))])
    assert [row.ranks for row in found.rows] == [None, 2]
    assert found.rows[1].scaling_efficiency == pytest.approx(0.8)
    with resmon.Monitor(sensors=[scripted_host()], clock=ManualClock()) as monitor:
        with monitor.measure("window") as window:
            pass
        assert compare([window]).rows[0].name == "window"


def test_work_that_is_not_the_same_is_said_to_be_so() -> None:
    more = compare([scaled(1, 100.0), scaled(2, 100.0, items=2000.0)])
    assert more.rows[1].scaling_efficiency == pytest.approx(1.0)
    (note,) = more.notes
    assert "2 ranks is not the same work as the first (2\u202f000 items against 1\u202f000)" in note
    assert "one of throughput" in note
    nearly = compare([scaled(1, 100.0), scaled(2, 60.0, items=995.0)])
    assert nearly.notes == (), "ranks are counted to their last sample"
    unknown = replace(scaled(2, 60.0), ranks=(use(0, items=None), use(1)))
    assert any("whether 2 ranks is the same work" in note for note in compare([scaled(1, 100.0), unknown]).notes)
    other = compare([scaled(1, 100.0, items_unit="images"), scaled(2, 60.0, items_unit="tokens")])
    assert any("tokens are not images" in note for note in other.notes)


def test_several_runs_in_one_measurement_have_no_efficiency() -> None:
    twice = replace(scaled(2, 60.0), ranks=scaled(2, 60.0).ranks * 2)
    found = compare([scaled(1, 100.0), twice])
    assert (found.rows[1].ranks, found.rows[1].scaling_efficiency) == (None, None)
    assert any("several runs of ranks" in note for note in found.notes)


def test_without_ranks_nothing_is_said_of_them() -> None:
    text = str(compare([measurement(items=5.0), measurement(items=50.0)]))
    assert "Ranks" not in text
    assert "same work" not in text


def test_to_pandas_has_a_row_for_each_and_a_column_for_each_fact() -> None:
    pytest.importorskip("pandas")
    frame = compare([measurement(name="a"), measurement(name="b")]).to_pandas()
    assert list(frame["name"]) == ["a", "b"]
    assert set(frame.columns) == set(ComparedRow.__dataclass_fields__)


def test_without_pandas_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        compare([measurement()]).to_pandas()
