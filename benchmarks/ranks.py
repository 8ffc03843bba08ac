"""Ranks: what the notebook pays for them, how late they arrive, what a rank pays, what rebalancing brings back.

Ranks are simulated by sockets of another process, each with the keys of the run and its own connection; those whose own
cost is measured are real, beside a training loop.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, call, quantile
from benchmarks.monitor_cost import _training
from benchmarks.report import Row
from resmon.cells import CellLog
from resmon.distributed import connection, messages
from resmon.distributed.receiver import Receiver
from resmon.monitor import Monitor
from resmon.rankboard import RankBoard
from resmon.ranks import RankSample
from resmon.testing import scripted_host
from resmon.views.live import REFRESH_S, Live

RATE_HZ = 4.0
MANY, FEW = 256, 16
SETTLE_S = 20.0
"""Both find the processes and read once what is then read every five minutes."""


def run(*, quick: bool) -> list[Row]:
    seconds = 8.0 if quick else 30.0
    few, many = (call(receiving, ranks=n, seconds=seconds) for n in (FEW, MANY))
    idle, busy = (call(delays, seconds=seconds, busy=b) for b in (False, True))
    cost, shown = (rank_cost(seconds=20.0 if quick else 60.0, shown=s) for s in (False, True))
    lost = unbalanced(epochs=4)
    kept_bytes = call(kept, ranks=MANY)
    ranks_at = f"{MANY} ranks × {RATE_HZ:g} Hz"
    return [
        Row(name=f"notebook, {ranks_at}: CPU of a core", value=many["core"] * 100, unit="%", limit=10),
        Row(name="notebook, per sample", value=many["us"], unit="µs", reference=f"with {FEW} ranks",
            reference_value=few["us"], limit=1.2, bounds="ratio"),
        Row(name=f"notebook, {ranks_at}: memory grown after it settled", value=many["grown_mb"], unit="MB", limit=8),
        Row(name=f"notebook, {ranks_at}: samples lost", value=many["lost"] * 100, unit="%", limit=1),
        Row(name=f"board, all that it keeps of {MANY} ranks", value=kept_bytes / 2**20, unit="MB", limit=64),
        Row(name=f"board, rows() of {MANY} ranks", value=many["rows_ms"], unit="ms"),
        Row(name="sample in a rank → board, p95", value=quantile(idle, 0.95), unit="ms", limit=200),
        Row(name="the same beside a pure-Python loop there", value=quantile(busy, 0.95), unit="ms", limit=200),
        Row(name=f"reporting in a rank at {RATE_HZ:g} Hz beside training", value=cost["reporter"], unit="CPU-s/h",
            reference="monitor at that rate", reference_value=cost["monitor"], limit=1.0, bounds="ratio"),
        Row(name="the same, while somebody looks", value=shown["reporter"], unit="CPU-s/h",
            reference="monitor and live view at that rate", reference_value=shown["monitor"], limit=1.0,
            bounds="ratio"),
        Row(name="time lost to a slow rank that rebalancing leaves", value=lost["left"] * 100, unit="%", limit=20),
        Row(name="an epoch with one slow rank, rebalanced", value=lost["balanced_s"], unit="s",
            reference="split equally", reference_value=lost["equal_s"]),
    ]  # fmt: skip


# -- the notebook ----------------------------------------------------------------------------------------------------


def receiving(ranks: int, seconds: float) -> dict[str, float]:
    """What a receiver costs its process (all threads, libzmq's too) while so many ranks report."""
    with Monitor(10.0, sensors=[scripted_host()], record=False) as monitor:
        receiver = Receiver(RankBoard(ranks, monitor.clock), monitor)
        receiver.start()
        senders = _senders(receiver, ranks, seconds + 6)
        try:
            _until(lambda: all(row.state == "running" for row in receiver.board.rows()), 60)
            time.sleep(2.0)
            gc.collect()
            memory, received = _resident(), receiver.received
            start_s, cpu_s = time.monotonic(), time.process_time()
            time.sleep(seconds)
            span_s, used_s = time.monotonic() - start_s, time.process_time() - cpu_s
            got, grown = receiver.received - received, _resident() - memory
            took = []
            for _ in range(20):
                begun = time.perf_counter()
                receiver.board.rows()
                took.append(time.perf_counter() - begun)
        finally:
            senders.kill()
            senders.wait()
            receiver.stop()
    return {
        "core": used_s / span_s,
        "us": 1e6 * used_s / max(1, got),
        "grown_mb": grown / 2**20,
        "lost": max(0.0, 1 - got / (ranks * RATE_HZ * span_s)),
        "rows_ms": 1e3 * quantile(took, 0.5),
    }


def _senders(receiver: Receiver, ranks: int, seconds: float) -> subprocess.Popen[bytes]:
    program = f"from benchmarks.ranks import send; send({str(receiver.connection_file)!r}, {ranks}, {seconds})"
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)


