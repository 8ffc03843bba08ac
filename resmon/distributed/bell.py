"""Wakes a thread that waits for sockets."""

from __future__ import annotations

import socket
from contextlib import suppress


class Bell:
    """``ring`` from any thread makes ``fileno`` readable until ``quiet``. On every platform something to poll."""

    def __init__(self) -> None:
        self._heard, self._pulled = socket.socketpair()
        for end in (self._heard, self._pulled):
            end.settimeout(0)

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._heard.fileno()

    def ring(self) -> None:
        """Wake whoever waits. Any thread; nothing happens once it is closed, or rung already."""
        with suppress(OSError):
            self._pulled.send(b"\0")

    def quiet(self) -> None:
        """It was heard."""
        with suppress(OSError):
            self._heard.recv(4096)

    def close(self) -> None:
        """Give back both ends. Idempotent."""
        self._heard.close()
        self._pulled.close()
