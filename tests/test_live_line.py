"""No widgets: one line of text is live instead, in a notebook and in a terminal, and the summary takes its place."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import kernel
from tests.played_ranks import PLAY

LINE = re.compile(
    r"^resmon: (?P<title>.+) (?P<clock>0:\d\d) \| .*(measured|estimated).* \| CPU \d+.%.* \| memory [\d.]+.GiB"
)
IN_A_TERMINAL = """
shell = get_ipython()
shell.run_line_magic("load_ext", "resmon")
shell.run_cell("%%resmon by hand\\nimport time\\ntime.sleep({seconds})")
"""


def test_a_notebook_without_anywidget_gets_a_line_that_the_summary_replaces(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['anywidget'] = None\n")
    with kernel({**os.environ, "PYTHONPATH": str(tmp_path)}) as running:
        running.run("%load_ext resmon")
        ran = running.run("%%resmon <b>my</b> work\nimport time\ntime.sleep(3.3)\n6 * 7", watched=True)
        (first,) = ran.of("display_data")
        *lines, summary = ran.of("update_display_data")
        assert "pip install anywidget" in first["data"]["text/plain"]
        assert {update["transient"]["display_id"] for update in (*lines, summary)} == {first["transient"]["display_id"]}
        texts = [update["data"]["text/plain"] for update in lines]
        assert len(texts) >= 2
        found = [LINE.match(text) for text in texts]
        assert None not in found, texts
        assert {line["title"] for line in found if line} == {"<b>my</b> work"}
        clocks = [line["clock"] for line in found if line]
        assert clocks == sorted(set(clocks)), "at most one a second"
        assert all("text/html" not in update["data"] for update in lines)
        took = re.search(r"done in ([\d.]+).s\b", summary["data"]["text/plain"])
        assert took is not None
        assert float(took[1]) >= 3.3
        assert "text/html" in summary["data"]
        assert ran.of("execute_result")[0]["data"]["text/plain"] == "42"
        assert not ran.of("stream")
        assert [m for m in running.heard(1.5) if m["msg_type"] == "update_display_data"] == []

        asked = running.run("%resmon", watched=True)
        assert "pip install anywidget" in asked.text
        assert "Traceback" not in asked.text
        assert "pip install anywidget" in running.run("%resmon doctor").text
        names = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('resmon')]"
        assert running.json(names) == ["resmon-sampler"]


def test_ranks_are_in_the_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['anywidget'] = None\n")
    with kernel({**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}) as running:
        running.run("%load_ext resmon")
        running.run(PLAY)
        enough = tmp_path / "enough"

        def once_told(messages: list[dict[str, Any]]) -> None:
            if "rank 1 computes" in str(messages[-1]["content"]):
                enough.touch()

        ran = running.run(f"play([0.02, 0.05], 60.0, enough={str(enough)!r})", watched=True, each=once_told)
    *lines, summary = [update["data"]["text/plain"] for update in ran.of("update_display_data")]
    assert " | 2 ranks | " in lines[0]
    assert any(" | 2 ranks, rank 1 computes 2.50× the median | " in line for line in lines), lines[-1]
    assert "2 ranks, all done" in summary


@pytest.mark.parametrize("live", ["auto", "never"])
def test_a_terminal_has_a_line_that_is_cleared(live: str) -> None:
    ours, theirs = pty.openpty()
    code = IN_A_TERMINAL.format(seconds=1.6)
    process = subprocess.Popen(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", "-c", code],
        env={**os.environ, "RESMON_LIVE": live, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # the other side is closed: how Linux ends a terminal
            break
        if not some:
            break
        written += some
    os.close(ours)
    out = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0
    assert "by hand, done in 1.6" in out
    lines = [line for line in written.decode().split("\r\x1b[2K") if line]
    if live == "never":
        assert lines == []
    else:
        assert lines
        assert all(line.startswith("resmon: by hand 0:0") and len(line) < 80 for line in lines), lines
        assert written.endswith(b"\r\x1b[2K")
