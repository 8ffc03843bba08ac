"""The ranks of one run on a cluster, as the notebook sees them; how the cluster is reached is the transport's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from resmon.distributed import ending
from resmon.distributed.local import STACKS_S, Rank
from resmon.distributed.node import Look, Where, address_towards, network_here
from resmon.distributed.payload import dump_failure
from resmon.distributed.rundir import RunDirectory, write_whole
from resmon.distributed.worker import STACKS_SIGNAL
from resmon.errors import LaunchError, NodeLostError

SEARCH_S = 60.0
"""How long a cluster may take to give a place to every rank, where ``timeout_s`` does not say."""
LOOK_S = 0.3
OTHERS_S = 3.0
"""How long the others may take to heed SIGTERM once a rank has failed."""
_NAMES = ("started", "result", "failure", "traceback")


class Transport(Protocol):
    """How the :class:`resmon.distributed.node.RankHost` of each rank is reached on one kind of cluster."""

    notebook: str
    """An address of the notebook's machine, or of the cluster's head where that is not known."""

    def take(self, count: int, timeout_s: float, *, gpus: bool) -> None:
        """Take a place for every rank, or for none. Raises LaunchError, having given back what was taken."""
        ...

    def call(self, calls: Mapping[int, Sequence[Any]], method: str) -> dict[int, Any]:
        """Call a method of the hosts of these ranks with these arguments; an exception in place of an answer."""
        ...

    def give_back(self) -> None:
        """Leave nothing on the cluster. Idempotent."""
        ...


def _gpus_by_local_rank(node: Sequence[Where]) -> Sequence[str]:
    """The GPUs to show to the ranks of one node, so that LOCAL_RANK is the number of each one's own; empty: as it is.

    Ray shows an actor only its own GPU, and dask-cuda a worker all of them, its own first.
    """
    own = [where.gpus[0] for where in node if where.gpus]
    return own if 1 < len(node) == len(set(own)) else ()


class RemoteRanks:
    """Ranks on a cluster's nodes, with the same files in the run's directory as ranks of this machine."""

    def __init__(self, directory: RunDirectory, world_size: int, transport: Transport) -> None:
        self.directory = directory
        self.ranks = [Rank() for _ in range(world_size)]
        self._transport = transport
        self._where: list[Where] = []
        self._statuses: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._gone: set[int] = set()
        self._running = False
        self._looked_s = float("-inf")
        self._failed_s: float | None = None

    def place(self, backend: str | None, timeout_s: float | None) -> None:
        """Take a place for every rank. Raises LaunchError where the cluster has none within the time."""
        count = len(self.ranks)
        self._transport.take(count, timeout_s or SEARCH_S, gpus="nccl" in (backend or ""))
        found = self._transport.call(dict.fromkeys(range(count), (self._transport.notebook,)), "where")
        for i, where in found.items():
            if isinstance(where, BaseException):
                raise LaunchError(f"the node of rank {i} does not answer: {where}") from where
        self._where = [found[i] for i in range(count)]

    @property
    def listen_on(self) -> str:
        """The address on which the notebook has to listen for these ranks: loopback where all of them are here."""
        here = network_here()
        if all(where.network == here for where in self._where):
            return "127.0.0.1"
        away = next(where for where in self._where if where.network != here)
        return address_towards(away.address) or "0.0.0.0"  # noqa: S104 - launching on other machines asks for it

    def start(self, env: Mapping[str, str], backend: str | None, threads: int) -> None:
        """Start a rank on every place."""
        count, first = len(self.ranks), self._where[0]
        connection = None
        if path := env.get("RESMON_CONNECTION"):
            connection = Path(path).read_bytes()
        payload = self.directory.payload.read_bytes()
        calls: dict[int, Sequence[Any]] = {}
        for i, where in enumerate(self._where):
            on_node = [j for j, other in enumerate(self._where) if other.network == where.network]
            variables: dict[str, Any] = {
                "RANK": i,
                "LOCAL_RANK": on_node.index(i),
                "WORLD_SIZE": count,
                "LOCAL_WORLD_SIZE": len(on_node),
                "MASTER_ADDR": first.address,
                "MASTER_PORT": first.port,
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
            }
            if gpus := _gpus_by_local_rank([self._where[j] for j in on_node]):
                variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
            calls[i] = ({name: str(value) for name, value in variables.items()}, payload, connection)
        self._running = True
        for i, answer in self._transport.call(calls, "start").items():
            if isinstance(answer, BaseException):
                self._lost(i, answer)

    @property
    def running(self) -> bool:
        """Whether a rank runs."""
        return self._running

    @property
    def launcher_status(self) -> int | None:
        """There is no launcher that could fail by itself."""
        return None if self._running else 0

    @property
    def some_failed(self) -> bool:
        """Whether a rank failed, or its node is gone."""
        return any(rank.failed for rank in self.ranks) or any(status != 0 for status in self._statuses.values())

    def look(self) -> None:
        """Take in what the ranks told since. Once one has failed, the others are ended."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        answers = self._transport.call(dict.fromkeys(self._left(), ()), "look")
        for i, answer in answers.items():
            if isinstance(answer, BaseException):
                self._lost(i, answer)
            else:
                self._take(i, answer, now_s)
        if self.some_failed and self._left():
            if self._failed_s is None:
                self._failed_s = now_s
                self._signal(self._left(), signal.SIGTERM)
            elif now_s - self._failed_s > OTHERS_S:
                self._signal(self._left(), signal.SIGKILL)
        if self._running and not self._left():
            self._end_of_run()

    def _left(self) -> list[int]:
        return [i for i in range(len(self.ranks)) if i not in self._statuses] if self._running else []

    def _take(self, i: int, look: Look, now_s: float) -> None:
        rank = self.ranks[i]
        rank.pid = look.pid
        rank.host = self._where[i].host
        if look.memory_bytes:
            rank.memory_bytes, rank.memory_at_s = look.memory_bytes, now_s
        if look.output:
            self._keep_output(i, look.output)
        self._keep_files(i, look)
        (self._stopped.add if look.stopped else self._stopped.discard)(i)
        rank.returned = self.directory.result(i).exists()
        rank.failed = self.directory.failure(i).exists()
        if look.more:
            self._looked_s = float("-inf")
        # The rest of a long output, or of a large result, comes with the next looks.
        if look.exit_status is not None and not look.output and not look.more:
            self._statuses[i] = look.exit_status
            if not (rank.returned or rank.failed):
                rank.gone_s = time.time()

    def _keep_files(self, i: int, look: Look) -> None:
        """Put the pieces together; under its name a file is whole."""
        allowed = {f"rank-{i}.{name}" for name in _NAMES}
        for name, data in look.files.items():
            path = self.directory.path / name
            if name not in allowed or path.exists():
                continue
            pieces = self.directory.path / f"{name}.pieces"
            _append(pieces, data)
            if name not in look.more:
                pieces.rename(path)

    def _keep_output(self, i: int, output: bytes) -> None:
        _append(self.directory.log(i), output)

    def _lost(self, i: int, error: BaseException) -> None:
        """A node is gone, or its process: its rank failed."""
        host = self._where[i].host
        said = " ".join(str(error).split())[:300]
        lost = NodeLostError(f"the node of rank {i} ({host}) is gone from the cluster: {said}")
        packed, text = dump_failure(lost, host, time.time())
        write_whole(self.directory.failure(i), packed)
        write_whole(self.directory.traceback(i), text.encode())
        self.ranks[i].failed = True
        self._statuses[i] = 1
        self._gone.add(i)

    def _end_of_run(self) -> None:
        self._running = False
        failures = {str(i): status for i, status in self._statuses.items() if status != 0}
        if not self.directory.report.exists():
            write_whole(self.directory.report, json.dumps({"failures": failures}).encode())

    def stopped(self, rank: int) -> bool:
        """Whether a signal stopped the rank's process, as of the last look."""
        return rank in self._stopped

    def ask_for_stacks(self) -> None:
        """Have every rank that runs write where its threads are; waits a moment for that."""
        if STACKS_SIGNAL is None:
            return
        asked = [i for i in self._left() if i not in self._stopped]
        self._signal(asked, STACKS_SIGNAL)
        time.sleep(STACKS_S)
        for i, text in self._transport.call(dict.fromkeys(asked, ()), "stacks").items():
            if isinstance(text, bytes):
                self.directory.stacks(i).write_bytes(text)

    def end(self) -> None:
        """End the run: SIGINT, SIGTERM, then no rank is left. A second interrupt goes to the last."""
        ending.end(self._ask, self.kill)

    def _ask(self, number: int, within_s: float) -> bool:
        self._signal(self._left(), number)
        until = time.monotonic() + within_s
        while self._left() and time.monotonic() < until:
            self._looked_s = float("-inf")
            self.look()
            time.sleep(0.05)
        return not self._left()

    def kill(self) -> None:
        """Leave no process and no place taken. Idempotent, and not to be interrupted."""
        ending.to_the_end(self._kill)

    def _kill(self) -> None:
        # Of ranks that have ended too: the files that they left on their nodes go.
        self._transport.call({i: () for i in range(len(self._where)) if i not in self._gone}, "kill")
        self._where = []
        if self._running:
            self._end_of_run()
        self._transport.give_back()

    def _signal(self, ranks: Sequence[int], number: int) -> None:
        if ranks:
            self._transport.call({i: (int(number),) for i in ranks}, "signal")


def _append(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
        file.write(data)
