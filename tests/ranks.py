"""Real rank processes for the tests, and stand-ins that speak the wire by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import zmq

from resmon.distributed import connection, messages
from resmon.distributed.receiver import Receiver
from resmon.monitor import Monitor
from resmon.rankboard import RankBoard
from resmon.testing import scripted_gpu, scripted_host

ROOT = Path(__file__).parent.parent
NO_CLUSTER = 75
"""The exit status of ``tests.ray_runs`` where Ray did not come up: each node has 30 s, which no setting changes."""


def until(true: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Wait until something is so; fails the test when it is not in time."""
    end_s = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)
    return found


@contextmanager
def listening(world_size: int | None = 2, **options: Any) -> Iterator[Receiver]:
    """A receiver on a real socket, with the board of a run."""
    with ExitStack() as stack:
        monitor = options.pop("monitor", None)
        if monitor is None:
            monitor = stack.enter_context(Monitor(0.1, sensors=[scripted_host(), scripted_gpu(power_w=321.0)]))
        receiver = Receiver(RankBoard(world_size, monitor.clock), monitor, **options)
        receiver.start()
        try:
            yield receiver
        finally:
            receiver.stop()


def environment(**more: str) -> dict[str, str]:
    """The environment of a rank that the test starts, without what a launcher around the test may have set."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "RESMON_", "OMPI_", "PMI_", "SLURM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    records = {"RESMON_RECORD_DIR": os.environ["RESMON_RECORD_DIR"]} if "RESMON_RECORD_DIR" in os.environ else {}
    return {**kept, **records, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def start(program: str, **more: str) -> subprocess.Popen[str]:
    """A Python process that runs ``program``."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The same, waited for."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Client:
    """A hand-driven rank: a DEALER with whatever keys, saying whatever bytes."""

    def __init__(self, known: connection.Connection, secret: bytes | None = None, public: bytes | None = None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = known.server_public.encode()
        self.socket.curve_publickey = public or known.client_public.encode()
        self.socket.curve_secretkey = secret or known.client_secret.encode()
        self.socket.connect(known.endpoints[0])

    def say(self, frame: bytes) -> None:
        self.socket.send(frame)

    def hear(self, timeout_s: float = 5.0) -> messages.Words | None:
        """The next answer; None when there is none in time."""
        return messages.decode(self.socket.recv()) if self.socket.poll(round(timeout_s * 1000)) else None

    def greet(self, **facts: Any) -> messages.Words | None:
        self.say(messages.encode(messages.Hello(**{"rank": 0, "sent_s": 1.0, "boot": "b", "pid": 7, **facts})))
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)
