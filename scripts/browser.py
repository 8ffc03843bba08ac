"""The browser of the browser tests: the one this machine has, else one that can be installed.

``RESMON_BROWSER`` names a Chromium, Chrome or Edge to use; otherwise the usual names and places are tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""What it is started with: nothing that draws on a GPU, asks anybody, or needs rights that a container lacks."""
MISSING = (
    "no browser for the browser tests: install Chromium, Chrome or Edge, or run `playwright install chromium`, "
    "or let RESMON_BROWSER name one"
)
INSTALL_TIMEOUT_S = 600


def find() -> str | None:
    """Return the path of a browser that starts, or None. Raises FileNotFoundError for a wrong RESMON_BROWSER."""
    named = os.environ.get("RESMON_BROWSER")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(f"RESMON_BROWSER={named} is no program on this machine")
        return found
    return next((path for path in _candidates() if _starts(path)), None)


def ensure() -> str | None:
    """Return a browser, installing one where there is none; None where that cannot be done."""
    found = find()
    if found:
        return found
    for command in _installers():
        print(f"resmon: no browser here yet: {' '.join(command)}", flush=True)
        try:
            subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"resmon: that did not work: {error}", flush=True)
        found = find()
        if found:
            return found
    return None


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    yield from (place for place in PLACES if Path(place).is_file())
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).is_file():
        yield own


def _starts(path: str) -> bool:
    """Some systems put a script in the place of the browser that only says how to get it."""
    if sys.platform == "win32":  # --version opens a window there
        return True
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installers() -> Iterator[list[str]]:
    yield [sys.executable, "-m", "playwright", "install", "chromium"]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        yield ["apt-get", "update"]
        yield ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]


def main() -> int:
    try:
        if ensure():
            return 0
    except FileNotFoundError as error:
        print(f"resmon: {error}", file=sys.stderr)
        return 1
    print(f"resmon: {MISSING}", file=sys.stderr)
    if os.environ.get("CI"):
        return 1
    print("resmon: the browser tests will be skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
