"""The live panel, as somebody meets it in JupyterLab and Notebook 7."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.page import CURRENT
from tests.browser.panel import BUSY_UNTIL, PANEL, LivePanel
from tests.driver import GIB, Process, Script, Square, build, gpus

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
SCRIPTED_DRIVER = """import ctypes, os
os.environ |= {{"RESMON_NVML_SCRIPT": {script!r}, "RESMON_NVML_SELF": str(os.getpid())}}
driver = ctypes.CDLL({library!r})  # by its soname this is the one that the loader now finds
%load_ext resmon
import resmon, time
while len(resmon.get_monitor().gpu_devices()) < 2: time.sleep(0.05)"""
WIDTHS = (1000, 700, 500, 300, 240)


def test_the_panel_paints_while_a_busy_cell_runs_and_the_summary_takes_its_place(
    open_notebook: OpenNotebook, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    notebook = open_notebook(["%load_ext resmon", "%%resmon train it\n" + BUSY_UNTIL.format(path=str(enough))])
    notebook.run_all()
    panel = LivePanel(notebook.output(1))
    panel.wait()
    panel.wait_state("running")
    rows, elapsed_s = panel.rows, panel.elapsed_s
    panel.wait_rows(4)
    panel.wait_elapsed(elapsed_s + 1)
    assert "*" in notebook.cell(1).locator(".jp-InputPrompt").inner_text()
    assert panel.rows >= rows + 4
    cpu = panel.meter("CPU utilisation")
    assert cpu is not None
    assert 10 <= cpu <= 100
    memory = panel.meter("host memory")
    assert memory is not None
    assert memory > 0
    basis = "measured" if "unknown" not in panel.energy("measured") else "estimated"
    energy = panel.energy(basis)
    assert re.search(r"\d", energy), energy
    panel.wait_rows(2)
    assert panel.energy(basis) != energy
    assert panel.overflow_px <= 0
    notebook.screenshot(f"panel-{notebook.frontend}-light")
    enough.touch()

    summary = notebook.wait_output(1, "done in")
    notebook.wait_until_idle()
    assert notebook.page.locator(PANEL).count() == 0
    assert notebook.output(1).count() == 1
    picture = summary.locator("img")
    assert picture.evaluate("img => img.naturalWidth") > 0
    notebook.screenshot(f"summary-{notebook.frontend}-light")
    assert notebook.widget_errors == []

    notebook.restart_and_reload()
    summary = notebook.wait_output(1, "done in")
    assert notebook.output(1).count() == 1
    assert summary.locator("img").evaluate("img => img.naturalWidth") > 0
    assert "model not found" not in notebook.page.inner_text("body")
    (saved,) = notebook.save().cells[1].outputs
    assert sorted(saved.data) == ["text/html", "text/plain"]


def test_a_late_view_gets_the_history_and_every_view_is_live(open_lab: OpenNotebook, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    cells = [
        "%load_ext resmon",
        *["import time; time.sleep(0.6)"] * 3,
        "%resmon",
        "%resmon",
        "%%resmon\n" + BUSY_UNTIL.format(path=str(enough)),
    ]
    notebook = open_lab(cells)
    for index in range(6):
        notebook.run_cell(index)
    notebook.wait_until_idle()
    first, second = LivePanel(notebook.output(4)), LivePanel(notebook.output(5))
    for panel in (first, second):
        panel.root.scroll_into_view_if_needed()
        timeline = panel.root.get_by_role("img", name="Timeline")
        assert int(re.search(r"(\d+) cells", timeline.get_attribute("aria-label") or "")[1]) >= 3  # type: ignore[index]
    notebook.screenshot("panel-late-view")
    notebook.run_cell(6)
    own = LivePanel(notebook.output(6))
    for panel in (own, first, second):
        panel.root.scroll_into_view_if_needed()
        panel.wait_state("running")
        panel.wait_rows(2)
    # one more view of the same model, opened while the cell runs
    notebook.page.evaluate(f"() => {{ {CURRENT}.content.activeCellIndex = 4; }}")
    notebook.execute("notebook:create-output-view")
    third = LivePanel(notebook.page.locator(".jp-LinkedOutputView"))
    third.wait()
    third.wait_rows(1)
    third.wait_state("running")
    timeline = third.root.get_by_role("img", name="Timeline")
    assert int(re.search(r"(\d+) cells", timeline.get_attribute("aria-label") or "")[1]) >= 3  # type: ignore[index]
    notebook.screenshot("panel-third-view")
    enough.touch()
    assert notebook.widget_errors == []


def test_stop_start_and_pause_while_a_cell_runs(open_lab: OpenNotebook, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    busy = BUSY_UNTIL.format(path=str(enough))
    cells = ["%load_ext resmon", "%resmon", busy + "\n%resmon status", "%resmon status"]
    notebook = open_lab(cells)
    notebook.run_all()
    panel = LivePanel(notebook.output(1))
    panel.wait_state("running")
    panel.wait_rows(2)
    panel.button("Pause").click()
    panel.wait_state("paused")
    rows = panel.rows
    notebook.page.wait_for_timeout(1200)
    assert panel.rows == rows
    panel.button("Resume").click()
    panel.wait_rows(1)

    panel.button("Stop").click()
    panel.wait_state("stopped")
    prompt = notebook.cell(2).locator(".jp-InputPrompt")
    assert "*" in prompt.inner_text()  # it reached the kernel in the middle of the cell
    rows = panel.rows
    notebook.page.wait_for_timeout(1200)
    assert panel.rows <= rows + 1
    panel.button("Start").click()
    panel.wait_state("running")
    panel.wait_rows(2)
    assert "*" in prompt.inner_text()
    enough.touch()
    notebook.wait_output(2, "running for")
    notebook.wait_until_idle()
    panel.button("Stop").click()
    panel.wait_state("stopped")
    notebook.run_cell(3)
    notebook.wait_output(3, "resmon: stopped")
    assert notebook.widget_errors == []


def test_a_click_that_waits_for_the_end_of_the_cell_says_so(open_lab: OpenNotebook, tmp_path: Path) -> None:
    """A front end that does not use subshells, as older ones: the kernel hears of Stop when the cell is over."""
    enough = tmp_path / "enough"
    notebook = open_lab(["%load_ext resmon", "%resmon", BUSY_UNTIL.format(path=str(enough))])
    setting = notebook.server.settings / "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings"
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text('{"commsOverSubshells": "disabled"}')
    notebook.load()
    notebook.run_all()
    panel = LivePanel(notebook.output(1))
    panel.wait_state("running")
    panel.wait_rows(2)
    panel.button("Stop").click()
    expect(panel.root.get_by_text("stops when the cell ends")).to_be_visible()
    rows = panel.rows
    panel.wait_rows(2)
    assert panel.rows > rows
    assert "*" in notebook.cell(2).locator(".jp-InputPrompt").inner_text()
    notebook.screenshot("panel-click-waits")
    enough.touch()
    panel.wait_state("stopped")
    assert notebook.widget_errors == []


def test_two_gpus_hostile_names_dark_theme_and_every_width(open_lab: OpenNotebook, tmp_path: Path) -> None:
    ours = (Process("self", 30 * GIB),)
    script = Script(gpus=gpus(2, name=HOSTILE, power_w=Square(90, 600, period_s=3), utilization_percent=62.0,
                              memory_used_bytes=50 * GIB, processes=ours)).write(tmp_path / "gpus")  # fmt: skip
    setup = SCRIPTED_DRIVER.format(script=str(script), library=str(build() / "libnvidia-ml.so.1"))
    enough = tmp_path / "enough"
    busy = BUSY_UNTIL.format(path=str(enough))
    notebook = open_lab([setup, f"%%resmon {secrets.token_hex(2)} '{HOSTILE}'\n{busy}"])
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    notebook.page.on("dialog", dismiss)
    notebook.run_all()
    panel = LivePanel(notebook.output(1))
    panel.wait()
    panel.wait_rows(3)
    for number in (0, 1):
        assert panel.meter(f"GPU {number} utilisation") == 62
        assert panel.meter(f"GPU {number} memory") == 30  # ours; others hold 20
        watts = panel.meter(f"GPU {number} power")
        assert watts is not None
        assert 90 <= watts <= 600
    assert "joule" in panel.energy("measured")
    notebook.screenshot("panel-gpus-light", panel.root)
    notebook.use_theme(dark=True)
    for width in WIDTHS:
        notebook.limit_output_width(width)
        notebook.page.wait_for_timeout(400)
        assert panel.overflow_px <= 0, width
        box = panel.root.bounding_box()
        assert box is not None
        assert box["width"] <= width
        notebook.screenshot(f"panel-gpus-dark-{width}", panel.root)
    assert panel.root.locator("img, script").count() == 0
    notebook.limit_output_width(1000)
    enough.touch()
    summary = notebook.wait_output(1, "done in")
    notebook.wait_until_idle()
    assert summary.locator("img").count() == 1  # the picture
    assert summary.locator("script").count() == 0
    assert "<img src=x" in summary.inner_text()
    notebook.screenshot("summary-gpus-dark", summary)
    assert dialogs == []
    assert notebook.page.evaluate("window.hacked") is None
    assert notebook.widget_errors == []


def test_docked_at_the_side_it_is_live(open_lab: OpenNotebook, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    notebook = open_lab(["%load_ext resmon", "%resmon side", BUSY_UNTIL.format(path=str(enough))])
    notebook.run_all()
    side = notebook.page.locator(".jp-LabShell").locator(PANEL).first
    expect(side).to_be_visible()
    panel = LivePanel(notebook.page.locator(".jp-LabShell"))
    panel.wait()
    panel.wait_rows(3)
    assert notebook.output(1).locator(PANEL).count() == 0
    assert panel.overflow_px <= 0
    notebook.screenshot("panel-side")
    enough.touch()
    notebook.wait_until_idle()
    assert notebook.widget_errors == []
