"""Which object it is that does not pickle, and where it stands: the way from a call to the culprit, in words."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle

from resmon.distributed.cell import CellCall
from resmon.views import escape

_DEPTH = 12
_CHILDREN = 200


def explain(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception) -> str:
    """Say what does not pickle: ``its global 'lock' → ['a'], a _thread.lock``; ``error`` is what pickling raised."""
    roots: list[tuple[str, Any]] = [("the function", function.body if isinstance(function, CellCall) else function)]
    roots += [(f"argument {i}", value) for i, value in enumerate(args)]
    roots += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for where, value in roots:
        if _fails(value):
            way, culprit = _follow(where, value)
            break
    else:
        way, culprit = ["the call"], function
    if way[0] == "the function" and len(way) > 1:
        way = [f"its {way[1]}", *way[2:]]
    return f"{' → '.join(way)}, of type {_type(culprit)}, does not pickle: {escape.shortened(error, 200)}"


def _type(value: Any) -> str:
    kind = type(value)
    name = escape.plain(kind.__qualname__)
    return name if kind.__module__ in ("builtins", "__main__") else f"{escape.plain(kind.__module__)}.{name}"


def _fails(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever a class does when it is pickled: it is what is looked for
        return True
    return False


def _follow(where: str, value: Any) -> tuple[list[str], Any]:
    way = [where]
    seen = {id(value)}
    while len(way) < _DEPTH:
        for name, child in _children(value):
            if id(child) not in seen and _fails(child):
                seen.add(id(child))
                way.append(name)
                value = child
                break
        else:
            break
    return way, value


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, as far as pickling would go into it."""
    if isinstance(value, MethodType):
        yield "object", value.__self__
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, type):
        yield from ((f"attribute {name!r}", part) for name, part in vars(value).items() if not name.startswith("__"))
    elif isinstance(value, Mapping):
        yield from ((f"[{escape.shortened(repr(k), 30)}]", part) for k, part in [*value.items()][:_CHILDREN])
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", part) for i, part in enumerate([*value][:_CHILDREN]))
    elif not isinstance(value, ModuleType):
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):
            yield from ((f".{name}", part) for name, part in held.items())


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name in sorted(_global_names(function.__code__)):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"variable {name!r}", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for i, value in enumerate(function.__defaults__ or ()):
        yield f"default {i}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default {name!r}", value
    yield from ((f".{name}", value) for name, value in vars(function).items())


def _global_names(code: CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "STORE_GLOBAL")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names
