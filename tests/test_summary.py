"""The frozen summary: it reads in full without styles, wears any theme, and lets nothing from outside in."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from resmon.results import Measurement, Series
from resmon.views import escape, summary, text
from tests.measurements import HOSTILE, component, energy, gpu, measurement

VOID = {"img", "br"}


class _Page(HTMLParser):
    """What a reader of the HTML meets: its text without styles, its tags, its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]


def page(m: Measurement, **options: object) -> _Page:
    found = _Page(summary.mimebundle(m, **options)["text/html"])  # type: ignore[arg-type]
    assert not found.open
    return found


def _words(text_: str) -> str:
    return re.sub(r"[\s\u202f]+", " ", text_).replace(" ,", ",")


def test_everything_is_said_in_words_in_html_and_in_text() -> None:
    m = measurement(gpus=2, items=60_000.0, items_unit="images", notes=("the GPU is shared",))
    bundle = summary.mimebundle(m, title="train resnet50", number=12)
    for found in (_words(page(m, title="train resnet50", number=12).text), _words(bundle["text/plain"])):
        for said in (
            "✓ In [12] train resnet50, done in 1 min 0 s at 1 000 images/s", "48 ± 4 kJ", "■ measured, GPU counters",
            "2.4 [1.2, 3.6] kJ", "▨ estimated, CPU model", "800 ± 60 mJ/image", "□ not covered", "PSU, fans",
            "GPU 0 H200", "24.0 ± 1.7 kJ", "41.2 of 140 GiB", "77 %", "541", "63", "CPU 32 cores", "RAPL: needs root",
            "the GPU is shared", "120 samples at 2 Hz, 0 missed", "resmon used 0.06 % of a core", "95 % intervals",
            "finished ",
        ):  # fmt: skip
            assert said in found, said


def test_the_html_wears_the_theme_and_needs_nothing_from_elsewhere() -> None:
    found = page(measurement(gpus=2))
    assert found.tags <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "img"}
    assert {name for name, _ in found.attributes} <= {"class", "style", "scope", "aria-label", "src", "alt", "width"}
    assert set(found.all("class")) == {"mathjax_ignore tex2jax_ignore"}
    for style in found.all("style"):
        for declaration in filter(None, style.split(";")):
            name, value = declaration.split(":", 1)
            if "color" in name or "background" in name:
                assert value in ("inherit", "transparent"), declaration
    colours = set(re.findall(r"rgba?\([^)]*\)|#[0-9a-fA-F]{3,}", " ".join(found.all("style"))))
    assert colours == {"rgba(128,128,128,.45)"}
    (source,) = found.all("src")
    assert source.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).format == "PNG"


@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_it_is_small(gpus: int) -> None:
    assert len(summary.mimebundle(measurement(gpus=gpus))["text/html"]) < 60_000


def test_the_picture_is_told_to_who_cannot_see_it() -> None:
    (alt,) = page(measurement(gpus=1)).all("alt")
    assert "Timeline over 1\u202fmin 0\u202fs" in alt
    assert "GPU 0 mean 50, from 50 to 50" in alt
    assert "+ CPU est. mean 40, from 40 to 40" in alt  # the estimated part alone, though it is drawn on top


def test_the_estimate_leads_where_nothing_was_measured_and_the_dash_has_its_reason() -> None:
    found = _words(page(measurement()).text)
    assert found.index("▨ estimated, CPU model") < found.index("– ■ measured, RAPL: needs root")
    assert "0 J" not in re.sub(r"\d[\d.]* J", "", found)
    measured = _words(page(measurement(gpus=1)).text)
    assert measured.index("■ measured") < measured.index("▨ estimated")


def test_a_failure_is_named_with_how_far_the_measurement_goes() -> None:
    m = measurement(error="KeyboardInterrupt")
    said = "✗ In [4] train digits, failed: KeyboardInterrupt after 1 min 0 s, measured up to there"
    assert said in _words(page(m, number=4).text)
    assert said in _words(summary.mimebundle(m, number=4)["text/plain"])


def test_a_cell_too_short_for_a_picture_has_none_and_no_zero_joules() -> None:
    m = measurement(duration_s=0.031, energy=energy(component("CPU", 0.01, "estimated")), series=Series(), samples=1)
    found = page(m)
    assert "img" not in found.tags
    assert "< 0.1 J ▨ estimated" in _words(found.text)
    assert "1 sample at" in found.text


