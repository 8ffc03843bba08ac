"""An open panel keeps no idle kernel alive, and says so when its kernel is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.page import NotebookPage
from tests.browser.panel import LivePanel
from tests.browser.server import serve

pytestmark = pytest.mark.browser

CULL = ("cull_idle_timeout=5", "cull_interval=1", "cull_connected=True")
GIVE_UP_S = 30.0


@pytest.fixture
def culled(browser: Browser, pytestconfig: pytest.Config) -> Iterator[NotebookPage]:
    """A notebook on a server of its own, which ends every kernel that is idle for a few seconds."""
    with serve(*(f"--MappingKernelManager.{option}" for option in CULL)) as server:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        path = server.add_notebook(["%load_ext resmon", "%resmon", "x = 1"])
        notebook = NotebookPage(page, server, "lab", path, pytestconfig.rootpath / "test-results")
        try:
            notebook.load()
            yield notebook
        finally:
            notebook.close()


def test_an_idle_kernel_is_culled_although_its_panel_is_open(culled: NotebookPage) -> None:
    culled.run_all()
    panel = LivePanel(culled.output(1))
    panel.wait()
    until = time.monotonic() + GIVE_UP_S
    while culled.server.kernels() and time.monotonic() < until:
        culled.page.wait_for_timeout(250)
    assert culled.server.kernels() == []
    panel.wait_state("gone", timeout_s=15)
    assert "disconnected" in panel.root.get_by_role("status").inner_text()
    culled.screenshot("panel-disconnected")
    assert culled.widget_errors == []
