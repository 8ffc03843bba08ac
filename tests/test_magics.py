"""The magics in a real InteractiveShell: a measured cell is the cell it would have been without them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import resmon
from resmon import process
from resmon.monitor import Monitor
from resmon.options import CELL_OPTIONS, WORDS
from resmon.results import Measurement
from resmon.sensors.host import HostSensor
from resmon.testing import scripted_gpu
from resmon.views import picture
from tests.leftovers import hooks_of

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def loaded(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell in which resmon watches the real host and a scripted GPU."""
    gpu = scripted_gpu(0, energy_j=lambda t: 300.0 * t)
    monkeypatch.setattr(process.own, "monitor", Monitor(0.1, sensors=[HostSensor(), gpu]))
    shell.run_line_magic("load_ext", "resmon")
    yield shell
    shell.run_line_magic("unload_ext", "resmon")


def run(shell: InteractiveShell, code: str, *, fails: bool = False) -> str:
    """Run a cell as a front end would; returns all it wrote."""
    with capture_output() as captured:
        result = shell.run_cell(code, store_history=True)
    assert result.success is not fails, captured.stdout + captured.stderr
    shown = [output.data["text/plain"] for output in captured.outputs]
    return ANSI.sub("", "\n".join([captured.stdout, captured.stderr, *shown]))


def test_loading_says_in_one_line_what_is_seen(shell: InteractiveShell) -> None:
    said = run(shell, "%load_ext resmon")
    assert said.startswith(f"resmon {resmon.__version__}: ")
    assert "cores" in said
    assert "memory" in said
    assert len(said.strip().splitlines()) == 1
    run(shell, "%unload_ext resmon")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_every_character_gets_what_it_can(encoding: str, tmp_path: Path) -> None:
    """A whole session in a process of its own: loading, words of the magic, a summary, an unloading."""
    session = tmp_path / "session.ipy"
    lines = [
        "%load_ext resmon",
        "%resmon auto on",
        "%resmon status",
        "%resmon",
        "get_ipython().run_cell('%%resmon it\\n1')",
    ]
    session.write_text("\n".join([*lines, "import time; get_ipython().run_cell('time.sleep(2)')", "%resmon stop"]))
    ran = subprocess.run(
        [sys.executable, "-m", "IPython", "--quick", "--colors=NoColor", str(session)],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "IPYTHONDIR": str(tmp_path)},
    )
    said = (ran.stdout + ran.stderr).decode(encoding)
    assert "Error" not in said, said
    for part in ("resmon 0.", "Hz", "it, done in", "needs a Jupyter front end", "estimated", "resmon: stopped"):
        assert part in said, said
    assert "time.sleep(2)" in said


def test_autoloading_is_silent(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        assert shell.extension_manager is not None
        shell.extension_manager.load_extension("resmon")
    assert captured.stdout == ""
    assert captured.stderr == ""


def test_every_cell_is_measured(loaded: InteractiveShell) -> None:
    run(loaded, "x = 1")
    run(loaded, "import time\ntime.sleep(0.3)")
    run(loaded, "1/0", fails=True)
    table = run(loaded, "%resmon cells")
    lines = [line for line in table.splitlines() if line.startswith("In [")]
    assert len(lines) >= 3
    slow = next(line for line in lines if "import time" in line)
    took = re.search(r"([\d.]+)\u202f(ms|s)\b", slow)
    assert took is not None, slow
    assert float(took[1]) * (1e-3 if took[2] == "ms" else 1.0) >= 0.29
    assert "measured" in slow
    assert "ZeroDivisionError" in next(line for line in lines if "1/0" in line)


def test_the_cell_is_the_same_with_and_without_the_magic(loaded: InteractiveShell) -> None:
    assert "Out[" in run(loaded, "40 + 2")
    number = loaded.execution_count
    said = run(loaded, "%%resmon the answer -o m\n40 + 2")
    assert f"Out[{number}]: 42" in said
    assert loaded.user_ns["_"] == 42
    assert loaded.user_ns["Out"][number] == 42
    assert loaded.execution_count == number + 1
    measurement = loaded.user_ns["m"]
    assert measurement.name == "the answer"
    assert f"In [{number}] the answer, done in" in said
    assert "■ measured" in said
    assert "□ not covered" in said


def test_top_level_await_works(loaded: InteractiveShell) -> None:
    run(loaded, "%%resmon -o m\nimport asyncio\nx = await asyncio.sleep(0.15, result='slept')")
    assert loaded.user_ns["x"] == "slept"
    assert loaded.user_ns["m"].duration_s >= 0.15


def test_nested_magics_work(loaded: InteractiveShell) -> None:
    said = run(loaded, "%%resmon\n%%time\ntotal = sum(range(10))")
    assert "Wall time" in said
    assert loaded.user_ns["total"] == 45


@pytest.mark.parametrize("outer", ["%%time", "%%timeit -n1 -r1", "%%prun -q"])
def test_below_a_magic_that_times_its_cell_it_is_that_of_the_whole_cell(loaded: InteractiveShell, outer: str) -> None:
    said = run(loaded, f"{outer}\n%%resmon it -o m\ntotal = sum(range(10))")
    assert said.count("it, done in") == 1
    assert loaded.user_ns["m"].name == "it"


def test_text_that_only_looks_like_it_is_left_alone(loaded: InteractiveShell, tmp_path: Path) -> None:
    said = run(loaded, f"%%writefile {tmp_path}/cell.ipy\n%%resmon it\nx = 1")
    assert "done in" not in said


def test_one_traceback_that_names_the_line_the_user_sees(loaded: InteractiveShell) -> None:
    said = run(loaded, "%%resmon\na = 1\nb = a / 0", fails=True)
    assert said.count("Traceback (most recent call last)") == 1
    assert "line 3" in said
    assert "failed: ZeroDivisionError" in said
    assert "measured up to there" in said


@pytest.mark.parametrize("code", ["%%resmon\nif", "%%resmon\nraise SystemExit(3)", "%%resmon\n%nosuchmagic"])
def test_other_ways_to_fail_are_measured_too(loaded: InteractiveShell, code: str) -> None:
    assert "failed:" in run(loaded, code, fails=True)


def test_an_interrupt_reaches_the_cell_and_the_measurement(loaded: InteractiveShell) -> None:
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main or 0, signal.SIGINT))
    timer.start()
    said = run(loaded, "%%resmon -o m\nimport time\ntime.sleep(20)", fails=True)
    timer.join()
    assert "KeyboardInterrupt" in said
    measurement = loaded.user_ns["m"]
    assert measurement.error == "KeyboardInterrupt"
    assert 0.2 < measurement.duration_s < 10


