"""Runs the built panel in a real browser and checks what only a browser shows: ``python widgets/harness/check.py``.

Prints one line per check; exits with 1 if any failed. Names choose among the checks; ``--untimed`` leaves out those of
how soon or how often something comes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import check_ranks  # noqa: F401 - it adds its checks to the list
from browser import launch, open_page
from checks import CHECKS, ROOT, TIMED, check, feed, mount, rows, timed
from serve import serving

WIDTHS = (240, 300, 380, 419, 420, 500, 539, 540, 600, 639, 640, 700, 759, 760, 860, 1000, 1600)


@timed
def paints_each_row(page: Page) -> None:
    """Rows at 2 Hz are all painted."""
    mount(page, "two")
    page.wait_for_timeout(700)
    before = rows(page)
    feed(page, 2, 4)
    page.wait_for_timeout(300)
    assert rows(page) - before == 8, rows(page) - before


@timed
def paints_at_most_four_a_second(page: Page) -> None:
    """Rows at 20 Hz are painted at most four times a second."""
    mount(page, "two")
    page.wait_for_timeout(700)
    before, began = rows(page), time.monotonic()
    feed(page, 20, 3)
    page.wait_for_timeout(300)
    painted, took = rows(page) - before, time.monotonic() - began
    assert 8 <= painted <= 4 * took + 2, (painted, took)


@check
def names_stay_whole(page: Page) -> None:
    """From 17 GPUs on the names of those that stand out are not cut, at any width."""
    for width in WIDTHS:
        mount(page, "many", width=width)
        names = "[...document.querySelectorAll('.resmon .rm-line .rm-label')].filter(name => name.clientWidth > 0)"
        page.wait_for_function(f"() => {names}.length >= 4")
        page.wait_for_timeout(300)  # until the panel knows its width
        cut = page.evaluate(f"{names}.filter(n => n.scrollWidth > n.clientWidth).map(n => n.textContent)")
        assert not cut, (width, cut)


@timed
def text_changes_at_most_twice_a_second(page: Page) -> None:
    """At 20 Hz the digits change at most twice a second."""
    mount(page, "two")
    page.wait_for_timeout(700)
    page.evaluate("window.harness.countChanges()")
    began = time.monotonic()
    feed(page, 20, 3)
    changes, took = page.evaluate("window.changes"), time.monotonic() - began
    assert 1 <= changes <= 4 * took + 2, (changes, took)  # a text change is up to two records


@timed
def latency_is_told(page: Page) -> None:
    """The root tells when the newest row was painted, within 50 ms of its arrival."""
    mount(page, "two")
    page.wait_for_timeout(900)
    late = page.evaluate(f"""async () => {{
        const out = [];
        for (let i = 1; i <= 8; i += 1) {{
            const sent = performance.timeOrigin + performance.now();
            model.message({{k: 'row'}}, window.harness.row(model.state._schema, window.harness.NOW + i * 0.5));
            await new Promise((done) => setTimeout(done, 500));
            out.push(Number({ROOT}.dataset.resmonPaintedAt) - sent);
        }}
        return out;
    }}""")
    assert all(0 <= ms <= 50 for ms in late), late
    print(f"    sample to paint: {', '.join(f'{ms:.1f}' for ms in late)} ms")


@check
def names_stay_text(page: Page) -> None:
    """Names from outside never become markup."""
    mount(page, "hostile")
    page.wait_for_timeout(700)
    assert page.evaluate("document.querySelectorAll('.resmon img').length") == 0
    assert page.evaluate("window.hacked") is None
    assert "<img src=x" in page.evaluate(f"{ROOT}.textContent")


@check
def late_view_is_whole(page: Page) -> None:
    """A view without traits asks, then shows the complete history and no false zero before."""
    mount(page, "waiting")
    assert page.evaluate("model.sent.map((m) => m.k)") == ["hello"]
    assert "0" not in page.evaluate("document.querySelector('.rm-skeleton').textContent")
    page.evaluate("() => { model.state._schema = window.harness.schema(); window.harness.SCENES.late().play(model); }")
    page.wait_for_timeout(700)
    assert page.evaluate(f"{ROOT}.dataset.resmonState") == "running"
    assert page.evaluate("document.querySelector('.rm-device .rm-num').textContent") not in ("", "–")


@check
def two_views_one_store(page: Page) -> None:
    """Two views of a model draw the same; removing one leaves the other alive and nothing behind."""
    mount(page, "two", views=2, width=500)
    page.wait_for_timeout(700)
    texts = page.evaluate("[...document.querySelectorAll('.rm-energy-value')].map((e) => e.textContent)")
    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :], texts
    page.evaluate("ends[0]()")
    assert page.evaluate("document.querySelectorAll('.resmon').length") == 1
    before = rows(page)
    feed(page, 2, 2)
    page.wait_for_timeout(200)
    assert rows(page) > before
    page.evaluate("() => { ends[1](); close(); }")
    assert page.evaluate("document.querySelectorAll('.resmon').length") == 0
    assert page.evaluate("model.listening") == 0


@check
def model_closed_under_a_view(page: Page) -> None:
    """A model that goes while a view stands: disconnected, last values kept, commands harmless."""
    mount(page, "two")
    page.wait_for_timeout(600)
    page.evaluate("() => { close(); for (const b of document.querySelectorAll('.rm-toolbar button')) b.click(); }")
    page.wait_for_timeout(300)
    assert page.evaluate(f"{ROOT}.dataset.resmonState") == "gone"
    assert "41.2" in page.evaluate(f"{ROOT}.textContent")


@check
def gpu_that_appears_late(page: Page) -> None:
    """A schema that changes in mid-run brings the new device's row."""
    mount(page, "cpu")
    page.wait_for_timeout(600)
    assert page.evaluate("document.querySelectorAll('.rm-device').length") == 1
    page.evaluate("""() => {
        const next = window.harness.schema({revision: 9});
        model.state._schema = next;
        model.message({k: 'schema', schema: next});
        model.message({k: 'row'}, window.harness.row(next, window.harness.NOW + 1));
    }""")
    page.wait_for_timeout(700)
    assert page.evaluate("document.querySelectorAll('.rm-device').length") == 3


