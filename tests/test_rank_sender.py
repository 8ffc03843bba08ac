"""Ranks as real processes: they report, they are never held up, and they say once what is wrong."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Self

import pytest
import zmq

from resmon.distributed import connection
from resmon.distributed.environment import Place, find_place
from resmon.monitor import Monitor
from tests.ranks import listening, run, start, until

REPORT = """
import sys, time
from resmon.distributed.sender import start_reporting, stop_reporting
from resmon.distributed import step
began = time.perf_counter()
started = start_reporting()
print("start took", time.perf_counter() - began, started)
stepped = time.perf_counter()
for _ in range({steps}):
    time.sleep(0.02)
    step(items=8)
began = time.perf_counter()
print("steps took", began - stepped)
stop_reporting({outcome!r})
print("stop took", time.perf_counter() - began)
"""


def test_a_rank_tells_what_it_does() -> None:
    with listening() as receiver:
        done = run(
            REPORT.format(steps=100, outcome="done"),
            RESMON_CONNECTION=str(receiver.connection_file),
            RANK="1",
            WORLD_SIZE="2",
        )
        assert done.stderr == ""
        until(lambda: receiver.board.rows()[1].state == "done")
        use = receiver.board.uses(0.0, time.monotonic())[1]
        assert (use.steps, use.items) == (100, 800)
        assert use.steps_per_s == pytest.approx(100 / float(done.stdout.split("steps took")[1].split()[0]), rel=0.3)
        assert use.memory_peak_bytes is not None
        assert use.memory_peak_bytes > 5e6
        assert use.cpu_time_s is not None
        assert use.compute_fraction is None, "without torch nothing watches the collectives"


def test_a_handshake_that_is_quicker_than_the_rank_is_not_missed() -> None:
    """Beside busy Python code the rank's thread may lose its turn anywhere."""
    slow = """
import time, zmq
watch = zmq.Socket.get_monitor_socket
def late(*arguments, **more):
    time.sleep(0.3)
    return watch(*arguments, **more)
zmq.Socket.get_monitor_socket = late
"""
    with listening() as receiver:
        done = run(
            slow + REPORT.format(steps=60, outcome="done"),
            RESMON_CONNECTION=str(receiver.connection_file),
            RANK="0",
            WORLD_SIZE="2",
        )
        assert done.stderr == ""
        until(lambda: receiver.board.rows()[0].state == "done")
        assert receiver.board.uses(0.0, time.monotonic())[0].steps == 60


def test_nothing_is_loaded_that_a_rank_does_not_need() -> None:
    program = "import resmon.distributed.sender, sys; print(*sys.modules)"
    loaded = set(run(program).stdout.split())
    assert loaded.isdisjoint({"torch", "zmq", "psutil", "numpy", "pynvml", "IPython", "tqdm", "resmon.monitor"})


def test_without_a_notebook_the_rank_says_so_once_and_trains_on(tmp_path: Path) -> None:
    with listening(path=tmp_path / "c.json") as receiver:
        known = connection.read(receiver.connection_file)
    path = connection.write(known, tmp_path / "kept.json")  # nobody listens there any more
    done = run(REPORT.format(steps=350, outcome="done"), RESMON_CONNECTION=str(path), RANK="3", WORLD_SIZE="4")
    assert done.returncode == 0
    assert done.stderr.count("resmon (rank 3)") == 1
    assert "cannot be reached at tcp://127.0.0.1" in done.stderr
    assert float(done.stdout.split()[2]) < 5.0


def test_a_strangers_key_is_not_admitted_and_the_rank_says_so_once(tmp_path: Path) -> None:
    with listening() as receiver:
        known = connection.read(receiver.connection_file)
        public, secret = (key.decode() for key in zmq.curve_keypair())
        stranger = connection.Connection(
            run_id="x",
            endpoints=known.endpoints,
            server_public=known.server_public,
            client_public=public,
            client_secret=secret,
        )
        path = connection.write(stranger, tmp_path / "c.json")
        done = run(REPORT.format(steps=100, outcome=""), RESMON_CONNECTION=str(path), RANK="0")
        assert done.returncode == 0
        assert done.stderr.count("resmon") == 1
        assert "did not admit this rank" in done.stderr
        assert receiver.received == 0


