"""A real kernel: what a program that runs notebooks sees, and what a front end is sent."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from nbclient.exceptions import CellExecutionError

from tests.kernels import WIDGET, Headless, Kernel, kernel

BUSY = """import time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(1_000))"""

INTERRUPTIBLE = """%%resmon
import asyncio
print('begun', flush=True)
for _ in range(300):
    await asyncio.sleep(0.1)"""


@pytest.fixture(scope="module")
def loaded() -> Iterator[Kernel]:
    """A kernel with resmon loaded, for tests that leave it as it was."""
    with kernel() as running:
        running.run("%load_ext resmon")
        yield running


def test_a_headless_run_emits_the_summary_once_and_nothing_live() -> None:
    client = Headless(
        [
            "import resmon, threading\n[t.name for t in threading.enumerate() if t.name.startswith('resmon')]",
            "%load_ext resmon",
            "%%resmon sum it -o m\n" + BUSY.format(seconds=0.7),
            "import asyncio",
            "%%resmon\nawait asyncio.sleep(0.1, result='slept')",
            "m.name, m.duration_s >= 0.7, m.energy.estimated_j is not None or m.energy.measured_j is not None",
            "%resmon cells",
            "%resmon doctor",
            "%resmon status",
        ]
    )
    notebook = client.execute()
    assert client.output_text(0).strip() == "[]"  # importing starts nothing
    assert client.output_text(1).startswith("resmon ")
    (summary,) = notebook.cells[2].outputs
    assert summary.output_type == "display_data"
    assert sorted(summary.data) == ["text/html", "text/plain"]
    assert "In [3] sum it, done in" in summary.data["text/plain"]
    assert "data:image/png;base64," in summary.data["text/html"]
    assert "slept" in client.output_text(4)
    assert [output.output_type for output in notebook.cells[4].outputs].count("display_data") == 1
    assert client.output_text(5).strip() == "('sum it', True, True)"
    assert "In [3]" in client.output_text(6)
    assert "sum it" in client.output_text(6)
    assert "host" in client.output_text(7)
    assert "running for" in client.output_text(8)
    everything = {kind for kinds in client.kinds.values() for kind in kinds}
    assert not everything & {"comm_open", "comm_msg", "update_display_data"}
    assert "widgets" not in notebook.metadata


def test_a_headless_run_stops_at_an_error_and_keeps_its_summary() -> None:
    client = Headless(["%load_ext resmon", "%%resmon\nx = 1\nx / 0", "ran = True"])
    with pytest.raises(CellExecutionError):
        client.execute()
    kinds = [output.output_type for output in client.nb.cells[1].outputs]
    assert sorted(kinds) == ["display_data", "error"]
    assert "failed: ZeroDivisionError" in client.output_text(1)
    assert client.output_text(1).count("Traceback (most recent call last)") == 1
    assert client.nb.cells[2].execution_count is None


def test_requests_that_wait_behind_an_error_are_aborted(loaded: Kernel) -> None:
    requests = [loaded.send(code) for code in ("x = 5", "%%resmon\nx / 0", "x = 6")]
    assert [loaded.result(request).status for request in requests] == ["ok", "error", "aborted"]
    assert loaded.json("x") == 5


def test_an_interrupted_cell_has_a_summary(loaded: Kernel) -> None:
    request = loaded.send("%%resmon long one -o cut\nprint('begun', flush=True)\nimport time\ntime.sleep(300)")
    loaded.wait_for("stream", lambda content: "begun" in content["text"])
    loaded.manager.interrupt_kernel()
    ran = loaded.result(request)
    assert ran.status == "error"
    assert "long one, failed: KeyboardInterrupt after" in ran.text
    assert "measured up to there" in ran.text
    assert loaded.json("cut.error") == "KeyboardInterrupt"
    assert loaded.json("cut.duration_s") < 200


def test_an_interrupted_await_has_a_summary(loaded: Kernel) -> None:
    request = loaded.send(INTERRUPTIBLE)
    loaded.wait_for("stream", lambda content: "begun" in content["text"])
    loaded.manager.interrupt_kernel()
    ran = loaded.result(request)
    assert ran.status == "error"
    assert ran.text.count("measured up to there") == 1


def test_a_notebook_in_a_browser_gets_a_panel_that_the_summary_replaces(loaded: Kernel) -> None:
    ran = loaded.run("%%resmon live\n" + BUSY.format(seconds=4), watched=True)
    (shown,) = ran.of("display_data")
    (replaced,) = ran.of("update_display_data")
    assert WIDGET in shown["data"]
    assert shown["transient"]["display_id"] == replaced["transient"]["display_id"]
    assert WIDGET not in replaced["data"]
    assert "live, done in" in replaced["data"]["text/plain"]
    rows = [m for m in ran.of("comm_msg") if m["data"].get("content", {}).get("k") == "row"]
    assert len(rows) >= 2
    cells = [
        m["data"]["content"]["cell"] for m in ran.of("comm_msg") if m["data"].get("content", {}).get("k") == "cell"
    ]
    assert [cell["state"] for cell in cells] == ["running", "done"]
    assert all(cell["t0"] is not None for cell in cells)
    closed = [content["comm_id"] for content in ran.of("comm_close")]
    assert shown["data"][WIDGET]["model_id"] in closed


@pytest.mark.parametrize(("chosen", "watched", "live"), [("always", False, True), ("never", True, False)])
def test_who_watches_can_be_said(loaded: Kernel, chosen: str, watched: bool, live: bool) -> None:
    loaded.run(f"import os; os.environ['RESMON_LIVE'] = {chosen!r}")
    ran = loaded.run("%%resmon\nx = 1", watched=watched)
    loaded.run("del os.environ['RESMON_LIVE']")
    assert ("update_display_data" in ran.kinds) is live
    assert any(WIDGET in data for data in ran.shown) is live
    assert sum("done in" in data["text/plain"] for data in ran.shown) == 1


def test_quiet_and_wrong_words(loaded: Kernel) -> None:
    assert loaded.run("%%resmon --quiet -o m\ny = 1", watched=True).kinds.count("display_data") == 0
    assert loaded.json("m.duration_s") > 0
    ran = loaded.run("%%resmon --fats\nz = 1", fails=True)
    assert "unknown option '--fats'" in ran.text
    assert loaded.json("'z' in globals()") is False


def test_an_open_panel_is_silent_once_nothing_runs(loaded: Kernel) -> None:
    loaded.run("%resmon", watched=True)
    loaded.run("x = 1", watched=True)
    loaded.wait_for("comm_msg")
    assert loaded.falls_silent(3.0)
    ran = loaded.run("import time; time.sleep(1.2)", watched=True)
    assert "comm_msg" in ran.kinds


def test_what_is_left_of_a_panel_in_a_saved_notebook_is_a_sentence(loaded: Kernel) -> None:
    (shown,) = loaded.run("%resmon", watched=True).of("display_data")
    assert WIDGET in shown["data"]
    assert shown["data"]["text/plain"] == "resmon: the live panel is gone with its kernel; %resmon shows it again"


def test_a_docked_panel_says_where_it_is_for_front_ends_without_a_side(loaded: Kernel) -> None:
    pytest.importorskip("sidecar")
    assert "where nothing shows there (Notebook 7), use %resmon" in loaded.run("%resmon side", watched=True).text


def test_a_panel_keeps_what_the_last_cell_cost(loaded: Kernel) -> None:
    loaded.run("%reload_ext resmon")  # the next panel is a new one
    opened = loaded.run("%resmon", watched=True)
    states = [content["data"]["state"] for content in opened.of("comm_open")]
    (schema,) = (state["_schema"] for state in states if "_schema" in state)
    ran = loaded.run("%%resmon --quiet -o m\nimport time; time.sleep(1.2)", watched=True)
    messages = [*ran.messages, *loaded.heard(3.5)]
    sent = [(m["content"]["data"].get("content", {}), m["buffers"]) for m in messages if m["msg_type"] == "comm_msg"]
    cell = next(content["cell"] for content, _ in sent if content.get("k") == "cell")
    (row, (buffer,)) = [each for each in sent if each[0].get("k") == "row"][-1]
    assert row["cell"] == cell["id"]
    values = struct.unpack_from(f"<{len(schema['columns'])}f", buffer, 8)
    shown = values[schema["columns"].index("cell.estimated_j")]
    assert shown == pytest.approx(loaded.json("m.energy.estimated_j"), rel=1e-5)
    assert sent[-1][0] == {"k": "state", "state": "idle", "text": ""}


def test_reload_and_unload(loaded: Kernel) -> None:
    loaded.run("%resmon", watched=True)
    assert "resmon " in loaded.run("%reload_ext resmon").text
    ran = loaded.run("%%resmon\nimport resmon\nw = resmon.measure('left open').open()")
    assert ran.kinds.count("display_data") == 1
    assert "'left open'" in loaded.run("%unload_ext resmon").text
    assert loaded.json("w.measurement.duration_s") > 0
    assert loaded.json("[t.name for t in __import__('threading').enumerate() if 'resmon' in t.name]") == []
    assert "comm_open" not in loaded.run("x = 1", watched=True).kinds
    loaded.run("%load_ext resmon")
