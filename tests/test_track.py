"""The progress bar: the same elements, a measurement afterwards, rates while it runs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient

import resmon
from resmon.monitor import Monitor
from resmon.testing import ManualClock, scripted_gpu, scripted_host


@pytest.fixture
def monitor() -> Iterator[tuple[Monitor, ManualClock]]:
    clock = ManualClock()
    with Monitor(0.5, sensors=[scripted_host(), scripted_gpu(0, energy_j=lambda t: 100.0 * t)], clock=clock) as monitor:
        yield monitor, clock


def test_the_elements_pass_through_and_are_counted(monitor: tuple[Monitor, ManualClock]) -> None:
    tracked, clock = monitor
    out = io.StringIO()
    bar = resmon.track(range(4), items_per_step=64, items_unit="images", monitor=tracked, file=out)
    assert len(bar) == 4
    seen = []
    for element in bar:
        clock.advance(2.0)
        seen.append(element)
    assert seen == [0, 1, 2, 3]
    assert bar.measurement is not None
    assert bar.measurement.items == 256
    assert bar.measurement.items_per_s == pytest.approx(32.0)
    assert bar.measurement.measured_j_per_item == pytest.approx(800 / 256)
    assert "images/s=32.0, " in out.getvalue()
    assert "W=100" in out.getvalue()
    assert "J/image=3.12" in out.getvalue()


def test_an_estimate_is_called_one() -> None:
    clock = ManualClock()
    out = io.StringIO()
    with Monitor(0.5, sensors=[scripted_host(power_w=20.0)], clock=clock) as monitor:
        for _ in resmon.track(range(2), monitor=monitor, file=out):
            clock.advance(1.0)
    assert "est." in out.getvalue()


def test_breaking_out_and_failing_leave_a_measurement(monitor: tuple[Monitor, ManualClock]) -> None:
    tracked, clock = monitor
    bar = resmon.track(range(100), monitor=tracked, file=io.StringIO())
    for element in bar:
        clock.advance(0.5)
        if element == 3:
            break
    del element
    assert bar.measurement is not None
    assert bar.measurement.items == 3

    bar = resmon.track(range(100), monitor=tracked, file=io.StringIO())
    with pytest.raises(ZeroDivisionError):
        _fail_in(bar)
    assert bar.measurement is not None


def _fail_in(bar: resmon.track[int]) -> None:
    for element in bar:
        _ = 1 / (1 - element)


def test_a_generator_that_fails_is_named() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    with Monitor(0.5, sensors=[scripted_host()], clock=ManualClock()) as monitor:
        bar = resmon.track(broken(), monitor=monitor, file=io.StringIO())
        with pytest.raises(OSError, match="disk gone"):
            list(bar)
        assert bar.measurement is not None
        assert bar.measurement.error == "OSError: disk gone"


@pytest.mark.parametrize("wrong", [0, -3, float("nan")])
def test_items_per_step_must_be_positive(wrong: float) -> None:
    with pytest.raises(ValueError, match="items_per_step must be"):
        resmon.track([], items_per_step=wrong)
    with pytest.raises(TypeError, match="items_per_step must be a number, not '64'"):
        resmon.track([], items_per_step="64")  # type: ignore[arg-type]  # what a user may well write


def test_what_cannot_be_iterated_is_refused_before_a_bar_is_shown() -> None:
    with pytest.raises(TypeError, match=r"track takes what can be iterated over, such as range\(100\), not 100"):
        resmon.track(100)  # type: ignore[arg-type]  # what a user may well write


def test_the_total_of_a_generator_can_be_given(monitor: tuple[Monitor, ManualClock]) -> None:
    out = io.StringIO()
    assert list(resmon.track((i for i in range(3)), total=3, monitor=monitor[0], file=out)) == [0, 1, 2]
    assert "3/3" in out.getvalue()


def test_in_a_notebook_the_bar_is_text_that_stays() -> None:
    cell = "import resmon\nfor _ in resmon.track(range(3), items_unit='images'):\n    pass"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, timeout=60, kernel_name="python3", coalesce_streams=True).execute()
    (output,) = notebook.cells[0].outputs
    assert (output.output_type, output.name) == ("stream", "stdout")
    assert "3/3" in output.text.splitlines()[-1]
