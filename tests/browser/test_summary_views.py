"""The frozen summary where nothing runs any more: an untrusted notebook, and an exported page."""

from __future__ import annotations

import functools

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.page import CURRENT
from tests.browser.panel import BUSY
from tests.kernels import Headless

pytestmark = pytest.mark.browser

LONG = "the_sum_of_some_squares = sum(number * number for number in range(1_000))"
COMPARED = """import resmon
runs = []
for size in (16, 1024):
    with resmon.measure(f"batches of {size}", items=14370, items_unit="images") as window:
        sum(range(5_000_000))
    runs.append(window.measurement)
resmon.compare(runs)"""
TRAINED = "%%resmon train <i>it</i>\n" + BUSY.format(seconds=1.2)
CELLS = ("%load_ext resmon", TRAINED, LONG, "%resmon cells", COMPARED)


@functools.cache
def executed() -> str:
    """A notebook that a program has run: written, read and never signed."""
    client = Headless(CELLS)
    client.execute()
    return str(nbformat.writes(client.nb))


def assert_it_shows(summary: Locator) -> None:
    """Hold that words, table and picture of a summary are there for somebody who looks."""
    text = summary.inner_text()
    assert "In [2] train <i>it</i>, done in" in text
    assert "estimated" in text
    assert "not covered" in text
    expect(summary.get_by_role("table").first).to_be_visible()
    picture = summary.locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("img => img.complete && img.naturalWidth") > 0
    assert summary.locator("i").count() == 0


def test_it_shows_in_an_untrusted_notebook(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(nbformat.reads(executed(), as_version=4))
    assert notebook.page.evaluate(f"{CURRENT}.content.widgets.every(cell => cell.model.trusted)") is False
    assert_it_shows(notebook.wait_output(1, "done in"))
    assert "In [2]" in notebook.wait_output(3, "In [2]").inner_text()
    notebook.screenshot(f"summary-untrusted-{notebook.frontend}")


def test_it_shows_in_an_exported_page(browser: Browser) -> None:
    exporter = HTMLExporter()  # type: ignore[no-untyped-call]  # nbconvert is typed in part
    html, _ = exporter.from_notebook_node(nbformat.reads(executed(), as_version=4))
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.set_content(html, wait_until="domcontentloaded")
        assert_it_shows(page.locator(".jp-OutputArea-output").filter(has_text="done in").first)
        assert "model not found" not in page.inner_text("body")
        page.set_viewport_size({"width": 960, "height": 700})
        for name in ("Cells", "Comparison"):  # long first lines break, and figures before their intervals
            box = page.get_by_role("table", name=name).locator("xpath=..")
            assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 0, name
    finally:
        context.close()


def test_no_name_becomes_mathematics(open_notebook: OpenNotebook) -> None:
    named = r"""import resmon
with resmon.measure("from $5 to $6") as window:
    sum(range(100_000))
resmon.compare([window, window], names=["$x$", r"\\(y\\)"])"""
    typeset = "from IPython.display import HTML\nHTML('<p>$z$</p>')"
    cells = ["%load_ext resmon", "%%resmon 'from $5 to $6'\n'$x$' + 'a'", "%resmon cells", named, typeset]
    notebook = open_notebook(cells)
    notebook.run_all()
    formulas = "mjx-container"
    expect(notebook.output(4).locator(formulas)).to_have_count(1)
    notebook.wait_until_idle()
    for cell, said in ((1, "from $5 to $6"), (2, "from $5 to $6"), (3, "$x$")):
        shown = notebook.wait_output(cell, said)
        assert shown.locator(formulas).count() == 0, shown.inner_text()
