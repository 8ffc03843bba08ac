"""One Jupyter server and one browser for the whole session, started when first needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from scripts import browser as finder
from tests.browser.page import TIMEOUT_S, NotebookPage
from tests.browser.server import Frontend, Server, serve

OpenNotebook = Callable[[Sequence[str] | nbformat.NotebookNode], NotebookPage]

expect.set_options(timeout=1000 * TIMEOUT_S)
_failed = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and run them last: playwright keeps an event loop on the main thread, in the way of others."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("browser")
    items.sort(key=lambda item: item.path.is_relative_to(here))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give the browser; without one the tests are skipped, in CI they fail."""
    path = finder.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(finder.MISSING)
        pytest.skip(finder.MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=finder.FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def jupyter_server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def opener(
    browser: Browser, jupyter_server: Server, request: pytest.FixtureRequest
) -> Iterator[Callable[[Frontend], OpenNotebook]]:
    """Give what opens notebooks in a front end; closes them, with a picture of each when the test failed."""
    opened: list[NotebookPage] = []
    shots = request.config.rootpath / "test-results"

    def using(frontend: Frontend) -> OpenNotebook:
        def open_notebook(cells: Sequence[str] | nbformat.NotebookNode) -> NotebookPage:
            jupyter_server.reset_settings()
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            opened.append(NotebookPage(page, jupyter_server, frontend, jupyter_server.add_notebook(cells), shots))
            opened[-1].load()
            return opened[-1]

        return open_notebook

    yield using
    for number, notebook in enumerate(opened):
        if request.node.stash.get(_failed, False):
            sys.stderr.write(notebook.evidence(f"failed-{request.node.name}-{number}"))
        notebook.close()


@pytest.fixture
def open_lab(opener: Callable[[Frontend], OpenNotebook]) -> OpenNotebook:
    """``open_lab([source, …])`` or ``open_lab(notebook)``: the notebook in JupyterLab, its kernel ready."""
    return opener("lab")


@pytest.fixture
def open_notebook7(opener: Callable[[Frontend], OpenNotebook]) -> OpenNotebook:
    """The same in Notebook 7."""
    return opener("notebook")


@pytest.fixture(params=["lab", "notebook"])
def open_notebook(opener: Callable[[Frontend], OpenNotebook], request: pytest.FixtureRequest) -> OpenNotebook:
    """Run the test twice: in JupyterLab and in Notebook 7."""
    return opener(request.param)
