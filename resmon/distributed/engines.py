"""Where ranks can run: on this machine, on a Ray cluster, on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from resmon.distributed.local import LocalRanks, Rank
from resmon.distributed.rundir import RunDirectory


class Ranks(Protocol):
    """The ranks of one run, wherever they are. One thread uses it; what they leave is in ``directory``."""

    directory: RunDirectory
    ranks: list[Rank]

    @property
    def listen_on(self) -> str:
        """The address on which the notebook has to listen for their samples."""
        ...

    @property
    def running(self) -> bool:
        """Whether anything of the run still runs."""
        ...

    @property
    def launcher_status(self) -> int | None:
        """How the launcher ended; None while it runs."""
        ...

    @property
    def some_failed(self) -> bool:
        """Whether a rank told that it failed, or is gone without a word."""
        ...

    def place(self, backend: str | None, timeout_s: float | None) -> None:
        """See that there is a place for every rank. Raises LaunchError where there is not."""
        ...

    def start(self, env: Mapping[str, str], backend: str | None, threads: int) -> None:
        """Start every rank, with these variables in its environment."""
        ...

    def look(self) -> None:
        """Take in what the ranks told since the last look."""
        ...

    def stopped(self, rank: int) -> bool:
        """Whether a signal stopped the rank's process."""
        ...

    def ask_for_stacks(self) -> None:
        """Have every rank that runs write where its threads are."""
        ...

    def end(self) -> None:
        """End the run: gently, then not."""
        ...

    def kill(self) -> None:
        """Leave nothing of the run. Idempotent, and not to be interrupted."""
        ...


def is_place(on: Any) -> bool:
    """Whether :func:`ranks_on` can take it: None, the address of a Ray cluster, or a Dask client."""
    return on is None or (isinstance(on, str) and bool(on)) or _is_dask_client(on)


def _is_dask_client(on: Any) -> bool:
    return any(f"{kind.__module__}.{kind.__name__}" == "distributed.client.Client" for kind in type(on).__mro__)


def ranks_on(on: Any, directory: RunDirectory, world_size: int) -> Ranks:
    """The ranks of a run on that place. Raises LaunchError where it cannot be reached, or what it needs is missing."""
    if on is None:
        return LocalRanks(directory, world_size)
    from resmon.distributed.remote import RemoteRanks

    if isinstance(on, str):
        from resmon.distributed.ray import RayTransport

        return RemoteRanks(directory, world_size, RayTransport(on))
    from resmon.distributed.dask import DaskTransport

    return RemoteRanks(directory, world_size, DaskTransport(on))
