"""Ranks in the live panel, as somebody meets them in JupyterLab and Notebook 7; they are played, not launched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.panel import PANEL, LivePanel
from tests.played_ranks import PLAY

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
WIDTHS = (1000, 800, 700, 500, 300, 240)


def ranks_of(panel: LivePanel) -> Locator:
    """The table of ranks, found by what assistive technology is told."""
    page = panel.root.page
    return panel.root.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Rank", exact=True))


def test_ranks_paint_while_the_cell_is_busy_and_their_table_stays_in_the_summary(
    open_notebook: OpenNotebook, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    play = f"play([0.02, 0.02, 0.05], 300.0, host='node-a', enough={str(enough)!r})"
    notebook = open_notebook(["%load_ext resmon", PLAY, play])
    notebook.run_all()
    panel = LivePanel(notebook.output(2))
    panel.wait()
    table = ranks_of(panel)
    expect(table.get_by_role("rowheader")).to_have_text(["0", "1", "2"])
    steps = table.get_by_role("row").nth(1).get_by_role("cell").nth(1)
    expect(steps).to_have_text(re.compile(r"1\d\.\d"))
    assert "*" in notebook.cell(2).locator(".jp-InputPrompt").inner_text(), "the cell still runs"
    expect(panel.root).to_contain_text("Rank 2 computes 2.50× the median")
    assert notebook.kernel_status() == "busy"
    expect(panel.root.locator("[aria-live=polite]")).to_have_text(re.compile("straggler: rank 2 computes"))
    slow = table.get_by_role("row").filter(has=panel.root.page.get_by_role("rowheader", name="2"))
    expect(slow.get_by_role("cell").last).to_contain_text("straggler, compute")
    expect(slow.locator(".rm-warning")).to_be_visible()
    assert panel.overflow_px <= 0
    notebook.screenshot(f"ranks-{notebook.frontend}")
    enough.touch()

    summary = notebook.wait_output(2, "done in")
    notebook.wait_until_idle()
    assert notebook.page.locator(PANEL).count() == 0
    assert notebook.widget_errors == []
    notebook.restart_and_reload()
    summary = notebook.wait_output(2, "done in")
    expect(summary).to_contain_text("3 ranks, all done. ⚠ Rank 2 computed 2.50 times as much of a step as the median")
    frozen = summary.get_by_role("table", name="Ranks")
    expect(frozen.get_by_role("rowheader")).to_have_text(["0", "1", "2 ⚠"])
    expect(frozen.get_by_role("columnheader", name="Wait")).to_be_visible()
    (saved,) = notebook.save().cells[2].outputs
    assert sorted(saved.data) == ["text/html", "text/plain"]


def test_a_late_view_has_the_ranks_names_stay_text_and_no_width_scrolls(open_lab: OpenNotebook, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    play = f"play([0.02, 0.05], 300.0, host={HOSTILE!r}, device={HOSTILE!r}, enough={str(enough)!r})"
    notebook = open_lab(["%load_ext resmon", PLAY, "%resmon", play])
    notebook.run_all()
    panel = LivePanel(notebook.output(3))
    for view in (LivePanel(notebook.output(2)), panel):
        view.root.scroll_into_view_if_needed()  # out of sight nothing is painted
        view.wait()
        expect(ranks_of(view).get_by_role("rowheader")).to_have_text(["0", "1"])
    expect(panel.root).to_contain_text("<img src=x")
    assert panel.root.locator("img").count() == 0
    for width in WIDTHS:
        panel.root.evaluate("(panel, width) => { panel.parentElement.style.width = `${width}px`; }", width)
        panel.wait_rows(1)
        assert panel.overflow_px <= 0, width
    # Drawn while it has no layout, as when a front end hides its page to change the theme, a bar stays what it was.
    drawn = "panel => [...panel.querySelectorAll('.rm-median')].map(median => median.style.transform)"
    before = panel.root.evaluate(drawn)
    assert "translateX(0px)" not in before
    panel.root.evaluate("""panel => {
        panel.style.display = "none";
        document.body.style.setProperty("--jp-layout-color1", "#111");
        return new Promise(done => setTimeout(done, 0)).then(() => { panel.style.display = ""; });
    }""")
    notebook.page.wait_for_timeout(1_000)
    expect(panel.root).to_have_attribute("data-theme", "dark")
    assert panel.root.evaluate(drawn) == before
    opener = panel.root.get_by_role("button", name="rank 1, more")
    opener.focus()
    notebook.page.keyboard.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    expect(ranks_of(panel).get_by_role("row").nth(2)).to_contain_text("host GiB")
    enough.touch()
    summary = notebook.wait_output(3, "done in")
    expect(summary).to_contain_text("<img src=x")
    assert summary.locator("img").count() == 1, "the picture of the summary alone"
    assert notebook.page.evaluate("window.hacked") is None
    expect(ranks_of(LivePanel(notebook.output(2)))).to_be_visible()  # they stand until another cell begins
    assert notebook.widget_errors == []