def test_an_interrupt_after_the_work_takes_no_summary_away(
    loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = [], picture.timeline_png

    def interrupted(m: Measurement) -> bytes | None:
        drawn.append(m)
        if len(drawn) == 1:
            raise KeyboardInterrupt
        return draw(m)

    monkeypatch.setattr(picture, "timeline_png", interrupted)
    said = run(loaded, "%%resmon it\nx = 1")
    assert len(drawn) == 2
    assert said.count("it, done in") == 1
    assert "Error in callback" not in said


def test_unloading_within_a_shown_cell_still_shows_what_it_cost(shell: InteractiveShell) -> None:
    run(shell, "%load_ext resmon")
    said = run(shell, "%%resmon it -o m\n%unload_ext resmon")
    assert said.count("it, done in") == 1
    assert shell.user_ns["m"].notes == ("closed because resmon was unloaded",)


def test_a_stack_of_nested_executions_is_kept_apart(loaded: InteractiveShell) -> None:
    run(loaded, "%%resmon -o outer\nget_ipython().run_cell('%%resmon -o inner\\nx = 5')")
    assert loaded.user_ns["x"] == 5
    assert loaded.user_ns["inner"].duration_s < loaded.user_ns["outer"].duration_s


def test_the_magic_called_by_name_runs_its_body(loaded: InteractiveShell) -> None:
    loaded.run_cell_magic("resmon", "-o m", "y = 7")
    assert loaded.user_ns["y"] == 7
    assert loaded.user_ns["m"].error is None
    with pytest.raises(ZeroDivisionError):
        loaded.run_cell_magic("resmon", "", "1/0")


def test_repeat_runs_the_cell_n_times_and_shows_each(loaded: InteractiveShell) -> None:
    said = run(loaded, "%%resmon --repeat 3 -o runs\ncount = globals().get('count', 0) + 1\ntext = '''a\nb'''")
    assert loaded.user_ns["count"] == 3
    assert loaded.user_ns["text"] == "a\nb"
    assert [m.name for m in loaded.user_ns["runs"]] == ["run 1", "run 2", "run 3"]
    assert "run 3" in said


def test_repeat_awaits_and_stops_at_an_error(loaded: InteractiveShell) -> None:
    body = "import asyncio\nawait asyncio.sleep(0)\nn = globals().get('n', 0) + 1\n1 / (2 - n)"
    code = f"%%resmon --repeat 5 -o runs\n{body}"
    said = run(loaded, code, fails=True)
    assert said.count("Traceback (most recent call last)") == 1
    assert loaded.user_ns["n"] == 2
    assert [m.error for m in loaded.user_ns["runs"]] == [None, "ZeroDivisionError: division by zero"]


def test_quiet_shows_nothing_and_measures(loaded: InteractiveShell) -> None:
    assert run(loaded, "%%resmon --quiet -o m\nx = 3").strip() == ""
    assert loaded.user_ns["m"].duration_s > 0


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("%resmon celsl", "unknown word 'celsl'"),
        ("%resmon auto maybe", "on or off"),
        ("%resmon cells now", "takes no 'now'"),
        ("%%resmon --fast\n1", "unknown option '--fast'"),
        ("%%resmon -o\n1", "-o needs a value"),
        ("%%resmon -o 3x\n1", "not '3x'"),
        ("%%resmon -o class\n1", "not 'class'"),
        ("%resmon record 'open", "No closing quotation"),
        ("%resmon record 'a' b", "one file name"),
        ("%%resmon --repeat 0\n1", "not '0'"),
        ("%%resmon 'unclosed\n1", "No closing quotation"),
    ],
)
def test_a_wrong_word_gets_a_usage_error_and_nothing_is_run(loaded: InteractiveShell, code: str, named: str) -> None:
    said = run(loaded, code + "\nran = True", fails=True)
    assert "UsageError" in said
    assert named in said
    assert "Traceback" not in said
    assert "ran" not in loaded.user_ns


