"""The items of a span that counts none itself: those of the windows that were opened and closed in it."""

from __future__ import annotations

import threading

from resmon.windows import Window


class Counting:
    """Adds up, for an open window, the items of those that are closed meanwhile. Any thread.

    Of windows within each other the innermost count.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._items: dict[str, float] = {}
        self._opened_s: dict[int, float] = {}
        self._lock = threading.Lock()

    def take(self, window: Window) -> None:
        """A window was closed, on this thread."""
        opened_s = window.opened_s
        since_s = self._window.opened_s
        if not window.items or window is self._window or opened_s is None or since_s is None or opened_s < since_s:
            return
        thread = threading.get_ident()
        with self._lock:
            if self._opened_s.get(thread, opened_s) > opened_s:
                return  # around one that counted already
            self._opened_s[thread] = opened_s
            self._items[window.items_unit] = self._items.get(window.items_unit, 0) + window.items

    def give(self) -> None:
        """The window is about to be closed: it counts what was added up, where that is all of one kind."""
        if self._window.items is None and len(self._items) == 1:
            ((self._window.items_unit, self._window.items),) = self._items.items()