@check
def hidden_draws_nothing(page: Page) -> None:
    """Out of sight nothing is painted; back in sight the newest row is."""
    mount(page, "two")
    page.wait_for_timeout(600)
    page.evaluate("document.getElementById('host').style.display = 'none'")
    page.wait_for_timeout(300)
    before = rows(page)
    feed(page, 4, 2)
    assert rows(page) == before, (rows(page), before)
    page.evaluate("document.getElementById('host').style.display = ''")
    page.wait_for_timeout(500)
    assert rows(page) == before + 1


@check
def keys_stay_in_the_panel(page: Page) -> None:
    """Keys never reach the notebook, the toolbar is one tab stop, arrows move in it."""
    mount(page, "two")
    page.wait_for_timeout(600)
    page.evaluate("window.harness.catchKeys()")
    page.focus(".rm-toolbar button")
    for key in ("ArrowRight", "ArrowRight", "d", "Escape"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.classList.contains('rm-units')")
    assert page.evaluate("document.querySelectorAll('.rm-toolbar [tabindex=\"0\"]').length") == 1
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "Wh" in page.evaluate("document.querySelector('.rm-energy-cell .rm-energy-unit').textContent")
    page.focus(".rm-plot")
    for key in ("ArrowLeft", "Shift+ArrowLeft", "+", "Home", "End", "-", "Escape"):
        page.keyboard.press(key)
    assert page.evaluate("window.leaked") == [], page.evaluate("window.leaked")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.querySelector('.rm-readout').textContent").startswith("14:31:59")
    page.keyboard.press("ArrowLeft")
    assert "14:31:58" in page.evaluate("document.querySelector('.rm-readout').textContent")


@check
def factors_are_units(page: Page) -> None:
    """A factor makes a unit that the menu offers, with its source on hover; one that goes gives way to joules."""
    mount(page, "factors")
    page.wait_for_timeout(600)
    energy = "document.querySelector('.rm-energy-cell .rm-energy-unit').textContent"
    page.click(".rm-units")
    names = page.evaluate("[...document.querySelectorAll('[role=menuitemradio]')].map((e) => e.textContent)")
    assert names == ["joule, J", "watt-hours, Wh", "g CO₂", "g CO₂ with PUE 1.2", "cost, EUR"], names
    page.click("text=g CO₂ with PUE 1.2")
    page.wait_for_timeout(100)
    assert "CO₂" in page.evaluate(energy), page.evaluate(energy)
    tip = page.evaluate("document.querySelector('.rm-headline [data-tip*=\"g/kWh\"]').dataset.tip")
    assert tip == "350 g/kWh, times PUE 1.2 (the supplier's label, DE, 2025)", tip
    page.click(".rm-units")
    page.click("text=cost, EUR")
    page.wait_for_timeout(100)
    assert "EUR" in page.evaluate(energy)
    page.evaluate("""() => {
        const next = window.harness.schema({revision: 9});
        model.message({k: 'schema', schema: next});
        model.message({k: 'row'}, window.harness.row(next, window.harness.NOW + 1));
    }""")
    page.wait_for_timeout(700)
    assert page.evaluate(energy).endswith("J"), page.evaluate(energy)
    assert page.evaluate("document.querySelectorAll('[role=menuitemradio]').length") == 2


@check
def meters_speak(page: Page) -> None:
    """Meters carry values in words, unknown ones a reason and no number."""
    mount(page, "two")
    page.wait_for_timeout(600)
    memory = page.get_by_role("meter", name="GPU 0 memory")
    told = [memory.get_attribute(f"aria-value{what}") for what in ("text", "now", "max")]
    assert told == ["41.2 GiB yours, 0.6 others, of 140", "41.2", "140"], told
    mount(page, "unknown")
    page.wait_for_timeout(600)
    power = page.get_by_role("meter", name="CPU power")
    assert (power.get_attribute("aria-valuetext") or "").startswith("unknown: RAPL: needs root")
    assert power.get_attribute("aria-valuenow") is None
    assert power.get_attribute("tabindex") == "0"


@check
def pause_is_in_the_browser(page: Page) -> None:
    """Pausing stops the drawing, sends nothing, and Resume catches up."""
    mount(page, "two")
    page.wait_for_timeout(600)
    page.click(".rm-toolbar button")
    sent = page.evaluate("model.sent.length")
    before = rows(page)
    feed(page, 4, 1)
    assert (rows(page), page.evaluate("model.sent.length")) == (before, sent)
    assert page.evaluate(f"{ROOT}.dataset.resmonState") == "paused"
    page.click(".rm-toolbar button")
    page.wait_for_timeout(200)
    assert rows(page) == before + 1


@check
def nothing_moves(page: Page) -> None:
    """New values shift no element: the layout is the same after twenty rows as before."""
    for scene in ("two", "ranks4"):
        mount(page, scene)
        page.wait_for_timeout(700)
        before = page.evaluate("window.harness.boxes()")
        feed(page, 4, 4)
        assert page.evaluate("window.harness.boxes()") == before


@check
def no_horizontal_scroll(page: Page) -> None:
    """No width from 240 px makes the panel scroll sideways or cut a value."""
    ranks = ("straggler", "ranks2", "ended", "sixtyFour", "hostileRanks")
    for scene in ("two", "eight", "many", "cpu", "unknown", "failed", "hostile", *ranks):
        for width in WIDTHS:
            mount(page, scene, width=width)
            page.wait_for_timeout(60)
            cut = page.evaluate("window.harness.cut()")
            assert not cut, (scene, width, cut)
            over = page.evaluate("window.harness.overflow()")
            assert over <= 0, (scene, width, over)


@check
def header_figures_are_whole(page: Page) -> None:
    """The time and the rate of a cell with a long title, or of one that failed, are whole and beside the buttons."""
    for scene in ("long", "failed"):
        for width in WIDTHS:
            mount(page, scene, width=width)
            page.wait_for_function("() => document.querySelector('.rm-throughput')?.textContent.endsWith('/s')")
            page.wait_for_timeout(300)  # until the panel knows its width
            cut = page.evaluate("window.harness.cutFigures()")
            assert not cut, (scene, width, cut)


@timed
def main_thread(page: Page) -> None:
    """The main thread's CPU time is told for eight GPUs at 4 Hz (a figure, no verdict)."""
    mount(page, "eight")
    page.wait_for_timeout(1500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate("""() => {
        const h = window.harness;
        const row = (_, i) => h.row(model.state._schema, h.NOW + (i + 1) / 4, {}, {wobble: Math.sin(i)});
        window.rows = Array.from({length: 32}, row);
    }""")

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))

    for view in ("compact", "expanded"):
        if view == "expanded":
            page.click(".rm-expand")
            page.wait_for_timeout(500)
        start = busy()
        page.evaluate("""async () => {
            for (const row of window.rows) {
                model.message({k: 'row'}, row);
                await new Promise((done) => setTimeout(done, 250));
            }
        }""")
        print(f"    main thread, {view}: {(busy() - start) / 8:.1%} of a core")


def main() -> int:
    """Run all checks, each in a page of its own; the number of failures."""
    failures = 0
    untimed = "--untimed" in sys.argv
    only = {name for name in sys.argv[1:] if name != "--untimed"}
    with serving() as address, sync_playwright() as play:
        browser = launch(play)
        for f in CHECKS:
            if (only and f.__name__ not in only) or (untimed and f in TIMED):
                continue
            complaints: list[str] = []
            context = browser.new_context(viewport={"width": 1000, "height": 1100}, timezone_id="UTC")
            page = open_page(context, address, "light", complaints)
            try:
                f(page)
                assert not complaints, complaints
                print(f"ok    {f.__doc__}")
            except AssertionError as error:
                failures += 1
                print(f"FAIL  {f.__name__}: {f.__doc__}\n      {error}")
            context.close()
        browser.close()
    return failures


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