def test_unknown_values_are_dashes_and_columns_without_any_value_go() -> None:
    idle = gpu(1, utilization_mean=None, power_max_w=None)
    m = measurement(gpus=2, cpu_utilization=None)
    rows = text.measurement_text(replace(m, gpus=(m.gpus[0], idle))).splitlines()
    assert next(row for row in rows if row.startswith("GPU 1")).endswith("41.2 of 140\u202fGiB      63")
    assert [row.count("–") for row in rows if row.startswith(("GPU", "CPU")) and ": " not in row] == [0, 2, 3]
    lone = text.measurement_text(measurement(host=None, cpu_utilization=None, peak_memory_bytes=None))
    assert "Energy" in lone
    assert "Mean util" not in lone


def test_as_text_it_fits_a_terminal_and_the_notes_stand_below() -> None:
    note = "rated power x utilisation; unknown CPU model, rated 3-32 W for 2 CPUs, of which 2 in use here; a third part"
    m = measurement(gpus=2, energy=energy(replace(component("CPU", 900.0, "estimated"), note=note)))
    lines = text.measurement_text(replace(m, gpus=(gpu(0), gpu(1, note="fell off the bus")))).splitlines()
    assert max(map(len, lines)) <= 110
    assert "GPU 1 H200: fell off the bus" in lines
    assert note in " ".join(line.strip() for line in lines)
    assert not any("Note" in line for line in lines)


def test_long_notes_stand_below_the_table_in_html_and_short_ones_in_it() -> None:
    assert "RAPL: needs root" in page(measurement(gpus=1)).text.partition("Note")[2]
    note = "a note that is longer than what a column of the table has room for"
    found = page(replace(measurement(gpus=1), gpus=(gpu(0, note=note),)))
    assert "Note" not in found.text
    assert f"GPU 0 H200: {note}" in _words(found.text)
    assert "CPU 32 cores: RAPL: needs root" in _words(found.text)


def test_memory_that_is_not_known_to_be_yours_is_not_called_yours() -> None:
    shared = gpu(0, memory_own_peak_bytes=None, memory_peak_bytes=42.0 * 1024**3)
    m = measurement(gpus=1)
    found = text.measurement_text(replace(m, gpus=(shared,)))
    assert "all processes 42.0 of 140\u202fGiB" in found


def test_throttling_and_components_without_a_device_have_their_place() -> None:
    held = gpu(0, throttled_fraction=0.41, throttle_reason="power cap")
    parts = energy(component("GPU 0", 24e3), component("CPU package 0", 300.0), component("CPU package 1", 200.0),
                   component("DRAM", 50.0))  # fmt: skip
    found = text.measurement_text(replace(measurement(gpus=1), gpus=(held,), energy=parts))
    assert "⚠ power cap 41\u202f% of the time" in found
    host_row = next(line for line in found.splitlines() if line.startswith("CPU 32 cores"))
    assert "500 ± 40\u202fJ" in host_row  # both packages, their errors added
    assert any(line.startswith("DRAM") and "50 ± 4\u202fJ" in line for line in found.splitlines())


def test_what_comes_from_outside_is_text_everywhere() -> None:
    m = measurement(
        gpus=1, name=HOSTILE, error=f"ValueError: {HOSTILE}", items=10.0, items_unit=HOSTILE, notes=(HOSTILE,)
    )
    m = replace(m, gpus=(gpu(0, name=HOSTILE, throttled_fraction=0.5, throttle_reason=HOSTILE, note=HOSTILE),))
    found = page(m)
    assert len(found.all("src")) == 1
    assert not found.all("onerror")
    assert "<img src=x onerror=alert(1)>" in found.text
    for written in (*summary.mimebundle(m).values(), text.measurement_line(m), str(m)):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)
    assert "\n" not in text.measurement_line(m)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"), ("a\x1b]8;;http://x\x1b\\link", "alink"), ("a\x1b]0;title\x07b", "ab"),
        ("a\x9b31mb", "ab"), ("a\x1b]52;c;unended", "a"), ("one\r\ntwo\tthree", "one  two three"),
        ("a\u202eb\u2066c", "abc"),
        ("\ud800", "\ufffd"), ("a\u200bb\x00c", "abc"), ("é 漢 😀", "é 漢 😀"), (7, "7"),
    ],
)  # fmt: skip
def test_a_terminal_is_given_nothing_to_obey(given: object, left: str) -> None:
    assert escape.plain(given) == left


def test_one_line_says_what_it_cost() -> None:
    line = text.measurement_line(measurement(gpus=2, items=120.0))
    assert _words(line) == (
        "train digits: 1 min 0 s | 2.00 items/s | measured 48 ± 4 kJ | estimated 2.4 [1.2, 3.6] kJ | "
        "not covered: PSU, fans | CPU 25 % | 2 GPUs 77 % | peak memory 2.00 GiB"
    )
    assert "failed: ValueError" in text.measurement_line(measurement(error="ValueError"))
