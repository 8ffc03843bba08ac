"""The plotly figures: the same content as the summary, for any theme, and no name that becomes markup."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from resmon.comparison import compare
from resmon.results import Measurement, Series
from resmon.views import figure
from tests.measurements import HOSTILE, component, energy, gpu, measurement, series
from tests.played_ranks import uses


def traces(m: Measurement) -> list[dict[str, object]]:
    return list(json.loads(m.figure().to_json())["data"])


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", "#212121", "#111111"])
@pytest.mark.parametrize("colour", [*figure.COLOURS.values(), figure.TEXT])
def test_every_colour_is_seen_on_light_and_dark_pages(colour: str, ground: str) -> None:
    assert contrast(colour, ground) >= 3.0


def test_the_lines_are_those_of_the_picture_and_the_patterns_say_how_well_known() -> None:
    found = traces(measurement(gpus=2))
    assert [t["name"] for t in found if "name" in t] == ["GPU 0", "GPU 1", "CPU", "2 GPUs", "+ CPU est."]
    solid, hatched = (t for t in found if t.get("fill") == "toself")
    assert "fillpattern" not in solid
    assert hatched["fillpattern"]["shape"] == "/"  # type: ignore[index]


def test_a_gap_in_the_data_is_a_gap_in_line_and_surface() -> None:
    known = (40.0,) * 20 + (None,) * 20 + (40.0,) * 20
    found = traces(measurement(series=series(columns={"host.power_w": known})))
    line = next(t for t in found if t.get("name") == "CPU est.")
    assert line["y"] == [40.0] * 20 + [None] + [40.0] * 20 + [None]
    assert sum(t.get("fill") == "toself" and "fillpattern" in t for t in found) == 2


def test_the_figure_has_no_ground_of_its_own() -> None:
    layout = json.loads(measurement(gpus=1).figure().to_json())["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_a_measurement_without_series_says_so() -> None:
    layout = json.loads(measurement(series=Series()).figure().to_json())["layout"]
    assert layout["annotations"][0]["text"] == "too short for a timeline"


def test_no_name_from_outside_is_markup_for_plotly() -> None:
    m = measurement(gpus=1, name=f"$x$ {HOSTILE}", error=HOSTILE)
    device = replace(m.gpus[0].device, label="<a href=x>")
    m = replace(m, gpus=(replace(m.gpus[0], device=device),))
    for made in (m.figure(), compare([m, m]).figure()):
        text = json.dumps(json.loads(made.to_json()), ensure_ascii=False)
        assert "<img" not in text
        assert "<a " not in text
        assert "$" not in text
        assert "\\u001b" not in text
    assert "&lt;img" in text


def test_a_comparison_shows_measured_and_estimated_as_two_bars_with_their_intervals() -> None:
    a, b = measurement(gpus=1, name="a"), measurement(name="b")
    found = json.loads(compare([a, b]).figure().to_json())["data"]
    measured, estimated = (t for t in found if t.get("name") in ("■ measured", "▨ estimated"))
    assert measured["x"] == [24e3, None]
    assert estimated["x"] == [2400.0, 2400.0]
    assert estimated["marker"]["pattern"]["shape"] == "/"
    assert estimated["error_x"]["array"] == [1200.0, 1200.0]
    lone = compare([measurement(energy=energy(component("GPU 0", 5.0)), gpus=1)]).figure()
    assert "▨ estimated" not in lone.to_json()
    assert gpu(0).device.label in measurement(gpus=1).figure().to_json()


def test_a_comparison_of_ranks_has_training_speed_shares_and_utilisation() -> None:
    one, two = (measurement(gpus=1, name=f"{n} ranks", duration_s=60.0 / n, items=600.0, ranks=uses(n)) for n in (1, 2))
    made = json.loads(compare([one, two]).figure().to_json())
    titles = [annotation["text"] for annotation in made["layout"]["annotations"]]
    assert titles[3:] == ["Training speed, items/s", "Share of a step, %", "Utilisation, %"]
    speed = next(t for t in made["data"] if t["x"] == [10.0, 20.0])
    assert speed["customdata"] == [", 1.00×", ", 2.00×"]
    compute, communication, wait = (
        next(t for t in made["data"] if t.get("name") == word) for word in ("compute", "communication", "wait")
    )
    assert compute["x"] == pytest.approx([58, 58])
    assert communication["base"] == pytest.approx([58, 58])
    assert wait["base"] == pytest.approx([67, 67])
    assert "share" not in json.dumps(json.loads(compare([measurement(), measurement()]).figure().to_json()))
