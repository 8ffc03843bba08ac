"""The lessons as they are saved; that they run is nbval's part."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    found: nbformat.NotebookNode = nbformat.read(request.param, as_version=4)
    nbformat.validate(found)
    return found


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_lessons_are_there() -> None:
    assert [path.name for path in NOTEBOOKS] == ["distributed.ipynb", "energy.ipynb", "quickstart.ipynb"]


def test_it_was_run_from_top_to_bottom_without_an_error(notebook: nbformat.NotebookNode) -> None:
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", [])


def test_most_outputs_are_compared(notebook: nbformat.NotebookNode) -> None:
    cells = code_cells(notebook)
    ignored = [cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert len(ignored) <= len(cells) / 3
    compared = [cell for cell in cells if cell not in ignored]
    assert sum(bool(cell.outputs) for cell in compared) >= len(compared) / 2


def test_what_is_saved_needs_no_kernel_and_names_no_machine(notebook: nbformat.NotebookNode) -> None:
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        for output in cell.outputs:
            shown = output.get("data", {"text/plain": output.get("text", "")})
            assert set(shown) != {WIDGET}, f"{cell.id} shows nothing without its widget"
            text = "\n".join(str(part) for mime, part in shown.items() if mime.startswith("text/"))
            text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
            assert re.findall(r"(?<![\w.<])/(?:home|Users|root|tmp|work|opt|usr|var)/\S*", text) == []


def test_a_measured_cell_shows_its_summary_with_a_picture(notebook: nbformat.NotebookNode) -> None:
    measured = [cell for cell in code_cells(notebook) if re.match(r"%%resmon(?!.*--quiet)", cell.source)]
    assert measured
    for cell in measured:
        (summary,) = [output.data for output in cell.outputs if "text/html" in output.get("data", {})]
        assert "data:image/png;base64," in summary["text/html"]
        assert "■ measured" in summary["text/plain"]
        assert "▨ estimated" in summary["text/plain"]
        assert WIDGET not in summary


def test_each_text_is_short(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert len(re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL).split()) <= 120, cell.source
        else:
            assert len(cell.source.splitlines()) <= 30, cell.source
