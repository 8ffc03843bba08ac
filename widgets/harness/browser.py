"""The browser of the harness: the one that ``scripts/browser.py`` finds, for which ``RESMON_BROWSER`` can name one."""

from __future__ import annotations

import runpy
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Playwright


def launch(play: Playwright) -> Browser:
    """Start a browser without window."""
    finder = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "browser.py"))
    path = finder["find"]()
    if path is None:
        raise SystemExit(finder["MISSING"])
    return play.chromium.launch(executable_path=path, args=finder["FLAGS"])


def open_page(context: BrowserContext, address: str, mode: str, complaints: list[str]) -> Page:
    """Open the harness page and wait until it is ready; errors of the page are added to ``complaints``."""
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.ready !== undefined")
    page.evaluate("mode => { document.documentElement.dataset.mode = mode }", mode)
    return page
