"""The tables of runs and of what the front end can do here, in text and in HTML."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resmon.distributed.launched import Run
from resmon.facts import SensorStatus
from resmon.units import GIB
from resmon.views.reports import doctor_report, front_end_statuses
from tests.measurements import HOSTILE, measurement
from tests.played_ranks import uses

EXTENSION = "share/jupyter/labextensions/anywidget"


# -- a run -------------------------------------------------------------------------------------------------------------


def a_run(**facts: Any) -> Run:
    known = {
        "name": "train",
        "results": [0.25, None],
        "outcomes": ("done", "failed: ValueError: loss is nan"),
        "measurement": None,
        "directory": Path("/runs/1"),
        "logs": (),
    }
    return Run(**{**known, **facts})


def shown(run: Run) -> dict[str, str]:
    return run._repr_mimebundle_()


def test_a_run_says_how_each_rank_ended_and_what_it_returned() -> None:
    text = shown(a_run())["text/plain"]
    assert text.startswith("train\n")
    assert text.endswith("\noutput of the ranks: /runs/1")
    rows = [line.split() for line in text.splitlines() if line.lstrip()[:1].isdigit()]
    assert rows == [["0", "done", "0.25"], ["1", "failed:", "ValueError:", "loss", "is", "nan"]]
    assert "Peak memory" not in text, "no sample arrived"


def test_a_run_whose_samples_arrived_has_its_measurement_and_peaks() -> None:
    two = a_run(results=[1, 2], outcomes=("done", "done"), measurement=measurement(name="train", ranks=uses(2)))
    assert two.world_size == len(two.ranks) == 2
    bundle = shown(two)
    assert "measured" in bundle["text/plain"].splitlines()[0]
    assert bundle["text/plain"].count(f"{uses(1)[0].memory_peak_bytes / GIB:.1f}\u202fGiB") == 2  # type: ignore[operator]
    assert bundle["text/html"].count("<tr") == 1 + 2


def test_what_ranks_return_is_shortened_and_harmless() -> None:
    bundle = shown(a_run(results=[HOSTILE * 50, HOSTILE], outcomes=("done", HOSTILE), name=HOSTILE))
    assert "<img" not in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]
    assert max(map(len, bundle["text/plain"].splitlines())) < 250


# -- the front end -----------------------------------------------------------------------------------------------------


def statuses(**known: bool) -> dict[str, SensorStatus]:
    facts = {"in_kernel": True, "subshells": True, "panel_answered": False, **known}
    return {status.name: status for status in front_end_statuses(**facts)}


@contextmanager
def a_server(python: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that looks like the Jupyter server which started this kernel: ``python`` is its interpreter."""
    words = [python, "-c", "print('ready', flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, executable=sys.executable, stdin=pipe, stdout=pipe) as server:
        monkeypatch.setenv("JPY_PARENT_PID", str(server.pid))
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.communicate(b"\n")


def test_without_a_kernel_a_line_of_text_stands_in() -> None:
    (panel,) = statuses(in_kernel=False).values()
    assert (panel.name, panel.state) == ("panel", "unavailable")
    assert "a line of text stands in" in panel.cause


@pytest.mark.parametrize(("subshells", "state"), [(True, "available"), (False, "degraded")])
def test_without_subshells_clicks_wait_for_the_end_of_the_cell(subshells: bool, state: str) -> None:
    clicks = statuses(subshells=subshells)["clicks"]
    assert clicks.state == state
    assert ("ipykernel>=7.1" in clicks.remedy) is not subshells


def test_a_panel_that_answered_needs_no_search() -> None:
    assert statuses(panel_answered=True)["front end"].detail == "a panel has answered"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("installed", [True, False])
def test_the_widget_library_is_looked_for_where_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    environment = tmp_path / "env"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if installed:
        (environment / EXTENSION).mkdir(parents=True)
    with a_server(str(environment / "bin/python3"), monkeypatch):
        found = statuses()["front end"]
    assert found.state == ("available" if installed else "unavailable")
    if not installed:
        assert str(environment) in found.cause
        assert found.remedy.startswith(f"{environment}/bin/pip install anywidget")
        assert f"mend: {environment}/bin/pip install anywidget" in str(doctor_report([found]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_that_cannot_be_found_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere"))
    with a_server("jupyter-lab", monkeypatch):
        found = statuses()["front end"]
    assert found.state == "degraded"
    assert "where the Jupyter server runs is not known" in found.cause
