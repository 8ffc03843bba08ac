"""What the checks of the panel share: their list, and how they show a scene and feed it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

Check = Callable[[Page], None]
CHECKS: list[Check] = []
TIMED: list[Check] = []
"""Those of them that a machine with other work to do may fail."""
ROOT = "document.querySelector('.resmon')"


def check(f: Check) -> Check:
    """Register a check; its first line of docstring is what it claims."""
    CHECKS.append(f)
    return f


def timed(f: Check) -> Check:
    """Register a check of how soon or how often something comes."""
    TIMED.append(f)
    return check(f)


def mount(page: Page, scene: str, **options: int) -> None:
    """Show a scene; ``model``, ``widget``, ``close`` and ``ends`` are then globals of the page."""
    page.evaluate("([scene, options]) => window.harness.mount(scene, options).then(() => 0)", [scene, options])


def feed(page: Page, hertz: float, seconds: float) -> None:
    """Send rows to the mounted model at a rate, then wait until the last is drawn."""
    page.evaluate(
        """async ([hertz, seconds]) => {
            const s = model.state._schema ?? window.harness.schema();
            const n = Math.round(hertz * seconds);
            window.fed ??= window.harness.NOW;
            for (let i = 0; i < n; i += 1) {
                window.fed += s.interval_s;
                model.message({k: 'row'}, window.harness.row(s, window.fed, {}, {wobble: Math.sin(i)}));
                await new Promise((done) => setTimeout(done, 1000 / hertz));
            }
        }""",
        [hertz, seconds],
    )


def rows(page: Page) -> int:
    """Rows that reached the screen so far."""
    return int(page.evaluate(f"{ROOT}.dataset.resmonRows ?? '0'"))
