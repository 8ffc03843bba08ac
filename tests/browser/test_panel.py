"""The live panel and the summary, as somebody meets them in JupyterLab and Notebook 7."""

from __future__ import annotations

from tests.browser.conftest import OpenNotebook

BUSY = """%%resmon train it
import time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    sum(range(10_000))
'finished'"""
PANEL = "[data-resmon-state]"


def test_the_panel_paints_while_a_busy_cell_runs(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext resmon", BUSY.format(seconds=6)])
    notebook.run_all()
    panel = notebook.output(1).locator(PANEL).first
    panel.wait_for(timeout=20_000)
    notebook.page.wait_for_timeout(4_000)
    notebook.screenshot("live")
    assert notebook.kernel_status() == "busy"
    rows = int(panel.get_attribute("data-resmon-rows") or 0)
    assert rows >= 4
    notebook.wait_until_idle()
    notebook.screenshot("done")
    assert panel.count() == 0
    assert "done in" in notebook.output(1).inner_text()
    assert notebook.widget_errors == []
