"""What a rank tells of its own process: files that the test writes, and memory that is really short."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resmon.sensors.own_process import SLOW_S, own_process
from resmon.sensors.process_files import PAGE
from tests.fake_root import V2_MOUNT, write
from tests.ranks import environment

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

GROUPS = Path("/sys/fs/cgroup/memory")
MACHINE = Path("/proc/pressure/memory")


def pressure(total_us: int) -> str:
    line = f"avg10=0.00 avg60=0.00 avg300=0.00 total={total_us}"
    return f"some {line}\nfull {line}\n"


@pytest.mark.parametrize(
    ("files", "waited_s"),
    [
        ({"sys/fs/cgroup/job/rank/memory.pressure": pressure(2_000_000)}, 3.5),
        ({"sys/fs/cgroup/job/memory.pressure": pressure(2_000_000)}, 3.5),
        ({"proc/pressure/memory": pressure(2_000_000)}, 3.5),
        ({"sys/fs/cgroup/job/rank/memory.pressure": "", "proc/pressure/memory": pressure(2_000_000)}, 3.5),
        ({"proc/pressure/memory": "full avg10=0.00 total=2000000\n"}, math.nan),
        ({"proc/pressure/memory": ""}, math.nan),
        ({}, math.nan),
    ],
)
def test_the_wait_for_memory_is_that_of_the_nearest_cgroup_that_tells(
    tmp_path: Path, files: dict[str, object], waited_s: float
) -> None:
    others = {"proc/self/mountinfo": V2_MOUNT, "proc/self/cgroup": "0::/job/rank\n"}
    if len(files) == 1 and "proc/pressure/memory" not in files:
        others["proc/pressure/memory"] = pressure(9_000_000)  # which stands still
    write(tmp_path, {**others, **files})
    process = own_process(str(tmp_path))
    try:
        assert process.read(1.0).memory_wait_s == pytest.approx(0.0 if waited_s == waited_s else math.nan, nan_ok=True)
        write(tmp_path, {name: str(content).replace("2000000", "5500000") for name, content in files.items()})
        assert process.read(1.0 + SLOW_S).memory_wait_s == pytest.approx(waited_s, nan_ok=True)
    finally:
        process.close()


@pytest.fixture
def small_group() -> Iterator[Path]:
    """Give a cgroup of 24 MiB, where the machine permits to make one."""
    group = GROUPS / f"resmon-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(24 << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield group
    group.rmdir()


THRASHES = """
import mmap, os, sys, time
from pathlib import Path
from resmon.sensors.own_process import own_process

process, file = own_process(), Path(sys.argv[2])
first = process.read(time.monotonic()).memory_wait_s
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
with file.open("wb") as out:
    for _ in range(64):
        out.write(os.urandom(1 << 20))
with file.open("rb") as held, mmap.mmap(held.fileno(), 0, prot=mmap.PROT_READ) as pages:
    until = time.monotonic() + 60
    while process.read(time.monotonic()).memory_wait_s < 0.05 and time.monotonic() < until:
        for at in range(0, len(pages), 4096):
            pages[at]
print(first, process.read(time.monotonic()).memory_wait_s)
process.close()
"""


@pytest.mark.skipif(not MACHINE.exists(), reason="this kernel tells no pressure")
def test_memory_that_is_really_short_is_seen(small_group: Path, tmp_path: Path) -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("a file in memory cannot be put out of it")
    done = subprocess.run(
        [sys.executable, "-c", THRASHES, str(small_group), str(tmp_path / "pages")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, done.stdout.split())
    assert first == 0.0
    assert last >= 0.05


def test_memory_that_is_given_back_between_two_looks_is_never_less_than_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/statm": "1 1000 0 1 0 1 0"})
    process = own_process(str(tmp_path))
    tree = vars(process)["_tree"]
    look = tree.read

    def late(at_s: float, mark: bytes) -> None:
        write(tmp_path, {"proc/self/statm": "1 10 0 1 0 1 0"})
        look(at_s, mark)

    tree.read = late
    try:
        assert [process.read(at_s).memory_bytes for at_s in (0.0, 0.5)] == [10 * PAGE, 10 * PAGE]
    finally:
        process.close()


def test_what_a_look_at_the_children_takes_does_not_count_twice() -> None:
    process = own_process()
    tree = vars(process)["_tree"]
    look = tree.read

    def slow(at_s: float, mark: bytes) -> None:
        until_s = time.process_time() + 0.05
        while time.process_time() < until_s:
            pass
        look(at_s, mark)

    tree.read = slow
    try:
        times_s = [process.read(0.0).cpu_time_s]
        tree.read = look
        times_s += [process.read(at_s).cpu_time_s for at_s in (0.5 * SLOW_S, SLOW_S, 1.5 * SLOW_S)]
    finally:
        process.close()
    assert times_s == sorted(times_s)


HOLDS = """
import subprocess, sys
from resmon.sensors.own_process import SLOW_S, own_process

process = own_process()
alone = process.read(0.0)
child = "held = bytearray(b'1') * (96 << 20); print(flush=True); import sys; sys.stdin.read()"
with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
    worker.stdout.readline()
    before = process.read(SLOW_S / 2)
    seconds = iter(range(1, 60))  # what is the child's alone, and not shared, is known some seconds later
    both = next(r for at in seconds if (r := process.read(at * SLOW_S)).memory_bytes > alone.memory_bytes + (48 << 20))
    held = bytearray(b"1") * (64 << 20)
    at = next(seconds) - 0.5
    more = process.read(at * SLOW_S)
    worker.stdin.close()
print(*((reading.memory_bytes - alone.memory_bytes) / 2**20 for reading in (before, both, more)))
process.close()
"""


def test_what_the_process_itself_takes_is_seen_at_once_and_its_children_after_some_seconds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLDS], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    before, both, more = map(float, done.stdout.split())
    assert before < 48
    assert 90 < both < 140
    assert 60 < more - both < 80
