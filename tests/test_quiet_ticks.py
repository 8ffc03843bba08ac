"""Ticks that have nothing to find out: what they read is what a whole tick reads, and whatever happens ends them."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resmon.monitor import Monitor
from resmon.sensors.host import HostSensor
from resmon.sensors.linux import _NOT_QUICK, LinuxHost
from resmon.sensors.process_files import Process
from resmon.sensors.process_tree import ProcessTree
from resmon.testing import scripted_gpu
from resmon.ticks import HOLD_TICKS
from tests.fake_root import GIB, V2_MOUNT, cpu_lines, machine, write
from tests.monitors import eventually
from tests.test_batches import Held, Watching

if sys.platform != "linux":
    pytest.skip("only direct reads of /proc are put off", allow_module_level=True)


class Ticking:
    """The host, ticked by hand, by ``take`` where that will do."""

    def __init__(self, root: str = "/") -> None:
        self.step_s = 2.0
        self.sensor = HostSensor(root)
        self.sensor.discover()
        self.at_s = 0.0

    def tick(self) -> dict[str, float]:
        self.at_s += self.step_s
        assert self.sensor.take is not None
        assert self.sensor.parse is not None
        taken = self.sensor.take(self.at_s)
        values = self.sensor.read(self.at_s) if taken is None else self.sensor.parse(taken)
        return dict(zip([channel.quantity for channel in self.sensor.channels], values, strict=True))


def test_ticks_while_nobody_is_started_ask_nothing_and_miss_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    take = ProcessTree.take

    def counted(self: ProcessTree, at_s: float, *marks: Any) -> object:
        asked.append(at_s)
        return take(self, at_s, *marks)

    monkeypatch.setattr(ProcessTree, "take", counted)
    host = Ticking()
    busy = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    try:
        for number in range(50):
            before = host.tick()
            if number == 5:  # the kernel shows that it counts what is started
                subprocess.run([sys.executable, "-c", ""], check=True)
        assert len(asked) < 50, "some ticks read only, unless the machine starts processes all the time"
        assert before["tree_processes"] == 1
        child = subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE)
        try:
            assert host.tick()["tree_processes"] == 2
            asked.clear()
            for _ in range(20):
                assert host.tick()["tree_processes"] == 2
            assert len(asked) < 20, "who is known is read without asking who else there is"
            while host.sensor._reads._quick is _NOT_QUICK:  # type: ignore[union-attr]  # direct reads
                host.tick()
        finally:
            child.communicate(b"\n")
        after = host.tick()
        assert after["tree_processes"] == 1
        assert after["tree_cpu_time_s"] - before["tree_cpu_time_s"] >= 0.3
        for _ in range(5):
            before = host.tick()
        subprocess.run([sys.executable, "-c", busy], input=b"\n", check=True)
        assert host.tick()["tree_cpu_time_s"] - before["tree_cpu_time_s"] >= 0.3, "it came and went between two ticks"
    finally:
        host.sensor.close()


@pytest.mark.parametrize("case", ["no clock", "its number is used again"])
def test_ticks_with_children_go_by_clocks_only_where_these_are_theirs(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "no clock":  # a kernel that has none
        monkeypatch.setattr(Process, "find_clock", lambda self: None)
    host = Ticking()
    try:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            for _ in range(20):
                assert host.tick()["tree_processes"] == 2
            assert isinstance(host.sensor._reads, LinuxHost)
            if case == "no clock":
                assert host.sensor._reads._quick is _NOT_QUICK
            else:
                while host.sensor._reads._quick is _NOT_QUICK:
                    host.tick()
                monkeypatch.setattr("resmon.sensors.linux._clock", lambda clock: 1e6)
                host.step_s = 0.2  # what is due seldom is not now
                child.communicate(b"\n")
                after = host.tick()
                assert after["tree_processes"] == 1
                assert after["tree_cpu_time_s"] < 1e6
    finally:
        host.sensor.close()


def test_the_memory_of_a_child_is_read_only_when_it_has_run_since() -> None:
    grow = (
        "import sys\nheld = []\nfor line in sys.stdin: held.append(bytes(range(256)) * (100 << 12)); print(flush=True)"
    )
    host = Ticking()
    read: list[int] = []
    try:
        with subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None

            def grown() -> None:
                child.stdin.write(b"\n")  # type: ignore[union-attr]
                child.stdin.flush()  # type: ignore[union-attr]
                child.stdout.readline()  # type: ignore[union-attr]

            grown()
            for _ in range(20):
                host.tick()
            assert isinstance(host.sensor._reads, LinuxHost)
            files = host.sensor._reads._files
            read_file = files.read

            def counted(fd: int) -> bytes:
                read.append(fd)
                return read_file(fd)

            host.step_s = 0.2  # what is due seldom is not now
            (process,) = host.sensor._reads.tree._kept
            statm = process.statm
            files.read = counted
            before = host.tick()["memory_tree_bytes"]
            for _ in range(100):  # until two ticks in a row in which nothing was started on this machine
                read.clear()
                assert abs(host.tick()["memory_tree_bytes"] - before) < 20 << 20
                if statm not in read:
                    break
            else:
                pytest.fail("it was read in every tick")
            grown()
            assert host.tick()["memory_tree_bytes"] - before > 80 << 20
            assert statm in read
            child.stdin.close()
    finally:
        host.sensor.close()


CHANGE = st.tuples(
    st.sampled_from([0.5, 0.5, 0.5, 0.5, 45.0]),
    st.integers(0, 50),  # busy
    st.sampled_from([False, False, False, True]),  # a process is started somewhere
    st.sampled_from(["", "", "", "", "no stat", "no memory", "a limit goes", "a limit comes"]),
)


SETTLED = [(2.0, 1, True, ""), (2.0, 2, True, ""), (2.0, 3, False, ""), (0.5, 4, False, "")]
LATER = [(0.5, 5, False, ""), (61.0, 6, False, ""), (0.5, 7, False, ""), (0.5, 8, False, "")]


@settings(max_examples=60, deadline=None)
@example(limited=True, changes=[*SETTLED, (61.0, 5, False, "a limit goes"), *LATER])
@example(limited=False, changes=[*SETTLED, (61.0, 5, False, "a limit comes"), *LATER])
@example(limited=False, changes=[*SETTLED, (0.5, 5, False, "a limit comes"), *LATER])
@given(limited=st.booleans(), changes=st.lists(CHANGE, min_size=3, max_size=60))
def test_a_tick_that_only_reads_gives_what_a_whole_one_gives(
    tmp_path_factory: pytest.TempPathFactory, limited: bool, changes: list[tuple[float, int, bool, str]]
) -> None:
    root = machine(tmp_path_factory.mktemp("root"), cores=2)
    limits = (
        {"cpu.max": "50000 100000", "memory.max": 2 * GIB} if limited else {"cpu.max": "max 1", "memory.max": "max"}
    )
    write(root, {"proc/self/cgroup": "0::/job\n", "proc/self/mountinfo": V2_MOUNT})
    write(root, {f"sys/fs/cgroup/job/{name}": content for name, content in limits.items()})
    write(root, {"sys/fs/cgroup/job/cpu.stat": "usage_usec 1\n", "sys/fs/cgroup/job/memory.current": GIB})
    write(root, {"sys/fs/cgroup/job/memory.stat": "anon 1\ninactive_file 5\n"})
    write(root, {"proc/self/smaps_rollup": "Pss: 9000 kB\nAnonymous: 5000 kB\nPss_Anon: 5000 kB\n"})
    quick, whole = Ticking(str(root)), Ticking(str(root))
    for host in (quick, whole):
        assert isinstance(host.sensor._reads, LinuxHost)
        host.sensor._reads.tree._may_ask = True  # as of the machine's own /proc
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "process_time", lambda: 5.0)
        processes = 100
        for number, (step_s, busy, starts, act) in enumerate(changes, 1):
            processes += starts
            stat = cpu_lines((busy + number, number * 9), (number, number * 10), processes=processes)
            write(
                root,
                {
                    "proc/stat": "" if act == "no stat" else stat,
                    "proc/meminfo": "" if act == "no memory" else f"MemAvailable: {4_000_000 + busy} kB\n",
                    "proc/self/statm": f"2000 {1000 + busy} 100 1 0 1 0\n",
                    "sys/fs/cgroup/job/cpu.stat": f"usage_usec {number * 400_000}\n",
                    "sys/fs/cgroup/job/memory.current": "" if act == "no memory" else GIB + busy,
                    "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {busy}\n",
                },
            )
            if act == "a limit goes":
                write(root, {"sys/fs/cgroup/job/cpu.max": "max 1", "sys/fs/cgroup/job/memory.max": "max"})
            if act == "a limit comes":
                write(root, {"sys/fs/cgroup/job/cpu.max": "50000 100000", "sys/fs/cgroup/job/memory.max": 2 * GIB})
            quick.step_s = whole.step_s = step_s
            assert isinstance(whole.sensor._reads, LinuxHost)
            whole.sensor._reads._quick = _NOT_QUICK
            assert repr(quick.tick()) == repr(whole.tick()), f"change {number}"
    for host in (quick, whole):
        host.sensor.close()


class Failing(HostSensor):
    """Reads what the host does, until it is told to fail."""

    fails = False

    def discover(self) -> None:
        super().discover()
        take = self.take

        def taking(at_s: float) -> object:
            if self.fails:
                raise OSError("gone for a moment")
            assert take is not None
            return take(at_s)

        self.take = taking


def held(monitor: Monitor) -> bool:
    return eventually(lambda: len(monitor.sampler.intake) >= 3)


def test_a_sensor_that_fails_amid_quiet_ticks_is_unknown_and_comes_back() -> None:
    sensor = Failing()
    with Monitor(0.05, sensors=[sensor]) as monitor:
        assert held(monitor)
        ticks = monitor.sampler.ticks
        sensor.fails = True
        assert eventually(lambda: monitor.sampler.ticks >= ticks + 3)
        monitor.history()
        assert "gone for a moment" in monitor.sampler.failures["host"].cause
        sensor.fails = False
        assert eventually(lambda: monitor.sampler.read_now(1.0) and not monitor.sampler.failures)
        memory = monitor.history().column("host.memory_tree_bytes")
        assert None in memory
        assert memory[-1]


def test_what_comes_amid_quiet_ticks_is_read_from_the_next_tick_on() -> None:
    read: list[float] = []

    def power_w(at_s: float) -> float:
        read.append(at_s)
        return 100.0

    with Monitor(0.25, sensors=[HostSensor()]) as monitor:
        assert held(monitor)
        gpu = scripted_gpu(0, power_w=power_w)
        read.clear()
        monitor.sampler.add(gpu)
        time.sleep(1.0)  # nobody asks for rows, which would wake the thread as well: they are due in 4 s
        assert len(read) >= 2
        assert monitor.history().last(f"{gpu.devices[0].id}.power_w") == 100.0


@pytest.mark.parametrize("interval_s", [0.02, 0.5])
def test_a_new_rate_ends_the_old_one_at_once(interval_s: float) -> None:
    with Monitor(0.1, sensors=[HostSensor()]) as monitor:
        assert held(monitor)
        monitor.sampler.set_interval(interval_s)
        changed_s = time.monotonic()
        time.sleep(1.5)
        times = [at_s for at_s in monitor.history().times if at_s > changed_s + interval_s]
        spans = sorted(later - earlier for earlier, later in itertools.pairwise(times))
        assert spans[len(spans) // 2] == pytest.approx(interval_s, rel=0.5)


def test_ticks_that_come_late_are_counted_amid_quiet_ones() -> None:
    sensor = Failing()
    with Monitor(0.05, sensors=[sensor]) as monitor:
        assert held(monitor)
        take, missed = sensor.take, monitor.sampler.missed

        def slow(at_s: float) -> object:
            time.sleep(0.2)
            return take(at_s) if take is not None else None

        sensor.take = slow
        monitor.sampler.add(scripted_gpu(0, power_w=lambda t: 100.0))  # a new plan, which has it
        assert eventually(lambda: monitor.sampler.missed >= missed + 6)


def test_nothing_is_held_back_where_memory_is_short(tmp_path: Path) -> None:
    """Whoever is killed for memory takes along what was not written."""
    root = machine(tmp_path, cores=2)
    write(root, {"proc/1/cgroup": "", "proc/1/mountinfo": ""})
    watching = Watching(root, Held(), whole=False)

    def most_held(available_bytes: float) -> float:
        write(root, {"proc/meminfo": f"MemTotal: {8 * GIB >> 10} kB\nMemAvailable: {int(available_bytes) >> 10} kB\n"})
        rows: Sequence[int] = []
        for _ in range(40):
            watching.clock.advance(0.5)
            watching.sampler.tick()
            rows = [*rows, watching.waiting()]
        return max(rows[20:])

    assert most_held(6 * GIB) >= HOLD_TICKS - 2
    assert most_held(1 * GIB) == 0
    assert most_held(6 * GIB) >= HOLD_TICKS - 2
    watching.end()


@pytest.mark.parametrize(("step_s", "after_s"), [(0.5, 2.0), (1.0, 2.0), (2.0, 2.0), (30.0, 30.0)])
def test_rates_are_known_two_seconds_after_the_first_tick_at_the_latest(
    tmp_path: Path, step_s: float, after_s: float
) -> None:
    root = machine(tmp_path, cores=2)
    host = Ticking(str(root))
    host.step_s = step_s
    known: list[float] = []
    for number in range(40):
        write(root, {"proc/net/dev": f"a\nb\n  eth0: {number * 50} 0 0 0 0 0 0 0 {number * 9} 0 0 0 0 0 0 0\n"})
        if number == 0:
            host.sensor.discover()  # with the interface
            assert isinstance(host.sensor._reads, LinuxHost)
            host.sensor._reads.tree._may_ask = True  # as of the machine's own /proc: the first tick is a plain one
        known.append(host.tick()["net_in_bytes_per_s"])
    first = next(number for number, rate in enumerate(known) if rate == rate)
    assert first * step_s == after_s
    assert known[-1] == pytest.approx(50 / step_s)
    host.sensor.close()
