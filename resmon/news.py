"""Waiting for what another thread does, at no cost for the one that does it while nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class News:
    """A condition that knows whether somebody waits for it. ``awaited`` is how many do."""

    __slots__ = ("_condition", "awaited")

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.awaited = 0

    def wait_for(
        self, happened: Callable[[], bool], timeout_s: float, first: Callable[[], object] | None = None
    ) -> bool:
        """Wait until it has happened; False after ``timeout_s`` seconds. ``first`` is called once ``awaited`` tells."""
        with self._condition:
            self.awaited += 1
        try:
            if first is not None:
                first()
            with self._condition:
                return self._condition.wait_for(happened, timeout_s)
        finally:
            with self._condition:
                self.awaited -= 1

    def tell(self) -> None:
        """Let who waits look again."""
        if self.awaited:
            with self._condition:
                self._condition.notify_all()

    def after_fork(self) -> None:
        """In a forked child: who waited is not here, and the lock may be held for ever."""
        self._condition = threading.Condition()
        self.awaited = 0
