"""The live panel as a widget: the model whose messages the bundle in ``resmon/static`` draws."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

log = logging.getLogger("resmon")

STATIC = Path(__file__).parent.parent / "static"


class Panel(anywidget.AnyWidget):
    """Made on the main thread; ``send_wire`` may be called by any. ``on_click`` gets the messages of the browser."""

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"

    _schema = traitlets.Dict().tag(sync=True)
    _snapshot = traitlets.Bytes(b"").tag(sync=True)
    _cells: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    _ranks = traitlets.Dict().tag(sync=True)
    _rank_numbers = traitlets.Bytes(b"").tag(sync=True)
    _kind = traitlets.Unicode("session").tag(sync=True)

    def __init__(self, on_click: Callable[[Panel, Mapping[str, Any]], None], **state: Any) -> None:
        super().__init__(**state)
        self.kind: str = self._kind
        self._on_click = on_click
        self.on_msg(self._receive)
        # ipykernel 7.4 sends the replies of a widget that was made in a cell to the main shell, where they wait for
        # the end of the cell; without the route they run on the subshell that they came by.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - there is no public way

    def __repr__(self) -> str:
        """What a saved notebook shows where there is no live panel; the same each time, whatever runs it."""
        return "resmon: the live panel is gone with its kernel; %resmon shows it again"

    def _receive(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        self._on_click(self, content)

    def send_wire(self, content: Mapping[str, Any], *buffers: bytes) -> bool:
        """Send one message; False once the widget is closed."""
        if self.comm is None:
            return False
        self.send(content, list(buffers) or None)
        return True
