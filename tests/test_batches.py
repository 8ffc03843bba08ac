"""Rows that are made of several ticks together are those that each tick makes alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resmon import ticks
from resmon.energy.edges import CounterRead
from resmon.facts import Channel
from resmon.history import History
from resmon.sampler import Sampler
from resmon.sensors import process_sizes, process_tree
from resmon.sensors.host import HostSensor
from resmon.sensors.rated import RatedSensor
from resmon.testing import ManualClock, scripted_gpu
from resmon.ticks import HOLD_S, HOLD_TICKS
from tests.fake_root import cpu_lines, machine, process_files, write

if sys.platform != "linux":
    pytest.skip("only direct reads of /proc are put off", allow_module_level=True)


class Held(ManualClock):
    """Moved by hand, as a thread's clock would move: ticks may hold back their rows."""

    threaded = True


class Seen:
    """A writer that keeps what it is given, in the order in which it is."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, facts: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        self.said.append(f"start {[channel.id for channel in channels]}")

    def add_rows(self, rows: Sequence[tuple[float, Sequence[float]]]) -> None:
        self.said += [f"row {at_s!r} {list(values)!r}" for at_s, values in rows]

    def event(self, event: Mapping[str, Any]) -> None:
        self.said.append(f"event {event!r}")

    def poll(self, source_id: str, read: CounterRead) -> None:
        self.said.append(f"poll {source_id} {read!r}")

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


class Watching:
    """A sampler of a made machine, with the CPU's model, a scripted GPU and a writer."""

    def __init__(self, root: Path, clock: ManualClock, *, whole: bool) -> None:
        self.clock = clock
        self.host = HostSensor(str(root), pid=1)
        self.host.discover()
        if whole:
            self.host.take = self.host.parse = None  # only `read` is left of it
        rated = RatedSensor(self.host)
        rated.discover()
        self.history = History()
        gpu = scripted_gpu(0, power_w=lambda t: 100.0 + t % 7, energy_j=lambda t: 13.0 * int(10 * t))
        self.sampler = Sampler((self.host, rated, gpu), self.history, clock, 0.5)
        self.seen = Seen()
        self.sampler.add_writer(self.seen)
        self.sampler.tick()

    def waiting(self) -> int:
        return len(self.sampler.intake)

    def end(self) -> list[str]:
        self.sampler.remove_writer(self.seen)
        self.host.close()
        return self.seen.said


STEP = st.tuples(
    st.sampled_from([0.1, 0.5, 0.5, 1.0, 2.0]),
    st.integers(0, 40),  # busy ticks
    st.sets(st.integers(7, 10), max_size=3),  # children
    st.sampled_from(["", "", "", "settle", "event", "instant", "asked"]),
    st.booleans(),  # a file that cannot be read
)


