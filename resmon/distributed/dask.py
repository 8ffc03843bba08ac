"""Ranks on the workers of a Dask cluster, one on each. Needs ``pip install 'resmon[dask]'``.

A plugin on the workers holds the rank's process; a task on each keeps its place, so that the scheduler knows of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from distributed import Client, Worker, WorkerPlugin
from distributed.comm.addressing import get_address_host

from resmon.distributed.node import RankHost
from resmon.errors import LaunchError

_LOOK_S = 0.1


class RankPlugin(WorkerPlugin):
    """Holds the rank of one run on a worker, and ends it with the worker."""

    def __init__(self, run: str) -> None:
        self.name = f"resmon {run}"
        self.host: RankHost | None = None
        self.released = threading.Event()

    def __getstate__(self) -> dict[str, str]:
        return {"name": self.name}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(state["name"].removeprefix("resmon "))  # type: ignore[misc]  # the parts that do not travel

    def teardown(self, worker: Worker) -> None:
        """The worker ends, or the run does."""
        self.released.set()
        if self.host is not None:
            self.host.kill()


def _hold(name: str, rank: int) -> None:
    """The task of a rank: keeps its place on the worker until the run gives it back."""
    from distributed import get_worker

    plugin = cast(RankPlugin, get_worker().plugins[name])
    plugin.host = RankHost(rank)
    plugin.released.wait()


def _call(name: str, rank_of: Mapping[str, int], method: str, calls: Mapping[int, Any], *, dask_worker: Worker) -> Any:
    rank = rank_of[dask_worker.address]
    plugin = cast(RankPlugin, dask_worker.plugins[name])
    if method == "has place":
        return plugin.host is not None
    return getattr(plugin.host, method)(*calls[rank])


class DaskTransport:
    """Reaches the hosts of ranks through a plugin of Dask's workers. ``client`` is the user's, and stays as it is."""

    def __init__(self, client: Client) -> None:
        if client.status != "running" or client.asynchronous:
            state = client.status if client.status != "running" else "asynchronous"
            raise LaunchError(f"on={client!r} is {state}: make a new distributed.Client(…), a synchronous one")
        self._client = client
        self._plugin = RankPlugin(os.urandom(4).hex())
        self._workers: list[str] = []
        self._places: list[Any] = []
        self._registered = False
        self.notebook = str(get_address_host(client.scheduler_info()["address"]))

    def take(self, count: int, timeout_s: float, *, gpus: bool) -> None:
        """A task that holds a thread of its own on as many workers as there are ranks."""
        workers = sorted(self._client.scheduler_info(n_workers=-1)["workers"])
        if len(workers) < count:
            raise LaunchError(
                f"{count} ranks need {count} Dask workers, a rank on each; the cluster has {len(workers)}: "
                f"start more, or ask for ranks={len(workers)}"
            )
        self._workers = workers[:count]
        self._client.register_plugin(self._plugin)
        self._registered = True
        self._places = [
            self._client.submit(
                _hold, self._plugin.name, i, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
            for i, worker in enumerate(self._workers)
        ]
        until_s = time.monotonic() + timeout_s
        while True:
            answers = self.call(dict.fromkeys(range(count), ()), "has place")
            missing = [self._workers[i] for i, answer in answers.items() if answer is not True]
            if not missing:
                return
            broken = next((answer for answer in answers.values() if isinstance(answer, BaseException)), None)
            if broken is not None:
                self.give_back()
                raise LaunchError(f"the Dask workers cannot take ranks (they need resmon too): {broken!r}") from broken
            if time.monotonic() > until_s:
                self.give_back()
                raise LaunchError(
                    f"no free thread within {timeout_s:g} s on the Dask workers {', '.join(missing)}: other tasks hold "
                    f"them, or they do not answer"
                )
            time.sleep(_LOOK_S)

    def call(self, calls: Mapping[int, Sequence[Any]], method: str) -> dict[int, Any]:
        rank_of = {worker: i for i, worker in enumerate(self._workers) if i in calls}
        if not rank_of:
            return {}
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        alive = [worker for worker in rank_of if worker in there]
        answers: dict[int, Any] = {
            i: ConnectionError(f"the worker {worker} left the cluster") for worker, i in rank_of.items()
        }
        try:
            found = self._client.run(
                _call, self._plugin.name, rank_of, method, dict(calls), workers=alive, on_error="return"
            )
        except (OSError, TimeoutError) as error:
            return dict.fromkeys(calls, error)
        answers |= {rank_of[worker]: answer for worker, answer in found.items()}
        return answers

    def give_back(self) -> None:
        places, self._places = self._places, []
        if self._registered:
            self._registered = False
            with suppress(OSError, TimeoutError, KeyError, ValueError):  # a cluster that is gone holds nothing any more
                # Its teardown releases the places.
                self._client.unregister_worker_plugin(self._plugin.name)  # type: ignore[no-untyped-call]
        for place in places:
            with suppress(OSError, TimeoutError):
                place.cancel()
        self._workers = []
