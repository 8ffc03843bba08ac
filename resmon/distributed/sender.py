"""The rank's end: a small thread that tells the notebook what the rank does, and never holds it up."""

from __future__ import annotations

import atexit
import os
import threading

from resmon.distributed import connection
from resmon.distributed.environment import REPORTS, Place, find_place, started_by_rank
from resmon.distributed.reporting import Reporter, say


class _Own:
    """This process's reporter."""

    def __init__(self) -> None:
        self.reporter: Reporter | None = None
        self.lock = threading.Lock()
        self.left_behind: list[Reporter] = []
        self.said: set[str] = set()

    def after_fork(self) -> None:
        """In a forked child: the thread and the sockets stayed with the parent; kept, so that nothing closes them."""
        self.lock = threading.Lock()
        reporter, self.reporter = self.reporter, None
        if reporter is not None:
            reporter.after_fork()
            self.left_behind.append(reporter)


_own = _Own()


def start_reporting(place: Place | None = None) -> bool:
    """Tell the notebook that ``RESMON_CONNECTION`` leads to what this rank does, until the process ends.

    Returns at once: connecting goes on in the background. Never raises: what is wrong is said on stderr, once, and
    the rank trains on. False where there is nothing to report to, or this process was started by a rank. Idempotent.

    place: which rank this is; by default what the launcher wrote into the environment.
    """
    path = os.environ.get(connection.VARIABLE)
    if not path:
        return False
    with _own.lock:
        if _own.reporter is not None:
            return True
        if started_by_rank():
            return False
        try:
            found = find_place() if place is None else place
            reporter = Reporter(connection.read(path), found)
            reporter.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, training does not depend on it
            if str(error) not in _own.said:
                _own.said.add(str(error))
                say(f"this rank is not shown in the notebook: {error}")
            return False
        os.environ[REPORTS] = str(os.getpid())
        _own.reporter = reporter
    return True


def stop_reporting(outcome: str = "") -> None:
    """Send the last sample and end the thread; waits a second at most. Idempotent, never raises.

    outcome: ``"done"``, or what ended the rank; left out where whoever started the rank says it.
    """
    with _own.lock:
        reporter, _own.reporter = _own.reporter, None
        if reporter is None:
            return
        reporter.stop(outcome)
        os.environ.pop(REPORTS, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own.after_fork)
atexit.register(stop_reporting)