def send(path: str, ranks: int, seconds: float) -> None:
    """So many ranks, each over a connection of its own, encrypted and admitted."""
    import zmq

    known = connection.read(path)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4 * ranks + 64)
    sockets = []
    for rank in range(ranks):
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.curve_serverkey = known.server_public.encode()
        socket.curve_publickey = known.client_public.encode()
        socket.curve_secretkey = known.client_secret.encode()
        socket.connect(known.endpoints[0])
        hello = messages.Hello(rank=rank, sent_s=0.0, boot="elsewhere", pid=rank + 1, world_size=ranks, host="node")
        socket.send(messages.encode(hello))
        sockets.append(socket)
    for socket in sockets:
        socket.recv()
    begun_s, period_s, tick = time.monotonic(), 1 / RATE_HZ, 0
    while time.monotonic() < begun_s + seconds:
        for rank, socket in enumerate(sockets):
            due_s = begun_s + period_s * (tick + rank / ranks)  # as real ranks are: each at its own instant
            time.sleep(max(0.0, due_s - time.monotonic()))
            sample = messages.Sample(
                at_s=time.monotonic(),
                steps=5.0 * tick,
                items=100.0 * tick,
                stepping_s=0.25 * tick,
                collective_s=0.01 * tick,
                cpu_time_s=0.2 * tick,
                memory_bytes=1e9,
            )
            socket.send(messages.encode_samples(sample))
        tick += 1
    context.destroy(linger=0)


def kept(ranks: int) -> float:
    """Bytes that a full board holds: it has heard every rank for an hour."""
    from resmon.testing import ManualClock

    clock = ManualClock()
    before = _resident()
    board = RankBoard(ranks, clock)
    for tick in range(3_000):  # its size is what it is after 1,200 samples of each
        for rank in range(ranks):
            board.take(RankSample(rank=rank, at_s=tick * 0.25, steps=tick, stepping_s=0.2 * tick, memory_bytes=1e9))
    return float(_resident() - before)


# -- how late --------------------------------------------------------------------------------------------------------


class _Timed(RankBoard):
    """Notes how old each sample is when it arrives."""

    delays_ms: list[float]

    def take(self, sample: RankSample) -> None:
        self.delays_ms.append(1e3 * (self.clock.now() - sample.at_s))
        super().take(sample)


def delays(seconds: float, *, busy: bool) -> list[float]:
    """Milliseconds from the beginning of a rank's tick to the notebook's board; four real ranks."""
    with Monitor(0.5, record=False) as monitor:
        board = _Timed(4, monitor.clock)
        board.delays_ms = []
        receiver = Receiver(board, monitor)
        receiver.start()
        program = (
            "import time; from resmon.distributed.sender import start_reporting; start_reporting(); time.sleep(600)"
        )
        env = {**os.environ, connection.VARIABLE: str(receiver.connection_file), "WORLD_SIZE": "4"}
        ranks = [
            subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env={**env, "RANK": str(i)}) for i in range(4)
        ]
        try:
            _until(lambda: all(row.state == "running" for row in board.rows()), 30)
            board.delays_ms = []
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                board.rows()  # as a panel does: ranks that nobody looks at hold their samples
                asked_s = time.monotonic()
                while time.monotonic() < asked_s + 0.25:
                    if not busy:
                        time.sleep(0.1)
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
            receiver.stop()
    return board.delays_ms


# -- in a rank -------------------------------------------------------------------------------------------------------


