"""Ranks on a Ray cluster: an actor in a placement group for each, all or none. Needs ``pip install 'resmon[ray]'``."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from resmon.distributed.node import RankHost
from resmon.errors import LaunchError

ANSWERS_S = 5.0
CALL_S = 10.0
"""A host that does not answer for so long is gone: its actor does nothing but answer."""


def _see_that_it_answers(address: str) -> None:
    """Ray waits for minutes for a head that is not there. LaunchError where nothing answers at ``host:port``."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return  # "auto", "ray://…": for Ray to say
    try:
        socket.create_connection((host, int(port)), timeout=ANSWERS_S).close()
    except OSError as error:
        raise LaunchError(f"no Ray cluster at on={address!r}: {error.strerror or error}") from error


class RayTransport:
    """Reaches the hosts of ranks as Ray actors. ``address`` is what ``ray.init`` takes: ``"auto"``, ``"host:port"``.

    A Ray that this process is connected to already is used as it is, and stays connected.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise LaunchError(
                f"on={address!r} is a Ray address, and Ray is not here: pip install 'resmon[ray]'"
            ) from None
        self._ray = ray
        self._ours = not ray.is_initialized()
        self._group: Any = None
        self._actors: list[Any] = []
        self._sigterm: Any = None
        if self._ours:
            if threading.current_thread() is threading.main_thread():
                self._sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place, and leaves it
            try:
                _see_that_it_answers(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except BaseException as error:
                self.give_back()  # Ray's handler stays where ray.init fails, too
                if not isinstance(error, (ConnectionError, ValueError, RuntimeError)):
                    raise
                raise LaunchError(
                    f"no Ray cluster at on={address!r}: {error}; on='auto' finds the one of this machine, "
                    f"on='head:6379' is one by its address"
                ) from error
        self.notebook = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]

    def take(self, count: int, timeout_s: float, *, gpus: bool) -> None:
        """A placement group with a CPU (and a GPU) for every rank, and an actor on each."""
        ray = self._ray
        bundle = {"CPU": 1.0, **({"GPU": 1.0} if gpus else {})}
        self._group = ray.util.placement_group([bundle] * count, strategy="PACK")
        try:
            ray.get(self._group.ready(), timeout=timeout_s)
        except ray.exceptions.GetTimeoutError:
            there = {name: amount for name, amount in ray.cluster_resources().items() if name in bundle}
            free = {name: amount for name, amount in ray.available_resources().items() if name in bundle}
            self.give_back()
            raise LaunchError(
                f"{count} ranks need {count} x {bundle}; the Ray cluster has {there}, of which {free} are free, and "
                f"found no place for all within {timeout_s:g} s; ask for fewer ranks, or free what is held"
            ) from None
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        actor = ray.remote(RankHost)
        self._actors = [
            actor.options(
                num_cpus=1,
                num_gpus=1 if gpus else 0,
                scheduling_strategy=strategy(placement_group=self._group, placement_group_bundle_index=i),
            ).remote(i)
            for i in range(count)
        ]

    def call(self, calls: Mapping[int, Sequence[Any]], method: str) -> dict[int, Any]:
        ray = self._ray
        if not self._actors:
            return {}
        asked = {i: getattr(self._actors[i], method).remote(*arguments) for i, arguments in calls.items()}
        answers: dict[int, Any] = {}
        for i, reference in asked.items():
            try:
                answers[i] = ray.get(reference, timeout=CALL_S if method != "where" else 6 * CALL_S)
            except (ray.exceptions.RayError, OSError) as error:
                answers[i] = error
        return answers

    def give_back(self) -> None:
        ray = self._ray
        actors, self._actors = self._actors, []
        group, self._group = self._group, None
        for actor in actors:
            with suppress(ray.exceptions.RayError, ValueError):  # gone already
                ray.kill(actor)
        if group is not None:
            with suppress(ray.exceptions.RayError, ValueError):
                ray.util.remove_placement_group(group)
        if self._ours and ray.is_initialized():
            ray.shutdown()
        sigterm, self._sigterm = self._sigterm, None
        if sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, sigterm)
