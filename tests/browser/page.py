"""A notebook open in a browser, in JupyterLab or in Notebook 7, and what a test does with it.

Everything waits with a timeout. Cells are counted from 0. Nothing here waits for a command of the front end to end:
one that waits behind a dialog would hang the test.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import ConsoleMessage, Error, Locator, Page, expect

from tests.browser.server import Frontend, Server

TIMEOUT_S = 60.0
WIDGET_SCRIPT = "blob:"
"""How anywidget loads the script of a widget; the front ends load their own from the server."""

CURRENT = "window.jupyterapp.shell.currentWidget"
READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget, session = panel?.sessionContext;
    const kernel = session?.session?.kernel;
    return Boolean(panel?.content?.widgets?.length && session.isReady && kernel
                   && kernel.connectionStatus === "connected" && kernel.status === "idle");
}"""
WAITING = f'{CURRENT}.content.widgets.some(cell => cell.inputArea?.promptNode.textContent.includes("*"))'
NOTHING_RUNS = f'() => {CURRENT}.sessionContext.session.kernel.status === "idle" && !{WAITING}'


class NotebookPage:
    """One open notebook. ``page`` is playwright's own.

    ``console`` is what the page said so far. ``widget_errors`` are the errors that came out of a widget's own script,
    uncaught or logged; the front ends have some of their own, which are not ours to judge.
    """

    def __init__(self, page: Page, server: Server, frontend: Frontend, path: str, shots: Path) -> None:
        self.page, self.server, self.frontend, self.path = page, server, frontend, path
        self.widget_errors: list[str] = []
        self.console: list[str] = []
        self._shots = shots
        page.set_default_timeout(TIMEOUT_S * 1000)
        page.on("pageerror", self._hear_error)
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        if message.type == "error" and WIDGET_SCRIPT in message.location["url"]:
            self.widget_errors.append(message.text)

    def _hear_error(self, error: Error) -> None:
        self.console.append(f"uncaught: {error.stack or error}")
        if WIDGET_SCRIPT in (error.stack or ""):
            self.widget_errors.append(str(error.stack))

    def load(self) -> None:
        """Open the notebook's page (again) and wait until its kernel can be used."""
        self.page.goto(self.server.page_url(self.path, self.frontend))
        self.wait_until(READY)

    def wait_until(self, script: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until this JavaScript function gives something true."""
        self.page.wait_for_function(script, timeout=timeout_s * 1000, polling=50)

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> None:
        """Start a command of the front end, by its id; does not wait for its end."""
        self.page.evaluate(
            "([command, args]) => { window.jupyterapp.commands.execute(command, args).catch(console.error); }",
            [command, arguments or {}],
        )

    def run_all(self) -> None:
        """Start all cells; see :meth:`wait_until_idle` and :meth:`wait_output`."""
        self.execute("notebook:run-all-cells")

    def run_cell(self, index: int) -> None:
        """Start one cell."""
        self.page.evaluate(f"index => {{ {CURRENT}.content.activeCellIndex = index; }}", index)
        self.execute("notebook:run-cell")

    def wait_until_idle(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until no cell runs or is queued and the kernel is idle."""
        self.wait_until(NOTHING_RUNS, timeout_s)

    def kernel_status(self) -> str:
        """Return ``"busy"`` while a cell runs or waits, else what the front end knows of the kernel.

        The front end alone would say idle in the middle of a cell: each message on a subshell ends with an idle.
        """
        return str(self.page.evaluate(f'{WAITING} ? "busy" : {CURRENT}.sessionContext.session.kernel.status'))

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return the outputs of a cell, each an element of its own (``.first``, ``.nth(1)``, ``.count()``)."""
        return self.cell(index).locator(".jp-OutputArea-output")

    def wait_output(self, index: int, text: str | re.Pattern[str], timeout_s: float = TIMEOUT_S) -> Locator:
        """Wait until an output of the cell shows this text, and return that output."""
        outputs = self.output(index)
        found = outputs.filter(has_text=text).first
        expect(found).to_be_visible(timeout=timeout_s * 1000)
        place = found.evaluate("(element, all) => all.indexOf(element)", outputs.element_handles())
        return outputs.nth(place)  # by its place: it stays this output when its text changes

    def save(self) -> nbformat.NotebookNode:
        """Save, and return the notebook as it is now on the disk."""
        # The end of the saving itself: a notebook that had nothing to save is "not dirty" while its file is written.
        self.page.evaluate(
            "() => { window.saved = false;"
            " window.jupyterapp.commands.execute('docmanager:save').then(() => { window.saved = true; }); }"
        )
        self.wait_until("() => window.saved")
        notebook: nbformat.NotebookNode = nbformat.read(self.server.root / self.path, as_version=4)
        return notebook

    def restart_and_reload(self) -> None:
        """Save, give the notebook a fresh kernel and open it again, as on another day."""
        self.save()
        self.page.evaluate(f"() => {{ {CURRENT}.sessionContext.session.kernel.restart().catch(console.error); }}")
        self.wait_until(f"() => {CURRENT}.sessionContext.session.kernel.status !== 'idle'")
        self.wait_until(READY)
        self.load()

    def use_theme(self, *, dark: bool) -> None:
        self.execute("apputils:change-theme", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
        self.wait_until(f"() => document.body.dataset.jpThemeLight === '{'false' if dark else 'true'}'")

    def limit_output_width(self, width_px: int) -> None:
        """Make every output this wide, as a side panel or a small window would."""
        css = f".jp-OutputArea-output {{ max-width: {width_px}px; min-width: 0; box-sizing: border-box; }}"
        self.page.add_style_tag(content=css)

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Write a picture of the page, or of one element, into ``test-results/``."""
        self._shots.mkdir(exist_ok=True)
        path = self._shots / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.png"
        (of or self.page).screenshot(path=path)
        return path

    def evidence(self, name: str) -> str:
        """Take a picture for a failed test; return where it is and what the page complained of."""
        try:
            picture = str(self.screenshot(name))
        except Error as error:
            picture = f"no picture: {error}"
        return "\n".join([picture, *self.widget_errors, *self.console[-30:], ""])

    def close(self) -> None:
        """Close the page and end the kernels of its server."""
        try:
            self.page.context.close()
        except Error as error:  # the browser may have died in the test: the kernels still have to end
            self.console.append(f"closing: {error}")
        self.server.end_kernels()