def rank_cost(seconds: float, *, shown: bool) -> dict[str, float]:
    """What reporting costs in a rank that this process listens to, which is another one and has no children.

    shown: somebody looks, at the ranks here and at the monitor there.
    """
    with Monitor(sensors=[], record=False) as monitor:
        receiver = Receiver(RankBoard(1, monitor.clock), monitor)
        receiver.start()
        env = {**os.environ, connection.VARIABLE: str(receiver.connection_file), "RANK": "0", "WORLD_SIZE": "1"}
        env["RESMON_JOIN"] = "0"  # it is started by hand below, once the training runs
        ended = threading.Event()

        def look() -> None:
            while shown and not ended.wait(REFRESH_S):
                receiver.board.rows()

        looking = threading.Thread(target=look)
        looking.start()
        try:
            found: dict[str, float] = call(reporting_cost, env=env, seconds=seconds, shown=shown)
        finally:
            ended.set()
            looking.join()
            receiver.stop()
    return found


def reporting_cost(seconds: float, *, shown: bool) -> dict[str, float]:
    """CPU-seconds per hour of the threads that report (libzmq's too), and of a monitor, side by side.

    shown: the monitor has a live view, a line that is sent nowhere.
    """
    from resmon.distributed.sender import start_reporting, stop_reporting

    with _training():
        before = set(_threads())
        start_reporting()
        time.sleep(2.0 + 1 / RATE_HZ / 2)
        reporting = set(_threads()) - before
        with Monitor(1 / RATE_HZ) as monitor, monitor.measure() as window:  # as in a notebook, with its flight record
            cells = CellLog()
            live = Live(monitor, cells, subshells=False)
            if shown:
                live.open_line(cells.start(1, "training", window), lambda _: None)
            watching = set(_threads()) - before - reporting
            time.sleep(SETTLE_S)
            watching = {t for t in watching if t in _threads()}  # discovery has ended
            start_s, first = time.monotonic(), _threads()
            time.sleep(seconds)
            span_s, last = time.monotonic() - start_s, _threads()
            live.close()
    stop_reporting()
    found = {"reporter": reporting, "monitor": watching}
    return {name: 3600 * sum(last[t] - first[t] for t in threads) / span_s for name, threads in found.items()}


def _threads() -> dict[int, float]:
    """CPU seconds of each thread of this process, Python's and others."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) * 1e-9
        except OSError:  # it ended meanwhile
            continue
    return found


# -- rebalancing -----------------------------------------------------------------------------------------------------

UNBALANCED = """
import json, os, time
import torch, torch.distributed as dist
import resmon.distributed
from torch.nn.parallel import DistributedDataParallel
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
sampler = resmon.distributed.BalancedBatchSampler(1920, 96)
net = DistributedDataParallel(torch.nn.Linear(32, 8))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

def epoch(number):
    sampler.set_epoch(number)
    dist.barrier()
    begun = time.perf_counter()
    for batch in sampler:
        time.sleep(len(batch) * 0.001 * (3 if rank == 1 else 1))
        optimizer.zero_grad()
        (sampler.loss_scale(len(batch)) * net(torch.randn(len(batch), 32)).square().mean()).backward()
        optimizer.step()
    dist.barrier()
    return time.perf_counter() - begun

epoch(0)
equal_s = epoch(1)
for number in range(EPOCHS):
    balanced_s = epoch(number)
    shares = sampler.rebalance()
balanced_s = epoch(9)
sampler.weights = (0.75, 0.25)
best_s = epoch(10)
if rank == 0:
    print(json.dumps({"equal_s": equal_s, "balanced_s": balanced_s, "best_s": best_s, "shares": shares}))
dist.destroy_process_group()
"""


def unbalanced(epochs: int) -> dict[str, Any]:
    """Two ranks, of which one takes three times as long for an item: epochs split equally, rebalanced, at best."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(UNBALANCED.replace("EPOCHS", str(epochs)))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["left"] = max(0.0, found["balanced_s"] - found["best_s"]) / (found["equal_s"] - found["best_s"])
    return found


def _until(true: Callable[[], bool], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            raise TimeoutError("the ranks did not come")
        time.sleep(0.05)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
