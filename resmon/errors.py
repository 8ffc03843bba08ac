"""What resmon raises on purpose.

::

    ResmonError
    ├── MonitorError        a monitor used against its state, for example after the process forked
    ├── RecordError         a flight record or trace that cannot be read (also a ValueError)
    ├── CalibrationError    a board's calibration that cannot be read (also a ValueError)
    ├── ConnectionFileError a connection file of ranks that cannot be read (also a ValueError)
    ├── ListenError         the notebook cannot listen for ranks (also an OSError)
    ├── LaunchError         a distributed run that failed or could not begin; ``run`` has what there is of it
    │   ├── LaunchTimeoutError  it took longer than it was given (also a TimeoutError)
    │   └── NotPicklableError   what it needs cannot be sent to its ranks (also a TypeError)
    ├── NodeLostError       a node of a cluster that is gone in the middle of a run (also a ConnectionError)
    ├── RankError           what ended one rank: the cause of a LaunchError
    └── LedgerError         a ledger that kernels share and that cannot be read, locked or written
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resmon.distributed.launched import Run


class ResmonError(Exception):
    """The root of what resmon raises on purpose."""


class MonitorError(ResmonError, RuntimeError):
    """A monitor was used against its state."""


class RecordError(ResmonError, ValueError):
    """A flight record or trace cannot be read; the message names the file, the place and the reason."""


class CalibrationError(ResmonError, ValueError):
    """A board's calibration cannot be read; the message names the file, the place and the reason."""


class ConnectionFileError(ResmonError, ValueError):
    """The connection file of a run cannot be used; the message names the file and the reason."""


class ListenError(ResmonError, OSError):
    """The notebook cannot listen for ranks; the message names the address and the reason."""


class LaunchError(ResmonError):
    """A distributed run failed, or could not begin.

    ``run`` is what there is of it: results of ranks that had ended, output files, measurement; None for a run that did
    not begin. ``__cause__`` is the :class:`RankError` of the rank that failed first.
    """

    run: Run | None = None


class LaunchTimeoutError(LaunchError, TimeoutError):
    """A distributed run took longer than it was given; the message says where each rank was."""


class NotPicklableError(LaunchError, TypeError):
    """Something that a distributed run needs does not pickle; the message names the object and where it is."""


class NodeLostError(ResmonError, ConnectionError):
    """A node of a cluster, or resmon's process on it, is gone in the middle of a run."""


class RankError(ResmonError):
    """What ended one rank of a distributed run, with the rank's own traceback as text.

    ``rank`` and ``host`` say where. ``exception`` is what the rank raised, where that could be sent back; None for a
    rank that a signal ended.
    """

    def __init__(self, message: str, rank: int, host: str = "", exception: BaseException | None = None) -> None:
        super().__init__(message)
        self.rank = rank
        self.host = host
        self.exception = exception

    def __reduce__(self) -> tuple[type[RankError], tuple[object, ...]]:
        return type(self), (str(self), self.rank, self.host, self.exception)


class LedgerError(ResmonError):
    """A ledger that kernels share cannot be read, locked or written; the message names the file and the reason."""


class ResmonWarning(UserWarning):
    """Something is worth knowing and harms nothing: resmon goes on."""


def message_of(error: BaseException) -> str:
    """What an exception says, in one line; as in a traceback ``<exception str() failed>`` where its own code raises."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - whatever the user's class does: what it is and where it was raised still counts
        return "<exception str() failed>"