def test_the_key_of_another_notebook_is_noticed(tmp_path: Path) -> None:
    with Monitor(sensors=[]) as monitor, listening(monitor=monitor) as one, listening(monitor=monitor) as other:
        wrong = connection.read(one.connection_file)
        mixed = connection.Connection(
            run_id="x",
            endpoints=connection.read(other.connection_file).endpoints,
            server_public=wrong.server_public,
            client_public=wrong.client_public,
            client_secret=wrong.client_secret,
        )
        path = connection.write(mixed, tmp_path / "c.json")
        done = run(REPORT.format(steps=400, outcome=""), RESMON_CONNECTION=str(path), RANK="0")
        assert done.returncode == 0
        assert "resmon (rank 0)" in done.stderr
        assert other.received == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RESMON_CONNECTION": "/nowhere/c.json", "RANK": "0"}, "/nowhere/c.json cannot be read"),
        ({"RESMON_CONNECTION": "/dev/null", "RANK": "0"}, "is not a file"),
        ({"RESMON_CONNECTION": "{file}", "RANK": "seven"}, "RANK='seven' is no whole number"),
        ({"RESMON_CONNECTION": "{file}", "RANK": "4", "WORLD_SIZE": "2"}, "RANK=4 is not among the 2 ranks"),
    ],
)
def test_what_is_wrong_is_said_once_and_harms_nothing(variables: dict[str, str], said: str) -> None:
    with listening() as receiver:
        filled = {k: v.format(file=receiver.connection_file) for k, v in variables.items()}
        done = run(REPORT.format(steps=1, outcome=""), **filled)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_without_the_variable_nothing_happens() -> None:
    done = run(REPORT.format(steps=1, outcome=""))
    assert (done.returncode, done.stderr) == (0, "")
    assert "False" in done.stdout


def test_a_rank_comes_back_when_the_notebook_does(tmp_path: Path) -> None:
    """The connection breaks and is made again: the rank is taken in again, under the same keys."""
    with listening(1) as receiver:
        known = connection.read(receiver.connection_file)
        with Relay(receiver.port) as relay:
            through = connection.Connection(
                run_id="x",
                endpoints=(f"tcp://127.0.0.1:{relay.port}",),
                server_public=known.server_public,
                client_public=known.client_public,
                client_secret=known.client_secret,
            )
            path = connection.write(through, tmp_path / "c.json")
            rank = start(REPORT.format(steps=1000, outcome=""), RESMON_CONNECTION=str(path), RANK="0")
            try:
                until(lambda: (receiver.board.rows()[0].steps or 0) > 10)
                relay.cut()
                at = receiver.board.rows()[0].steps or 0
                until(lambda: (receiver.board.rows()[0].steps or 0) > at + 50)
            finally:
                rank.kill()
                rank.communicate()


def test_a_rank_that_is_killed_is_lost_and_one_that_stands_still_too() -> None:
    with listening(2) as receiver:
        file = str(receiver.connection_file)
        ranks = [start(REPORT.format(steps=3000, outcome=""), RESMON_CONNECTION=file, RANK=str(i)) for i in range(2)]
        try:
            until(lambda: all(row.state == "running" for row in receiver.board.rows()))
            ranks[0].kill()
            ranks[1].send_signal(signal.SIGSTOP)
            until(lambda: all(row.state == "lost" for row in receiver.board.rows()))
            ranks[1].send_signal(signal.SIGCONT)
            until(lambda: receiver.board.rows()[1].state == "running")
        finally:
            for rank in ranks:
                rank.kill()
                rank.communicate()


