"""The browser of the harness: playwright's own chromium, or the one that ``RESMON_CHROMIUM`` names."""

from __future__ import annotations

import os

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(play: Playwright) -> Browser:
    """A browser without window."""
    return play.chromium.launch(executable_path=os.environ.get("RESMON_CHROMIUM") or None, args=FLAGS)


def open_page(context: BrowserContext, address: str, mode: str, complaints: list[str]) -> Page:
    """The harness page, ready; errors of the page are added to ``complaints``."""
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(address)
    page.wait_for_function("document.documentElement.dataset.ready !== undefined")
    page.evaluate("mode => { document.documentElement.dataset.mode = mode }", mode)
    return page
