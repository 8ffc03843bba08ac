"""The panel wears the theme of the front end from the start, its canvases too."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenNotebook

BUSY = "%%resmon\nimport time\nend = time.monotonic() + 6\nwhile time.monotonic() < end:\n    sum(range(10_000))"
COLOURS = """root => [...root.querySelectorAll("canvas")].filter(c => c.width && c.height).map(c => {
    const drawn = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    const found = new Set();
    for (let i = 0; i < drawn.length; i += 4)
        if (drawn[i + 3] > 200) found.add([drawn[i], drawn[i + 1], drawn[i + 2]].join());
    return [...found];
})"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_canvases_have_the_colours_of_the_theme(open_lab: OpenNotebook, dark: bool) -> None:
    notebook = open_lab(["%load_ext resmon", BUSY])
    notebook.use_theme(dark=dark)
    notebook.run_all()
    panel = notebook.output(1).locator("[data-resmon-state]").first
    panel.wait_for()
    notebook.page.wait_for_timeout(3_000)
    assert panel.get_attribute("data-theme") == ("dark" if dark else "light")
    drawn = [colours for colours in panel.evaluate(COLOURS) if colours]
    assert drawn
    assert [colours for colours in drawn if colours == ["0,0,0"]] == []