def test_auto_writes_one_line_under_long_cells_only(loaded: InteractiveShell) -> None:
    run(loaded, "%resmon auto on")
    assert run(loaded, "x = 1").strip() == ""
    said = run(loaded, "import time\ntime.sleep(2.05)")
    assert len(said.strip().splitlines()) == 1
    assert "measured" in said
    run(loaded, "%resmon auto off")


def test_stop_start_and_status(loaded: InteractiveShell) -> None:
    assert "running" in run(loaded, "%resmon status")
    run(loaded, "%resmon stop")
    assert "stopped" in run(loaded, "%resmon status")
    assert not any(t.name.startswith("resmon") for t in threading.enumerate())
    run(loaded, "%%resmon -o m\nx = 1")
    run(loaded, "%resmon start")
    assert "running" in run(loaded, "%resmon status")
    run(loaded, "%%resmon -o m\nimport time\ntime.sleep(0.2)")
    assert loaded.user_ns["m"].energy.measured_j > 0


def test_a_cell_that_ran_while_measuring_was_stopped_says_so(loaded: InteractiveShell) -> None:
    run(loaded, "%resmon stop")
    assert "measuring was stopped; %resmon start" in run(loaded, "%%resmon\nx = 1")
    said = run(loaded, "%resmon doctor")
    assert "monitor" in said
    assert "stopped: no sensor is read" in said
    assert "looking" not in said
    run(loaded, "%resmon start")
    assert "no sensor is read" not in run(loaded, "%resmon doctor")
    assert "measuring was stopped" not in run(loaded, "%%resmon\nx = 1")


