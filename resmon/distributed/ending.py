"""How the ranks of a run are ended, wherever they are: gently first, then surely, and never half."""

from __future__ import annotations

import signal
from collections.abc import Callable

GENTLE = ((signal.SIGINT, 2.0), (signal.SIGTERM, 1.0))
"""What ranks are sent before they are killed, and how long each may take."""


def end(ask: Callable[[int, float], bool], kill: Callable[[], None]) -> None:
    """Ask with SIGINT, then with SIGTERM, then kill. A second interrupt goes to the last.

    ``ask`` gets the signal and how long it may take, and returns whether no rank is left that could heed the next one.
    """
    try:
        for number, within_s in GENTLE:
            if ask(number, within_s):
                break
    except KeyboardInterrupt:
        pass
    finally:
        kill()


def to_the_end(work: Callable[[], None]) -> None:
    """Do what must not be left half done: an interrupt only makes it begin again. ``work`` is idempotent."""
    while True:
        try:
            work()
        except KeyboardInterrupt:
            continue
        return
