"""The live panel in a real JupyterLab and a real browser, beside a cell of busy Python.

A sample's time is when its reading began. Bytes are those of the websocket messages that carry a row, Jupyter's headers
included. The main thread's time is what the browser itself counts (``TaskDuration`` of its performance metrics), less
that of the same cell without a panel: CPU time, which is a share of a core, and time on the clock, in which the thread
may also have waited for the core that the kernel is busy on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from benchmarks.fresh import quantile
from benchmarks.report import Row

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.page import NotebookPage
    from tests.browser.server import Server

GPUS = 8
PANEL = "[data-resmon-state]"
SETTLE_S = 3.0
BUSY = """
import time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(10_000))
"""
WATCH = """panel => {
    window.resmonPaints = [];
    new MutationObserver(() => {
        const { resmonPaintedAt: painted, resmonSampleAt: sample } = panel.dataset;
        window.resmonPaints.push(Number(painted) - Number(sample));
    }).observe(panel, { attributes: true, attributeFilter: ["data-resmon-painted-at"] });
}"""


def run(*, quick: bool) -> list[Row]:
    from playwright.sync_api import sync_playwright

    from scripts import browser as finder

    path = finder.find()
    if path is None:
        raise RuntimeError(finder.MISSING)
    seconds = 15.0 if quick else 60.0
    rows: list[Row] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=finder.FLAGS)
        for gpus in (0, GPUS) if shutil.which("gcc") else (0,):
            with _server(gpus) as server:
                rows += _rows(_measure(browser, server, seconds), f"{gpus} GPUs" if gpus else "no GPU", gpus)
        browser.close()
    return rows


def _rows(found: dict[str, Any], what: str, gpus: int) -> list[Row]:
    paints, frames = found["paints_ms"], found["frames"]
    share, clock = (100 * (found[name] - found[f"{name}_without"]) for name in ("cpu", "clock"))
    alone = "the same cell without a panel"
    return [
        Row(name=f"sample to paint, {what}, p50", value=quantile(paints, 0.5), unit="ms"),
        Row(name=f"sample to paint, {what}, p95", value=quantile(paints, 0.95), unit="ms", limit=50.0),
        Row(name=f"a refresh on the websocket, {what}", value=quantile(frames, 0.5), unit="B",
            reference="its numbers alone", reference_value=found["numbers"], limit=1500.0 if gpus else None),
        Row(name=f"refreshes per second, {what}", value=len(frames) / found["span_s"], unit="/s", limit=4.0),
        Row(name=f"browser's main thread, {what}", value=share, unit="% of a core",
            reference=alone, reference_value=100 * found["cpu_without"], limit=5.0),
        Row(name=f"the same on the clock, {what}", value=clock, unit="% of the time",
            reference=alone, reference_value=100 * found["clock_without"]),
    ]  # fmt: skip


@contextmanager
def _server(gpus: int) -> Iterator[Server]:
    from tests.browser.server import serve

    with tempfile.TemporaryDirectory() as folder:
        env: dict[str, str] = {}
        if gpus:
            from tests import driver

            script = driver.Script(gpus=driver.gpus(gpus, utilization_percent=80, power_w=500))
            env = driver.environment(script.write(Path(folder) / "gpus"))
        with mock.patch.dict(os.environ, env), serve() as server:
            yield server


def _measure(browser: Browser, server: Server, seconds: float) -> dict[str, Any]:
    from tests.browser.page import NotebookPage

    frames: list[bytes] = []

    def heard(frame: str | bytes) -> None:
        frames.append(frame.encode() if isinstance(frame, str) else frame)

    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.on("websocket", lambda socket: socket.on("framereceived", heard))
    busy = BUSY.format(seconds=seconds + SETTLE_S + 6)
    cells = ["%load_ext resmon", busy, "%%resmon busy" + busy]
    notebook = NotebookPage(page, server, "lab", server.add_notebook(cells), Path(tempfile.gettempdir()))
    try:
        notebook.load()
        notebook.run_cell(0)
        notebook.wait_until_idle()
        notebook.run_cell(1)
        time.sleep(SETTLE_S)
        cpu_without, clock_without = _main_thread(notebook, seconds)
        notebook.wait_until_idle(seconds + 60)
        notebook.run_cell(2)
        panel = notebook.output(2).locator(PANEL).first
        panel.wait_for()
        notebook.page.wait_for_timeout(1000 * SETTLE_S)
        panel.evaluate(WATCH)
        frames.clear()
        started_s = time.monotonic()
        cpu, clock = _main_thread(notebook, seconds)
        span_s = time.monotonic() - started_s
        paints = notebook.page.evaluate("window.resmonPaints")
        rows = [frame for frame in frames if b'"k":"row"' in frame.replace(b" ", b"")[:4000]]
        if len(paints) < seconds or not rows:
            raise RuntimeError(
                f"{len(paints)} paints and {len(rows)} rows in {seconds} s: {notebook.evidence('bench')}"
            )
    finally:
        notebook.close()
    return {
        "paints_ms": paints,
        "frames": [len(row) for row in rows],
        "numbers": _last_part(rows[-1]),
        "span_s": span_s,
        "cpu": cpu,
        "clock": clock,
        "cpu_without": cpu_without,
        "clock_without": clock_without,
    }


def _last_part(frame: bytes) -> int:
    """Bytes of the last buffer of a message in Jupyter's binary websocket protocol: a count, offsets, the parts."""
    count = int.from_bytes(frame[:8], "little")
    begin, end = (int.from_bytes(frame[8 * i : 8 * i + 8], "little") for i in (count - 1, count))
    return end - begin


def _main_thread(notebook: NotebookPage, seconds: float) -> tuple[float, float]:
    """The share of the time in which the page's main thread had work: its CPU time, and the time on the clock."""
    return _share(notebook, seconds / 2, "threadTicks"), _share(notebook, seconds / 2, "timeTicks")


def _share(notebook: NotebookPage, seconds: float, domain: str) -> float:
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("Performance.enable", {"timeDomain": domain})

    def metrics() -> dict[str, float]:
        return {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}

    before = metrics()
    notebook.page.wait_for_timeout(1000 * seconds)
    after = metrics()
    session.detach()
    return (after["TaskDuration"] - before["TaskDuration"]) / (after["Timestamp"] - before["Timestamp"])