def test_record_takes_a_quoted_name_and_a_home(
    loaded: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my runs").mkdir()
    for given, meant in (
        ("'~/my runs/a.ndjson'", "my runs/a.ndjson"),
        ("~/b.ndjson", "b.ndjson"),
        (f'"{tmp_path}/c d.ndjson"', "c d.ndjson"),
        (f"{tmp_path}/e f.ndjson", "e f.ndjson"),
    ):
        run(loaded, f"%resmon record {given}")
        assert str(tmp_path / meant) in run(loaded, "%resmon record off")
        assert resmon.replay(tmp_path / meant).play().samples
    assert "b.ndjson exists already; name another file" in run(loaded, "%resmon record ~/b.ndjson", fails=True)


@pytest.mark.parametrize("prompt", [">>> ", "In [3]: "])
def test_a_magic_copied_with_its_prompt_is_followed(loaded: InteractiveShell, prompt: str) -> None:
    assert "copied, done in" in run(loaded, f"{prompt}%%resmon copied -o m\n{prompt}x = 1")
    assert loaded.user_ns["m"].name == "copied"


def test_doctor_has_a_line_for_each_sensor_and_for_the_front_end(loaded: InteractiveShell) -> None:
    said = run(loaded, "%resmon doctor")
    assert "host" in said
    assert "gpu0" in said
    assert "panel" in said


def test_completion_and_help(loaded: InteractiveShell, tmp_path: Path) -> None:
    (tmp_path / "trace.ndjson").touch()

    def completed(line: str) -> set[str]:
        with provisionalcompleter():
            return {completion.text for completion in loaded.Completer.completions(line, len(line))}

    assert completed("%resmon ") == {word for word in WORDS if word}  # and none of Python's
    assert completed("%resmon d") == completed("resmon d") == {"doctor"}
    assert completed("%resmon auto ") == {"on", "off"}
    assert completed("%resmon auto o") == {"on", "off"}
    assert "off" in completed("%resmon record ")
    assert f"{tmp_path}/trace.ndjson" in completed(f"%resmon record {tmp_path}/tr")
    assert not {"cells", "doctor"} & completed("%resmon cells ")
    assert completed("%%resmon -") == set(CELL_OPTIONS)
    assert completed("%%resmon --ranks 2 --output ") == {"first", "all"}
    assert "cells" not in completed("resmon.")
    assert "%resmon doctor" in run(loaded, "%resmon?")


def test_a_cell_within_a_cell_does_not_take_the_number_of_the_next(loaded: InteractiveShell) -> None:
    run(loaded, "%%resmon outer\n%%capture\nx = 1")
    run(loaded, "y = 2")
    numbers = re.findall(r"^In \[\d+\]", run(loaded, "%resmon cells"), re.MULTILINE)
    assert len(numbers) == len(set(numbers))
    assert re.search(r"^cell +x = 1", run(loaded, "%resmon cells"), re.MULTILINE)


TRACKED = """%%resmon -o m {options}
import resmon
for epoch in resmon.track(range(2), disable=True):
    for batch in resmon.track(range(5), items_per_step=64, items_unit='images', disable=True):
        pass"""


def test_a_cell_has_the_items_that_were_counted_in_it(loaded: InteractiveShell) -> None:
    said = run(loaded, TRACKED.format(options=""))
    m = loaded.user_ns["m"]
    assert (m.items, m.items_unit) == (640, "images")  # of loops within loops, the innermost
    assert "images/s" in said
    run(loaded, TRACKED.format(options="--repeat 2"))
    assert [run.items for run in loaded.user_ns["m"]] == [640, 640]
    run(loaded, "%%resmon -o m\nwith resmon.measure(items=2, items_unit='tokens'): pass\n" + TRACKED.partition("\n")[2])
    assert loaded.user_ns["m"].items is None  # of two kinds
    run(loaded, "%%resmon -o m\n%%capture\nwith resmon.measure(items=2): pass")
    assert loaded.user_ns["m"].items == 2


def test_loading_twice_reloading_and_unloading_leave_one_or_none(loaded: InteractiveShell) -> None:
    run(loaded, "%load_ext resmon")
    assert len(hooks_of(loaded)) == len({*hooks_of(loaded)})
    run(loaded, "%reload_ext resmon")
    run(loaded, "x = 1")
    run(loaded, "%unload_ext resmon")
    assert hooks_of(loaded) == []
    assert "UsageError" in run(loaded, "%resmon cells", fails=True)


def test_unloading_gives_the_monitor_its_rate_back(loaded: InteractiveShell) -> None:
    monitor = resmon.get_monitor()
    run(loaded, "x = 1")
    assert monitor.sampler.interval_s == 2.0
    run(loaded, "%unload_ext resmon")
    assert monitor.sampler.interval_s == monitor.interval_s == 0.1


def test_a_window_left_open_is_named_at_unload(loaded: InteractiveShell) -> None:
    run(loaded, "import resmon\nw = resmon.measure('forgotten').open()")
    assert "'forgotten'" in run(loaded, "%unload_ext resmon")
    assert loaded.user_ns["w"].measurement is not None


def test_a_failing_sensor_never_harms_the_cell(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: float) -> float:
        raise OSError("the driver fell over")

    gpu = scripted_gpu(0, power_w=broken)
    monkeypatch.setattr(process.own, "monitor", Monitor(0.05, sensors=[HostSensor(), gpu]))
    run(shell, "%load_ext resmon")
    said = run(shell, "%%resmon\nimport time\ntime.sleep(0.2)\n6 * 7")
    assert "42" in said
    assert "the driver fell over" in run(shell, "%resmon doctor")
    gpu.values[gpu.channels[3].id] = 100.0
    time.sleep(0.2)
    assert "the driver fell over" not in run(shell, "%resmon doctor")
    run(shell, "%unload_ext resmon")


def test_an_async_cell_that_is_cancelled_is_measured(loaded: InteractiveShell) -> None:
    said = run(loaded, "%%resmon -o m\nimport asyncio\nraise asyncio.CancelledError", fails=True)
    assert loaded.user_ns["m"].error == asyncio.CancelledError.__name__
    assert "failed: CancelledError" in said


def test_cell_text_is_never_markup_in_the_summary(loaded: InteractiveShell) -> None:
    with capture_output() as captured:
        loaded.run_cell("%%resmon '<img src=x onerror=alert(1)>'\nx = 1", store_history=True)
    (shown,) = [o.data["text/html"] for o in captured.outputs if "text/html" in o.data]
    assert "<img src=x" not in shown
    assert "&lt;img src=x" in shown


def test_a_long_first_line_is_cut_and_says_so(loaded: InteractiveShell) -> None:
    said = run(loaded, "%%resmon\n" + "x" * 50 + " = 1; " + "y" * 50 + " = 2")
    assert f"{'x' * 50} = 1; yyy…, done in" in said
