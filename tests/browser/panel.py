"""The live panel in a page, as a test reads it: by its roles and names."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

PANEL = "[data-resmon-state]"
BUSY = """import time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(10_000))"""
BUSY_UNTIL = """import os
while not os.path.exists({path!r}):
    sum(range(10_000))"""
"""A cell that runs until the test has made a file."""


class LivePanel:
    """One view of a panel, within ``where``."""

    def __init__(self, where: Locator) -> None:
        self.root = where.locator(PANEL).first

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait until the panel is there and has painted a row."""
        expect(self.root).to_have_attribute("data-resmon-rows", re.compile(r"[1-9]"), timeout=timeout_s * 1000)

    @property
    def rows(self) -> int:
        """How many rows were painted."""
        return int(self.root.get_attribute("data-resmon-rows") or 0)

    @property
    def state(self) -> str:
        return self.root.get_attribute("data-resmon-state") or ""

    def wait_state(self, state: str, timeout_s: float = 60.0) -> None:
        expect(self.root).to_have_attribute("data-resmon-state", state, timeout=timeout_s * 1000)

    def wait_rows(self, more: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more rows were painted."""
        wanted = self.rows + more
        element = self.root.element_handle(timeout=30_000)
        self.root.page.wait_for_function(
            "([panel, wanted]) => Number(panel.dataset.resmonRows) >= wanted",
            arg=[element, wanted],
            timeout=timeout_s * 1000,
        )

    @property
    def elapsed_s(self) -> int:
        """The time that the header shows."""
        minutes, seconds = self.root.get_by_role("timer").inner_text().split(":")
        return int(minutes) * 60 + int(seconds)

    def wait_elapsed(self, seconds: int, timeout_s: float = 60.0) -> None:
        """Wait until the header shows at least that many seconds."""
        element = self.root.get_by_role("timer").element_handle(timeout=30_000)
        self.root.page.wait_for_function(
            "([timer, wanted]) => timer.textContent.split(':').reduce((all, part) => 60 * all + +part, 0) >= wanted",
            arg=[element, seconds],
            timeout=timeout_s * 1000,
        )

    def meter(self, name: str) -> float | None:
        """The value of a meter; None where it says that it is unknown."""
        value = self.root.get_by_role("meter", name=name, exact=True).first.get_attribute("aria-valuenow")
        return None if value is None else float(value)

    def energy(self, basis: str) -> str:
        """What a screen reader is told of this cell's energy."""
        row = self.root.get_by_role("row").filter(has=self.root.page.get_by_role("rowheader", name=basis))
        return row.locator(".rm-energy-cell").get_attribute("aria-label") or ""

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name)

    @property
    def overflow_px(self) -> int:
        """How much of its content lies beyond its right edge."""
        return int(self.root.evaluate("panel => panel.scrollWidth - panel.clientWidth"))
