"""A notebook cell as something that ranks can run. Imports next to nothing: ranks import it."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any


class CellCall:
    """The body of a cell, with the globals that it needs, as a callable for :func:`resmon.launch`.

    ``body`` is a function over the notebook's namespace that declares what it assigns global; ``needed`` names what it
    reads before it assigns it. In a rank, the body and the notebook's functions that came along share one namespace,
    as they do in the notebook.
    """

    def __init__(self, body: FunctionType, needed: frozenset[str], name: str) -> None:
        namespace = body.__globals__
        own: dict[str, Any] = {name: namespace[name] for name in sorted(needed) if name in namespace}
        self.body = FunctionType(body.__code__, {"__name__": "__main__", **own}, "cell")
        self.anchor = FunctionType(_nothing.__code__, namespace, "cell")
        self.anchor.__module__ = self.body.__module__ = "__main__"
        self.__qualname__ = name

    @property
    def __globals__(self) -> Mapping[str, Any]:
        """The namespace that the body runs in."""
        return self.anchor.__globals__

    def __call__(self) -> Any:
        """Run the body in this process; its last expression's value, or a coroutine that gives it."""
        namespace = self.anchor.__globals__
        namespace.update({k: v for k, v in self.body.__globals__.items() if k not in ("__name__", "__builtins__")})
        return FunctionType(self.body.__code__, namespace, "cell")()


def _nothing() -> None:
    """Stand in the notebook's namespace."""
