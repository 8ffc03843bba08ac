"""What :func:`resmon.launch` is given, and where it is called: checked before anything begins."""

from __future__ import annotations

import importlib.util
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from resmon.distributed.engines import is_place
from resmon.distributed.rundir import RUN
from resmon.errors import LaunchError
from resmon.views import escape

MOST_RANKS = 256
_DASK = ("tcp://", "tls://", "ucx://", "ws://", "wss://")


def name_of(fn: Callable[..., Any]) -> str:
    """What a function is called in messages and views."""
    qualified = getattr(fn, "__qualname__", "") or type(fn).__qualname__
    return escape.shortened(str(qualified).rpartition("<locals>.")[2])


def count_of(ranks: object) -> int:
    """The number of ranks. Raises TypeError or ValueError."""
    try:
        count = operator.index(ranks)  # type: ignore[arg-type]  # that is what is found out
    except TypeError:
        count = None
    if count is None or isinstance(ranks, bool):
        raise TypeError(f"ranks must be a whole number of processes, such as ranks=2, not {ranks!r}")
    if not 1 <= count <= MOST_RANKS:
        raise ValueError(f"ranks must be from 1 to {MOST_RANKS} processes, not {ranks!r}")
    return count


def shown_of(output: object, world_size: int) -> list[int]:
    """The ranks whose output is shown. Raises ValueError."""
    if output == "first":
        return [0]
    if output == "all":
        return list(range(world_size))
    if isinstance(output, Sequence) and not isinstance(output, str):
        chosen = list(output)
        if all(type(rank) is int and 0 <= rank < world_size for rank in chosen):
            return sorted(set(chosen))
    raise ValueError(f'output must be "first", "all", or ranks from 0 to {world_size - 1}, not {output!r}')


def check_call(args: object, kwargs: object) -> None:
    """Raise TypeError for what cannot be passed as ``fn(*args, **kwargs)``."""
    if not isinstance(args, Sequence) or isinstance(args, (str, bytes)):
        raise TypeError(f"args must be a tuple or list, such as args=(10,), not {escape.shortened(repr(args))}")
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
        raise TypeError(
            f"kwargs must map names to values, such as kwargs={{'epochs': 10}}, not {escape.shortened(repr(kwargs))}"
        )


def _check_place(on: object) -> None:
    if isinstance(on, str) and on.startswith(_DASK):
        raise TypeError(f"on={on!r} is the address of a Dask scheduler: pass a client, on=distributed.Client({on!r})")
    if not is_place(on):
        raise TypeError(
            f"on={on!r} is no place for ranks: None is this machine, a Ray address such as 'auto' or 'head:6379' a Ray "
            f"cluster, a distributed.Client the workers of a Dask cluster"
        )


def check(fn: object, backend: object, on: object, timeout_s: object) -> None:
    """Raise for what is wrong with a call, or with its place: TypeError, ValueError, LaunchError."""
    if not callable(fn):
        raise TypeError(f"fn must be a function, not {fn!r}")
    if backend is not None and (not isinstance(backend, str) or not backend):
        raise TypeError(f'backend must be None, "nccl", "gloo" or another of torch.distributed, not {backend!r}')
    if timeout_s is not None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float, Real)):
            raise TypeError(f"timeout_s must be a number of seconds or None, not {timeout_s!r}")
        if not 0 < float(timeout_s) < math.inf:
            raise ValueError(f"timeout_s must be a number of seconds above 0, or None for no limit, not {timeout_s!r}")
    _check_place(on)
    if RUN in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        rank = os.environ.get("RANK", "?")
        raise LaunchError(f"this is rank {rank} of a run already: launch from the notebook or script, not from a rank")
    if os.name == "nt":
        raise LaunchError("resmon.launch needs Linux or macOS: on Windows, use WSL")
    if importlib.util.find_spec("torch") is None:
        raise LaunchError("the ranks need PyTorch, which is not installed here: pip install 'resmon[train]'")
