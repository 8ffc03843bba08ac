"""What travels between the notebook and its ranks: a function with all it needs there, results and errors back.

cloudpickle sends what a notebook defines by value, and what can be imported by name. Both ways the data go through
files of mode 0600 in a directory of mode 0700 that resmon made; nothing else is ever unpickled.
"""

from __future__ import annotations

import io
import linecache
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle

from resmon.errors import message_of


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """Notes in which files the functions stand that travel by value, so that tracebacks can show their lines."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.files: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, FunctionType) and isinstance(reduced, tuple):
            self.files.add(obj.__code__.co_filename)
        return reduced


class _ResultPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """Sends tensors as they are on the CPU: unpickling one of a GPU would initialise CUDA in the notebook."""

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor) and obj.device.type not in ("cpu", "meta"):
            return obj.detach().cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return super().reducer_override(obj)


@dataclass(frozen=True, slots=True)
class Work:
    """What a rank is to do, unpacked."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    backend: str | None


def dump_work(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], backend: str | None
) -> bytes:
    """Pack a call for the ranks. Raises whatever pickling raises; ``unpicklable.explain`` says what it was."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump((function, tuple(args), dict(kwargs)))
    sources = {
        name: lines for name in pickler.files if not Path(name).is_file() and (lines := linecache.getlines(name))
    }
    head = {"path": list(sys.path), "sources": sources, "backend": backend, "call": file.getvalue()}
    return pickle.dumps(head, pickle.HIGHEST_PROTOCOL)


def load_work(path: Path) -> Work:
    """Unpack the call in a rank: first what can be imported and the lines for tracebacks, then the function."""
    head = pickle.loads(path.read_bytes())  # noqa: S301 - our own 0600 file
    sys.path += [entry for entry in head["path"] if entry not in sys.path]
    for name, lines in head["sources"].items():
        linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
    function, args, kwargs = pickle.loads(head["call"])  # noqa: S301 - the same
    return Work(function, args, kwargs, head["backend"])


def dump_result(value: Any) -> bytes:
    """Pack what a rank's function returned. Raises whatever pickling raises."""
    file = io.BytesIO()
    _ResultPickler(file).dump(value)
    return file.getvalue()


def load_result(path: Path) -> Any:
    """Unpack it in the notebook. Raises OSError, or whatever unpickling raises."""
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - our own 0600 file


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a rank's function raised. ``at_s`` is wall-clock time: which of several came first."""

    kind: str
    message: str
    traceback: str
    host: str
    at_s: float
    exception: BaseException | None = None


def dump_failure(error: BaseException, host: str, at_s: float) -> tuple[bytes, str]:
    """Pack what a rank's function raised, the exception itself where it pickles; and the traceback as text."""
    shown = traceback.TracebackException.from_exception(error, compact=True)
    own = error.__traceback__
    while own is not None and own.tb_frame.f_globals.get("__package__") == "resmon.distributed":
        own = own.tb_next
    if own is not None:
        shown.stack = traceback.StackSummary.extract(traceback.walk_tb(own))
    facts: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": message_of(error),
        "traceback": "".join(shown.format()),
        "host": host,
        "at_s": at_s,
    }
    try:
        facts["exception"] = dump_result(error.with_traceback(None))
        pickle.loads(facts["exception"])  # noqa: S301 - an exception may pickle and not unpickle
    except Exception:  # noqa: BLE001 - whatever the user's exception does when pickled, its text still arrives
        facts["exception"] = None
    return pickle.dumps(facts, pickle.HIGHEST_PROTOCOL), facts["traceback"]


def load_failure(path: Path) -> Failure | None:
    """Unpack it in the notebook; None while there is none."""
    try:
        facts = load_result(path)
    except OSError:
        return None
    packed = facts.pop("exception")
    exception = None
    if packed is not None:
        try:
            exception = pickle.loads(packed)  # noqa: S301 - our own 0600 file
        except Exception:  # noqa: BLE001 - its class may be one that only the rank could import
            exception = None
    return Failure(**facts, exception=exception)
