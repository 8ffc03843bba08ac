"""What is sent to ranks, and what is refused before any begins."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import resmon
from resmon.distributed import payload
from resmon.distributed.rundir import RUN, RunDirectory
from resmon.distributed.stacks import read_place
from resmon.errors import LaunchError, NotPicklableError, RankError

LOCK = threading.Lock()


def nothing() -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def _monitor_stopped() -> Iterator[None]:
    yield
    resmon.get_monitor().stop()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"ranks": 0}, ValueError, "ranks must be from 1 to 256 processes, not 0"),
        ({"ranks": -1}, ValueError, "not -1"),
        ({"ranks": 2.5}, TypeError, r"ranks must be a whole number of processes, such as ranks=2, not 2\.5"),
        ({"ranks": "2"}, TypeError, "not '2'"),
        ({"ranks": True}, TypeError, "not True"),
        ({"ranks": 10**6}, ValueError, "from 1 to 256"),
        ({"timeout_s": 0}, ValueError, "above 0, or None for no limit, not 0"),
        ({"timeout_s": float("nan")}, ValueError, "not nan"),
        ({"timeout_s": "5"}, TypeError, "a number of seconds or None, not '5'"),
        ({"backend": 3}, TypeError, "not 3"),
        ({"output": "some"}, ValueError, "not 'some'"),
        ({"ranks": 2, "output": [2]}, ValueError, r"ranks from 0 to 1, not \[2\]"),
        ({"args": 10}, TypeError, r"args must be a tuple or list, such as args=\(10,\), not 10"),
        ({"args": "data.csv"}, TypeError, "not 'data.csv'"),
        ({"kwargs": [1]}, TypeError, r"kwargs must map names to values, such as kwargs={'epochs': 10}, not \[1\]"),
        ({"kwargs": {1: 2}}, TypeError, "not {1: 2}"),
        ({"on": 5}, TypeError, "on=5 is no place for ranks"),
        ({"on": "tcp://10.0.0.1:8786"}, TypeError, r"on=distributed\.Client\('tcp://10\.0\.0\.1:8786'\)"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        resmon.launch(nothing, **arguments)


def test_what_is_no_function_is_named() -> None:
    with pytest.raises(TypeError, match="fn must be a function, not 'train'"):
        resmon.launch("train")  # type: ignore[arg-type]  # what is wrong is the point


@pytest.mark.parametrize("variable", [RUN, "TORCHELASTIC_RUN_ID"])
def test_a_rank_cannot_launch(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "x")
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(LaunchError, match="this is rank 3 of a run already"):
        resmon.launch(nothing)


def closure() -> Callable[[], object]:
    held = {"inner": [1, LOCK]}
    return lambda: held


class Holder:
    def __init__(self) -> None:
        self.connection = LOCK

    def method(self) -> None:
        """Do nothing."""


def by_value(code: str) -> Any:
    """What a notebook would define: pickled by value."""
    scope: dict[str, Any] = {"__name__": "__main__", "LOCK": LOCK, "threading": threading}
    exec(code, scope)
    return scope["f"]


@pytest.mark.parametrize(
    ("fn", "args", "words"),
    [
        (
            by_value("def f(): return LOCK"),
            (),
            "f cannot be sent to its ranks: its global 'LOCK', of type _thread.lock,",
        ),
        (by_value("def g(): return LOCK\ndef f(): return g()"), (), "its global 'g' → global 'LOCK'"),
        (by_value("def f(): return [LOCK for _ in range(3)]"), (), "its global 'LOCK'"),
        (by_value("def f(x=LOCK): pass"), (), "its default 0, of type _thread.lock"),
        (closure(), (), r"variable 'held' → \['inner'\] → \[1\], of type _thread.lock"),
        (Holder().method, (), r"its object → \.connection, of type _thread.lock"),
        (nothing, ([1, {"a": LOCK}],), r"argument 0 → \[1\] → \['a'\], of type _thread.lock"),
        (
            nothing,
            ((n for n in range(3)),),
            "argument 0, of type generator, does not pickle: cannot pickle 'generator'",
        ),
    ],
)
def test_what_does_not_pickle_is_named_with_its_place(
    fn: Callable[..., Any], args: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(NotPicklableError, match=words) as caught:
        resmon.launch(fn, args=args)
    assert isinstance(caught.value, TypeError)
    assert "Make it inside the function, or pass what it is made from" in str(caught.value)


# -- what travels ------------------------------------------------------------------------------------------------------


def test_a_call_travels(tmp_path: Path) -> None:
    fn = by_value("n = 3\ndef g(x): return x + n\ndef f(a, b): return g(a) * b")
    path = tmp_path / "payload"
    path.write_bytes(payload.dump_work(fn, (1,), {"b": 2}, "gloo"))
    work = payload.load_work(path)
    assert work.function(*work.args, **work.kwargs) == 8
    assert work.backend == "gloo"


def raising() -> None:
    raise RankError("told", 3, "host")


def test_a_failure_travels_with_its_traceback(tmp_path: Path) -> None:
    try:
        raising()
    except RankError as error:
        packed, text = payload.dump_failure(error, "here", 5.0)
    path = tmp_path / "failure"
    path.write_bytes(packed)
    failure = payload.load_failure(path)
    assert failure is not None
    assert (failure.kind, failure.message, failure.host, failure.at_s) == ("RankError", "told", "here", 5.0)
    assert isinstance(failure.exception, RankError)
    assert failure.exception.rank == 3
    assert text == failure.traceback
    assert "in raising" in text
    assert payload.load_failure(tmp_path / "none") is None


def test_a_failure_that_does_not_pickle_travels_as_text(tmp_path: Path) -> None:
    error = ValueError("told", LOCK)
    path = tmp_path / "failure"
    path.write_bytes(payload.dump_failure(error, "here", 5.0)[0])
    failure = payload.load_failure(path)
    assert failure is not None
    assert failure.kind == "ValueError"
    assert failure.exception is None


class MuteError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_failure_that_cannot_say_what_it_is_travels_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "failure"
    path.write_bytes(payload.dump_failure(MuteError(), "here", 5.0)[0])
    failure = payload.load_failure(path)
    assert failure is not None
    assert (failure.kind, failure.message) == ("MuteError", "<exception str() failed>")
    assert "MuteError: <exception str() failed>" in failure.traceback


def test_a_measurement_of_what_cannot_say_how_it_failed() -> None:
    with pytest.raises(MuteError), resmon.measure("mute") as window:
        raise MuteError
    assert window.measurement is not None
    assert window.measurement.error == "MuteError: <exception str() failed>"


# -- stacks and directories --------------------------------------------------------------------------------------------


def test_where_a_rank_waits_is_read_from_its_stack(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    path.write_text(
        "Thread 0x01 (most recent call first):\n"
        '  File "/x/threading.py", line 1 in wait\n\n'
        "Current thread 0x02 (most recent call first):\n"
        '  File "/x/site-packages/torch/distributed/distributed_c10d.py", line 3 in all_reduce\n'
        '  File "/x/site-packages/torch/distributed/c10d_logger.py", line 4 in wrapper\n'
        '  File "/tmp/ipykernel_1/2.py", line 7 in step\n'
        '  File "/tmp/ipykernel_1/2.py", line 9 in train\n'
    )
    place = read_place(path)
    assert place is not None
    assert place.waits_in == "all_reduce"
    assert str(place.frame) == "line 7 of step"
    path.write_text("")
    assert read_place(path) is None


def test_old_runs_are_removed_and_those_of_living_processes_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    first = RunDirectory.make()
    alive = first.path.with_name("1-00000000")
    alive.mkdir()
    (first.path / "x").touch()
    for _ in range(10):
        RunDirectory.make()
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert first.path.name not in left
    assert alive.name in left
    assert len(left) <= 6
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_notebook_sent_to_its_ranks_is_removed_at_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESMON_RECORD_DIR", str(tmp_path))
    first = RunDirectory.make()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (RunDirectory(first.path.with_name(f"{pid}-00000000")) for pid in (ended.pid, 1))
    for directory in (dead, alive):
        directory.path.mkdir()
        for path in (directory.payload, directory.log(0), directory.path / "payload.part", directory.result(0)):
            path.touch()
    RunDirectory.make()
    assert [path.name for path in dead.path.iterdir()] == ["rank-0.log"]
    assert len(list(alive.path.iterdir())) == 4