def test_what_a_rank_starts_does_not_report() -> None:
    program = """
import multiprocessing, os, subprocess, sys, threading, time
from resmon.distributed.sender import start_reporting
again = "from resmon.distributed.sender import start_reporting; print('child', start_reporting())"

def child(queue):
    names = [t.name for t in threading.enumerate()]
    queue.put((names, start_reporting()))

if __name__ == "__main__":
    start_reporting()
    time.sleep(1)
    queue = multiprocessing.get_context("fork").Queue()
    worker = multiprocessing.get_context("fork").Process(target=child, args=(queue,))
    worker.start(); print(queue.get()); worker.join()
    forked_s = time.monotonic()
    print(worker.exitcode)
    print(subprocess.run([sys.executable, "-c", again], capture_output=True, text=True).stdout)
    time.sleep(3)
    print(forked_s)
"""
    with listening(1) as receiver:
        done = run(program, RESMON_CONNECTION=str(receiver.connection_file), RANK="0")
        assert done.stderr == ""
        assert done.stdout.split("\n")[:3] == ["(['MainThread', 'QueueFeederThread'], False)", "0", "child False"] or (
            done.stdout.split("\n")[:3] == ["(['MainThread'], False)", "0", "child False"]
        )
        assert receiver.notices == ()
        newest = receiver.board._ranks[0].history.newest
        assert newest is not None
        assert newest.at_s > float(done.stdout.split()[-1]), "the fork did not disturb the rank's own connection"


def test_a_slow_notebook_does_not_hold_the_rank_up(tmp_path: Path) -> None:
    """The notebook is stopped in its tracks: the rank sends into the void, in bounded memory, and ends in time."""
    notebook = start(
        "import sys, time\n"
        "from resmon.distributed.receiver import Receiver\n"
        "from resmon.rankboard import RankBoard\n"
        "from resmon import Monitor\n"
        "m = Monitor(sensors=[]); r = Receiver(RankBoard(1, m.clock), m); r.start()\n"
        "print(r.connection_file, flush=True); time.sleep(600)"
    )
    try:
        assert notebook.stdout is not None
        path = notebook.stdout.readline().strip()
        rank = start(REPORT.format(steps=100, outcome="done"), RESMON_CONNECTION=path, RANK="0")
        time.sleep(1.5)
        notebook.send_signal(signal.SIGSTOP)
        out, err = rank.communicate(timeout=60)
        assert rank.returncode == 0, err
        assert float(out.split("stop took")[1]) < 30, "it does not wait for an answer"
    finally:
        notebook.kill()
        notebook.communicate()


# -- which rank ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, Place(rank=0, world_size=1, local_rank=0)),
        (
            {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none", "SLURM_PROCID": "0"},
            Place(rank=3, world_size=8, local_rank=1, launcher="torch", job="none"),
        ),
        (
            {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2"},
            Place(rank=2, world_size=4, local_rank=2, launcher="Open MPI"),
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Place(rank=1, world_size=2, launcher="PMI")),
        (
            {"SLURM_PROCID": "5", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "4711"},
            Place(rank=5, world_size=16, local_rank=1, launcher="Slurm", job="4711"),
        ),
    ],
)
def test_the_launchers_say_which_rank_this_is(variables: dict[str, str], place: Place) -> None:
    assert find_place(variables) == place


class Relay:
    """A TCP relay that can cut its connections, as a network does."""

    def __init__(self, port: int) -> None:
        import socket
        import threading

        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._pairs: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        import socket
        import threading

        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._pairs += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=_pump, args=(source, sink), daemon=True)
                thread.start()
                self._threads.append(thread)

    def cut(self) -> None:
        import contextlib
        import socket

        pairs, self._pairs = self._pairs, []
        for end in pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import contextlib
        import socket

        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)


def _pump(source: object, sink: object) -> None:
    import socket

    assert isinstance(source, socket.socket)
    assert isinstance(sink, socket.socket)
    try:
        while content := source.recv(65536):
            sink.sendall(content)
    except OSError:
        pass
    finally:
        source.close()
        sink.close()
