"""The browser tests stand on this: a widget lives in JupyterLab and in Notebook 7, and the helpers do what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.browser.conftest import OpenNotebook

WIDGET = '''
import anywidget, threading, time, traitlets

class Count(anywidget.AnyWidget):
    _esm = """
    export default { render({ model, el }) {
        const show = () => { el.textContent = `count ${model.get("n")}`; };
        model.on("change:n", show);
        show();
    } };
    """
    n = traitlets.Int(0).tag(sync=True)

count = Count()
count
'''
COUNT_FROM_A_THREAD = """
def work():
    for n in range(1, 4):
        count.n = n
        time.sleep(0.05)

thread = threading.Thread(target=work)
thread.start()
time.sleep(1.5)
thread.join()
"""


def test_a_widget_is_painted_while_a_cell_runs(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([WIDGET, COUNT_FROM_A_THREAD])
    notebook.run_cell(0)
    widget = notebook.wait_output(0, "count 0")
    notebook.wait_until_idle()
    notebook.run_cell(1)
    expect(widget).to_have_text("count 3")
    assert notebook.kernel_status() == "busy"
    notebook.wait_until_idle()
    assert notebook.widget_errors == []


def test_an_error_in_a_widget_is_seen(open_lab: OpenNotebook) -> None:
    notebook = open_lab([WIDGET.replace("show();", "show(); setTimeout(() => { throw new Error('mine'); });")])
    notebook.run_all()
    notebook.wait_output(0, "count 0")
    notebook.wait_until_idle()
    assert any("mine" in error for error in notebook.widget_errors)


def test_outputs_stand_after_a_reload_with_a_fresh_kernel(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["print('kept')", "print('known' if 'x' in globals() else 'fresh'); x = 1"])
    notebook.run_all()
    notebook.wait_output(0, "kept")
    notebook.wait_output(1, "fresh")
    notebook.wait_until_idle()
    notebook.restart_and_reload()
    notebook.wait_output(0, "kept")
    notebook.run_cell(1)
    notebook.wait_until_idle()
    notebook.wait_output(1, "fresh")
    assert "kept" in str(notebook.save().cells[0].outputs)


def test_theme_width_and_picture(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([WIDGET])
    notebook.run_all()
    widget = notebook.wait_output(0, "count 0")
    notebook.limit_output_width(240)
    box = widget.bounding_box()
    assert box is not None
    assert 0 < box["width"] <= 240
    colour = "getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    light = notebook.page.evaluate(colour)
    notebook.use_theme(dark=True)
    assert notebook.page.evaluate(colour) != light
    shot = notebook.screenshot("frontends dark")
    assert shot.name == "frontends-dark.png"
    assert shot.read_bytes().startswith(b"\x89PNG")
