"""``make lab``, as it is written: JupyterLab opens the quickstart, and can open what a lesson links to."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_lab_serves_the_lesson_and_what_it_links_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = "--no-browser --IdentityProvider.token=seen --ServerApp.port_retries=0"
    # Without its own lines about directories: these tests may themselves have been started by make.
    words = ["make", "--no-print-directory", "-n", "lab", f"PORT={port}", f"ARGS={options}"]
    *_, line = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "jupyterlab notebooks/quickstart.ipynb" in line, "which a browser here opens"
    line = line.replace(".venv/bin/python", sys.executable).replace(f"{ROOT}/.venv/var", str(tmp_path))
    with (tmp_path / "log").open("wb") as log:
        lab = subprocess.Popen(["bash", "-c", f"exec env {line}"], cwd=ROOT, stdout=log, stderr=log)
    try:
        for place in ("notebooks/quickstart.ipynb", "docs/ranks.md"):
            url = f"http://127.0.0.1:{port}/api/contents/{place}?content=0&token=seen"
            until_s = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(url, timeout=30) as answer:
                        assert json.load(answer)["path"] == place
                    break
                except ConnectionError:
                    pass
                except urllib.error.URLError as error:
                    if isinstance(error, urllib.error.HTTPError):
                        raise
                assert lab.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until_s
                time.sleep(0.2)
        # What somebody without a browser here opens elsewhere.
        assert f":{port}/lab/tree/notebooks/quickstart.ipynb?token=" in (tmp_path / "log").read_text()
    finally:
        lab.terminate()
        lab.wait(30)
