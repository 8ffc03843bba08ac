"""Takes the pictures of the docs from the quickstart, run in a real JupyterLab in a real browser.

``python -m scripts.screenshots`` writes ``docs/images/``. With ``--notebook`` the executed notebook is kept as well,
so that its saved outputs are those of a real run. It belongs to a quiet machine: the pictures show what they cost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, ViewportSize, sync_playwright

from scripts import browser as finder
from tests.browser.page import NotebookPage
from tests.browser.server import Server, serve

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
IMAGES = ROOT / "docs" / "images"

VIEWPORT: ViewportSize = {"width": 1240, "height": 1000}
TRAINING = "train"
"""Id of the cell whose panel is shown."""
SETTLED = """element => {
    const rows = Number(element.getAttribute("data-resmon-rows") || 0);
    return rows >= 6 && element.getAttribute("data-resmon-state") === "running";
}"""
TIMEOUT_S = 180.0


def without_outputs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def place(notebook: nbformat.NotebookNode, cell_id: str) -> int:
    return next(i for i, cell in enumerate(notebook.cells) if cell.get("id") == cell_id)


def run_quickstart(browser: Browser, server: Server, shots: Path, *, dark: bool) -> nbformat.NotebookNode:
    """Run the notebook, take the live panel and the summary, return the notebook as JupyterLab saved it."""
    notebook = without_outputs(nbformat.read(NOTEBOOK, as_version=4))
    cell = place(notebook, TRAINING)
    context = browser.new_context(viewport=VIEWPORT, device_scale_factor=2, reduced_motion="reduce")
    page = NotebookPage(context.new_page(), server, "lab", server.add_notebook(notebook), shots)
    try:
        page.load()
        page.use_theme(dark=dark)
        page.execute("application:toggle-left-area")
        page.run_all()
        name = "dark" if dark else "light"
        panel = page.output(cell).locator("[data-resmon-state]").first
        panel.wait_for(timeout=TIMEOUT_S * 1000)
        panel.scroll_into_view_if_needed()
        page.wait_until(f"() => ({SETTLED})(document.querySelector('[data-resmon-state]'))", TIMEOUT_S)
        picture(panel, f"panel-{name}")
        page.wait_until_idle(TIMEOUT_S)
        summary = page.output(cell).last
        summary.scroll_into_view_if_needed()
        picture(summary, f"summary-{name}")
        if page.widget_errors:
            raise RuntimeError("the panel complained:\n" + "\n".join(page.widget_errors))
        saved = page.save()
        failed = [
            cell.id for cell in saved.cells for output in cell.get("outputs", []) if output.output_type == "error"
        ]
        if failed:
            raise RuntimeError(f"these cells failed: {', '.join(failed)}")
        return saved
    finally:
        page.close()


def picture(of: Locator, name: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = IMAGES / f"{name}.png"
    of.screenshot(path=path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """What belongs to the lesson: no front end's own metadata, and no Python version that it happened to run on."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebook", action="store_true", help="keep the executed notebook, with its outputs")
    options = parser.parse_args()
    path = finder.find()
    if path is None:
        print(finder.MISSING, file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as shots,
        serve() as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=finder.FLAGS)
        saved = [run_quickstart(browser, server, Path(shots), dark=dark) for dark in (True, False)][-1]
        browser.close()
    if options.notebook:
        nbformat.write(tidied(saved), NOTEBOOK)
        print(f"{NOTEBOOK.relative_to(ROOT)}: kept with its outputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
