"""A real Jupyter server: its settings, data and runtime files lie in a temporary folder that goes with it.

One server serves both front ends: JupyterLab, and Notebook 7 as the server extension that it is.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
import psutil

Frontend = Literal["lab", "notebook"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/notebook-extension/tracker": {"autoStartDefaultKernel": True, "windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
"""What would only disturb a test is off; every cell is in the page, also those that are scrolled away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server: ``url`` ends without a slash, ``root`` is the folder that it serves."""

    url: str
    root: Path
    settings: Path

    def reset_settings(self) -> None:
        """Forget what an earlier page changed, its theme for example."""
        shutil.rmtree(self.settings, ignore_errors=True)
        for name, settings in SETTINGS.items():
            file = self.settings / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings), "utf-8")

    def add_notebook(self, cells: Sequence[str] | nbformat.NotebookNode) -> str:
        """Write a notebook and return its path on the server. Ready-made notebooks are untrusted, as a download is."""
        notebook = cells
        if not isinstance(notebook, nbformat.NotebookNode):
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
            notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        name = f"{secrets.token_hex(4)}.ipynb"
        nbformat.write(notebook, self.root / name)
        return name

    def page_url(self, path: str, frontend: Frontend) -> str:
        return f"{self.url}/lab/tree/{path}?reset" if frontend == "lab" else f"{self.url}/notebooks/{path}"

    def kernels(self) -> list[dict[str, Any]]:
        """Return what the server says of its kernels: id, execution_state, last_activity."""
        kernels: list[dict[str, Any]] = self._ask("GET", "/api/kernels")
        return kernels

    def end_kernels(self) -> None:
        """Shut down every kernel."""
        for kernel in self.kernels():
            self._ask("DELETE", f"/api/kernels/{kernel['id']}")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def serve(*options: str) -> Iterator[Server]:
    """Run a server on a free port of this machine alone, with more options for it where given."""
    with tempfile.TemporaryDirectory(prefix="resmon-browser-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        root = home / "notebooks"
        root.mkdir()
        log = home / "log"
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(root, port, options),
                cwd=root,
                env=_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            server = Server(url=f"http://127.0.0.1:{port}", root=root, settings=home / "settings")
            server.reset_settings()
            _wait_until_up(server, process, log)
            yield server
        finally:
            _stop(process)


def _command(root: Path, port: int, options: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"),
        "--ServerApp.terminals_enabled=False",
        *("--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"),
        *options,
    ]


def _environment(home: Path) -> dict[str, str]:
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "RESMON_RECORD_DIR": "records",
    }
    return {**os.environ, **{name: str(home / folder) for name, folder in names.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            server.kernels()
        except OSError:
            time.sleep(0.1)
        else:
            return
    said = log.read_text("utf-8", errors="replace")[-4000:]
    raise RuntimeError(f"the Jupyter server did not come up within {START_TIMEOUT_S:.0f} s; it said:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server as a user would, and what it started if that was not enough."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(started, timeout=5)[1]:
        child.kill()
