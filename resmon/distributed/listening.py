"""The notebook listens for ranks that somebody else launches."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from resmon.distributed import connection
from resmon.distributed.receiver import Receiver
from resmon.monitor import Monitor
from resmon.process import get_monitor
from resmon.rankboard import RankBoard


class Listener:
    """The notebook listens for ranks until ``stop``; a context manager. Made by :func:`listen`."""

    def __init__(
        self,
        world_size: int | None,
        host: str,
        port: int,
        *,
        advertise: str | None,
        path: str | os.PathLike[str] | None,
        items_unit: str,
        monitor: Monitor | None,
    ) -> None:
        self._monitor = monitor or get_monitor()
        self._world_size = world_size
        self._items_unit = items_unit
        self._receiver = Receiver(
            RankBoard(world_size, self._monitor.clock, "joined ranks", items_unit),
            self._monitor,
            host,
            port,
            advertise=advertise,
            path=None if path is None else Path(path).expanduser(),
            renew=self._renew,
        )
        self._receiver.start()
        self._monitor.watch_ranks(self._receiver.board)

    def _renew(self) -> RankBoard:
        board = RankBoard(self._world_size, self._monitor.clock, "joined ranks", self._items_unit)
        self._monitor.watch_ranks(board)
        return board

    @property
    def board(self) -> RankBoard:
        """The ranks of the job that is running, or ran last: when all have ended and new ones come, a new one."""
        return self._receiver.board

    @property
    def connection_file(self) -> Path:
        """What the ranks need the path of."""
        return self._receiver.connection_file

    @property
    def notices(self) -> tuple[str, ...]:
        """What went wrong so far: keys that were turned away, messages that were none."""
        return self._receiver.notices

    def stop(self) -> None:
        """Listen no more; what was told stays on ``board``. Idempotent."""
        self._receiver.stop()
        self._receiver.board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        try:
            file = self.connection_file
        except OSError:
            return f"<Listener stopped: {len(self.board.rows())} ranks>"
        return (
            f"Listening for ranks. Start them with\n"
            f"  export {connection.VARIABLE}={file}\n"
            f"  torchrun --nproc_per_node 2 train.py\n"
            f"The file is a key to this notebook: keep it private."
        )


def listen(
    world_size: int | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    advertise: str | None = None,
    path: str | os.PathLike[str] | None = None,
    items_unit: str = "items",
    monitor: Monitor | None = None,
) -> Listener:
    """Listen for ranks that are started outside this notebook; they appear in the panel and in measurements.

    world_size: how many there are; without it the board grows with those that come. host, port: where to listen, by
    default a free port that this machine alone reaches; ``"0.0.0.0"`` for ranks on other machines, which then also need
    the connection file at a ``path`` that they share (mode 0600, in a directory of your own). advertise: the name of
    this machine for them. Raises ListenError where the address cannot be had, ValueError for a world size that is no
    positive whole number.
    """
    if world_size is not None and (type(world_size) is not int or not 1 <= world_size <= 65_536):
        raise ValueError(f"world_size must be a whole number from 1 to 65536, not {world_size!r}")
    return Listener(world_size, host, port, advertise=advertise, path=path, items_unit=items_unit, monitor=monitor)
