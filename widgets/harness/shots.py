"""Takes pictures of the panel in all its forms, for a person to look at: ``python widgets/harness/shots.py [NAME …]``.

Pictures go to ``widgets/shots/``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from browser import launch, open_page
from serve import WIDGETS, serving


@dataclass(frozen=True)
class Shot:
    """One picture: a scene at a width, in a theme, after some clicks."""

    scene: str
    width: int = 900
    mode: str = "light"
    script: str = ""
    media: dict[str, str] = field(default_factory=dict)


SHOTS = {
    "light": Shot("two", script="crosshair"),
    "dark": Shot("two", mode="dark", script="crosshair"),
    "two-760": Shot("two", 760),
    "two-700": Shot("two", 700),
    "two-600": Shot("two", 600, script="crosshair"),
    "two-450": Shot("two", 450),
    "narrow": Shot("two", 245),
    "narrow-dark": Shot("two", 245, "dark"),
    "wide-1400": Shot("two", 1400),
    "cpu": Shot("cpu", 700),
    "cpu-245": Shot("cpu", 245),
    "eight": Shot("eight", mode="dark"),
    "eight-700": Shot("eight", 700),
    "eight-600": Shot("eight", 600),
    "eight-245": Shot("eight", 245),
    "eight-expanded": Shot("eight", script="expand"),
    "many": Shot("many"),
    "many-500": Shot("many", 500),
    "many-245": Shot("many", 245),
    "unknown": Shot("unknown"),
    "unknown-600": Shot("unknown", 600, "dark"),
    "nan": Shot("nan"),
    "lost": Shot("lost"),
    "failed": Shot("failed"),
    "failed-245": Shot("failed", 245),
    "done": Shot("done", 600),
    "missed": Shot("missed"),
    "stopping": Shot("stopping"),
    "stopping-245": Shot("stopping", 245),
    "stopped": Shot("stopped", 700),
    "waiting": Shot("waiting"),
    "fresh": Shot("fresh"),
    "late": Shot("late"),
    "gone": Shot("gone"),
    "young": Shot("young"),
    "paused": Shot("two", script="pause"),
    "units": Shot("two", script="units"),
    "factors": Shot("factors", script="units"),
    "carbon": Shot("factors", script="carbon"),
    "carbon-245": Shot("factors", 245, script="carbon"),
    "cost": Shot("factors", script="cost"),
    "cost-600": Shot("factors", 600, "dark", script="cost"),
    "tip": Shot("unknown", script="tip"),
    "more": Shot("two", 245, script="more"),
    "hostile": Shot("hostile"),
    "long-600": Shot("long", 600),
    "long-430": Shot("long", 430, "dark"),
    "long-240": Shot("long", 240),
    "ranks": Shot("ranks"),
    "ranks-4": Shot("ranks4"),
    "ranks-4-dark": Shot("ranks4", mode="dark"),
    "ranks-4-expanded": Shot("ranks4", script="expand"),
    "ranks-2": Shot("ranks2", 800),
    "ranks-2-dark": Shot("ranks2", 760, "dark"),
    "straggler": Shot("straggler"),
    "straggler-dark": Shot("straggler", mode="dark"),
    "straggler-700": Shot("straggler", 700),
    "straggler-500": Shot("straggler", 500, script="open"),
    "straggler-245": Shot("straggler", 245, script="open"),
    "straggler-forced": Shot("straggler", mode="none", media={"forced_colors": "active"}),
    "ranks-ended": Shot("ended"),
    "ranks-ended-245": Shot("ended", 245, "dark"),
    "ranks-finished": Shot("finished"),
    "ranks-joining": Shot("joining"),
    "ranks-64": Shot("sixtyFour"),
    "ranks-64-dark": Shot("sixtyFour", mode="dark"),
    "ranks-64-500": Shot("sixtyFour", 500),
    "ranks-64-245": Shot("sixtyFour", 245),
    "ranks-hostile": Shot("hostileRanks", 700),
    "bare": Shot("two", mode="none"),
    "bare-dark": Shot("two", mode="none", media={"color_scheme": "dark"}),
    "forced": Shot("two", mode="none", media={"forced_colors": "active"}),
}

SCRIPTS = {
    "crosshair": "document.querySelector('.rm-plot')?.focus();"
    "for (let i = 0; i < 68; i += 1) document.querySelector('.rm-plot')"
    "?.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))",
    "expand": "document.querySelector('.rm-expand').click()",
    "pause": "document.querySelector('.rm-button').click()",
    "units": "document.querySelector('.rm-units').click()",
    "more": "document.querySelector('.rm-dots').click()",
    "open": "document.querySelectorAll('.rm-rank-open')[5].click()",
    "carbon": "document.querySelector('.rm-menu-item[data-unit=\"carbon\"]').click();"
    "document.querySelector('.rm-headline .rm-energy-cell [tabindex], .rm-headline .rm-energy-cell').focus()",
    "cost": "document.querySelector('.rm-menu-item[data-unit=\"cost\"]').click()",
    "tip": "document.querySelector('.rm-meter[tabindex]').focus()",
}


def main(names: list[str]) -> None:
    """Take the named pictures, or all of them."""
    unknown = sorted(set(names) - set(SHOTS))
    if unknown:
        raise SystemExit(f"no such picture: {', '.join(unknown)}; there are {', '.join(SHOTS)}")
    out = WIDGETS / "shots"
    out.mkdir(exist_ok=True)
    with serving() as address, sync_playwright() as play:
        browser = launch(play)
        for name in names or SHOTS:
            shot = SHOTS[name]
            context = browser.new_context(
                viewport={"width": max(shot.width + 40, 300), "height": 900},
                device_scale_factor=2,
                timezone_id="UTC",
                locale="en-GB",
                **shot.media,
            )
            complaints: list[str] = []
            page = open_page(context, address, shot.mode, complaints)
            page.evaluate(
                "([scene, width]) => window.harness.mount(scene, {width}).then(() => 0)", [shot.scene, shot.width]
            )
            page.wait_for_timeout(700)
            if shot.script:
                page.evaluate(SCRIPTS[shot.script])
            page.wait_for_timeout(250)
            overflow = page.evaluate("window.harness.overflow()")
            if overflow > 0:
                complaints.append(f"{overflow} px too wide")
            for complaint in complaints:
                print(f"{name}: {complaint}")
            page.screenshot(path=out / f"{name}.png", full_page=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