def change(root: Path, number: int, busy: int, children: set[int], bad: bool) -> None:
    """Make the machine move on."""
    write(root, process_files(1, ticks=number, resident=1000 + busy, children=" ".join(map(str, sorted(children)))))
    for pid in range(7, 11):
        if pid in children:
            write(root, process_files(pid, ticks=number * (pid - 6), resident=500 + busy * pid, shared=pid))
        elif (root / f"proc/{pid}").exists():
            write(root, {f"proc/{pid}/stat": "", f"proc/{pid}/statm": ""})
    write(
        root,
        {
            "proc/stat": cpu_lines((busy + number, number * 9), (number, number * 10), processes=100 + len(children)),
            "proc/meminfo": "" if bad else f"MemTotal: 8388608 kB\nMemAvailable: {4_000_000 + busy * 1000} kB\n",
            "proc/loadavg": f"{busy / 10} 0.40 0.30 1/100 1234\n",
            "proc/diskstats": f"   8       0 sda 1 0 {number * 70} 0 1 0 {busy * number} 0 0 0 0\n",
            "proc/net/dev": f"a\nb\n  eth0: {number * 50} 0 0 0 0 0 0 0 {number * 9} 0 0 0 0 0 0 0\n",
        },
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=3, max_size=40))
def test_rows_of_a_batch_are_those_of_the_ticks(steps: list[tuple[float, int, set[int], str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in (process_tree, process_sizes):
            patch.setattr(module, "BACKOFF", 0.0)  # what depends on how long a look really took
        patch.setattr(process_sizes, "_SLICE_S", 1e9)
        root = machine(Path(folder), cores=2)
        write(root, {"proc/1/cgroup": "", "proc/1/mountinfo": "", "sys/block/sda/slaves/.keep": ""})
        (root / "sys/block/sda/slaves/.keep").unlink()
        change(root, 1, 0, set(), bad=False)
        at_once = Watching(root, ManualClock(), whole=True)
        together = Watching(root, Held(), whole=False)
        for number, (step_s, busy, children, act, bad) in enumerate(steps, 2):
            change(root, number, busy, children, bad)
            for watching in (at_once, together):
                watching.clock.advance(step_s)
                if act == "event":
                    watching.sampler.note({"cell": number})
                if act == "instant":
                    watching.sampler.instant(watching.clock.now())
                if act == "asked":
                    watching.sampler.request()
                watching.sampler.tick()
            assert at_once.waiting() == 0
            if act == "settle":
                assert together.history.newest_s == together.clock.now()
            if act in ("event", "instant", "asked"):
                assert together.waiting() == 0
        meters = [
            [watching.sampler.meter(source.id).reading() for source in watching.sampler.sources]  # type: ignore[union-attr]
            for watching in (at_once, together)
        ]
        assert meters[0] == meters[1]
        assert repr(at_once.history.view().to_pandas()) == repr(together.history.view().to_pandas())
        assert at_once.end() == together.end()


def test_what_is_looked_for_seldom_ends_no_batch_unless_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, cores=2)
    write(root, {"proc/1/cgroup": "", "proc/1/mountinfo": ""})
    (root / "sys/block/sda/slaves").mkdir(parents=True)
    change(root, 1, 0, set(), bad=False)
    at_once = Watching(root, ManualClock(), whole=True)
    together = Watching(root, Held(), whole=False)
    together.sampler.remove_writer(together.seen)  # only who asks has rows made
    monkeypatch.setattr(ticks, "HOLD_S", 1e9)
    monkeypatch.setattr(ticks, "HOLD_TICKS", 1e9)
    held = []
    for number in range(2, 150):
        change(root, number, 3, set(), bad=False)
        if number >= 75:
            (root / "sys/block/nvme0n1/slaves").mkdir(parents=True, exist_ok=True)
            more = f" 259       0 nvme0n1 1 0 {number * 300} 0 1 0 {number * 200} 0 0 0 0\n"
            write(root, {"proc/diskstats": (root / "proc/diskstats").read_text() + more})
        if number == 110:
            monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
        for watching in (at_once, together):
            watching.clock.advance(1.0)
            watching.sampler.tick()
        held.append(together.waiting())
    assert max(held) >= 60, "two looks at the limits and one at the devices, and nothing was made of any tick"
    rows, same = at_once.history.view(), together.history.view()
    assert rows.times == same.times
    for channel in rows.channels:
        assert rows.column(channel) == same.column(channel), channel
    read = rows.column("host.disk_read_bytes_per_s")
    assert read[-1] == (70 + 300) * 512
    assert read[60] == 70 * 512
    assert at_once.host.limits.cpu_cores == together.host.limits.cpu_cores == 1
    at_once.end()
    together.end()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    root = machine(tmp_path / "root", cores=2)
    write(root, {"proc/1/cgroup": "", "proc/1/mountinfo": ""})
    change(root, 1, 0, set(), bad=False)
    return root


def test_ticks_are_held_back_no_longer_than_is_said(made: Path) -> None:
    watching = Watching(made, Held(), whole=False)
    most = oldest_s = 0.0
    for _ in range(100):
        watching.clock.advance(0.5)
        watching.sampler.tick()
        said = [line for line in watching.seen.said if line.startswith("row")]
        held = watching.sampler.ticks - len(said)
        most = max(most, held)
        oldest_s = max(oldest_s, (held - 1) * 0.5)
    assert 6 <= most <= HOLD_TICKS
    assert oldest_s <= HOLD_S
    watching.end()


def test_files_that_cannot_be_parsed_are_one_sensors_failure(made: Path) -> None:
    watching = Watching(made, Held(), whole=False)
    while watching.waiting() or watching.clock.now() < 16:  # past the start, and a batch has just been made
        watching.clock.advance(0.5)
        watching.sampler.tick()
    for number in range(2, 7):
        change(made, number, 3, set(), bad=False)
        if number == 4:
            write(made, {"proc/stat": cpu_lines((5, 5), (5, 5)).replace("cpu  10", "cpu  x")})
        watching.clock.advance(0.5)
        watching.sampler.tick()
    assert watching.waiting() == 5
    assert watching.sampler.failures == {}
    view = watching.history.view(watching.clock.now() - 2.1)
    assert [value is None for value in view.column("host.memory_used_bytes")] == [False, False, True, False, False]
    (power,) = [channel for channel in view.channels if channel.startswith("gpu:") and channel.endswith("power_w")]
    assert None not in view.column(power)
    assert watching.sampler.failures == {}, "it has recovered"
    write(made, {"proc/stat": cpu_lines((9, 9), (9, 9)).replace("cpu  18", "cpu  x")})
    watching.clock.advance(0.5)
    watching.sampler.tick()
    watching.sampler.settle()
    assert watching.sampler.failures["host"].cause.startswith("ValueError")
    watching.end()


def test_a_row_that_cannot_be_kept_is_lost_alone(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching(made, Held(), whole=False)
    for number in range(12):
        change(made, number + 2, 3, set(), bad=False)
        write(made, {"proc/loadavg": f"{'1e300' if number < 7 else '0.5'} 0 0 1/100 1\n"})  # no column can hold that
        watching.clock.advance(1.0)
        watching.sampler.tick()
    rows = watching.history.view()
    assert len(rows) < watching.sampler.ticks
    assert rows.times[-1] == watching.clock.now()
    assert "what a tick read is lost" in caplog.text
    watching.end()


def test_an_interrupt_that_asks_amid_the_making_of_rows_gets_an_answer(made: Path) -> None:
    """A signal's handler runs between two steps of whatever the thread does, and may read the history there."""
    watching = Watching(made, Held(), whole=False)
    for _ in range(3):
        watching.clock.advance(0.5)
        watching.sampler.tick()
    asked: list[float | None] = []
    parse = watching.host.parse
    assert parse is not None

    def interrupted(taken: object) -> Sequence[float]:
        asked.append(watching.history.newest_s)
        return parse(taken)

    watching.sampler._plan = None
    watching.host.parse = interrupted
    watching.sampler.tick()
    watching.clock.advance(0.5)
    watching.sampler.tick()
    assert watching.history.newest_s == watching.clock.now()
    assert asked
    assert watching.history.view().times == sorted(watching.history.view().times)
    watching.end()


def test_an_interrupt_while_rows_are_handed_on_does_not_end_the_making_of_rows(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks makes rows on its own thread, the main one too, and that may be interrupted anywhere."""
    watching = Watching(made, Held(), whole=False)
    watching.clock.advance(0.5)
    watching.sampler.tick()

    def interrupted(rows: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watching.sampler.intake.writers, "add_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            watching.sampler.settle()
    before = len(watching.history.view())
    watching.clock.advance(0.5)
    watching.sampler.tick()
    watching.sampler.settle()
    assert len(watching.history.view()) == before + 1
    watching.end()
