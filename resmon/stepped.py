"""Where a progress bar tells whoever wants to know that a step ended."""

from __future__ import annotations

from collections.abc import Callable

listeners: list[Callable[[float], None]] = []
"""Each is called with the items of a step, on the thread that iterates, when a step of ``resmon.track`` has ended."""
