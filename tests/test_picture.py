"""The timeline as a picture: what is measured is solid, what is estimated hatched, a gap is a gap."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image

from resmon.results import Measurement, Series
from resmon.units import GIB
from resmon.views import picture, timeline
from resmon.views.timeline import Strip
from tests.measurements import component, energy, measurement, series

WHITE = (255, 255, 255)


def drawn(m: Measurement) -> Image.Image:
    png = picture.timeline_png(m)
    assert png is not None
    return Image.open(io.BytesIO(png)).convert("RGB")


def near(colour: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(colour, wanted, strict=True))


def column(image: Image.Image, fraction: float, top: float, bottom: float) -> list[tuple[int, int, int]]:
    """The colours down one moment of the time axis, between two heights in CSS pixels."""
    left, right = picture._LEFT, picture.WIDTH - picture._RIGHT
    x = round((left + (right - left) * fraction) * 2)
    found = [image.getpixel((x, y)) for y in range(round(top * 2), round(bottom * 2))]
    return [pixel for pixel in found if isinstance(pixel, tuple)]  # type: ignore[misc]


def power_strip(m: Measurement) -> tuple[Strip, float]:
    strips = timeline.strips(m)
    return strips[1], picture._TOP + strips[0].height + picture._GAP


def test_the_picture_is_twice_its_shown_size_on_its_own_white_ground() -> None:
    image = drawn(measurement(gpus=2))
    assert image.width == 2 * picture.WIDTH
    assert {image.getpixel(corner) for corner in ((0, 0), (image.width - 1, image.height - 1))} == {WHITE}


def test_measured_power_is_a_solid_surface_and_estimated_power_is_hatched() -> None:
    m = measurement(gpus=1)  # 400 W measured below 40 W estimated
    strip, top = power_strip(m)
    image = drawn(m)

    def y(watts: float) -> float:
        return top + strip.height * (1 - watts / strip.high)

    solid = [p for x in (0.3, 0.32, 0.34, 0.36) for p in column(image, x, y(380), y(320))]
    assert sum(near(p, picture._tint(picture.COLOURS["gpu"], 0.3)) for p in solid) > 0.9 * len(solid)
    alone = measurement()
    strip, top = power_strip(alone)
    hatched = [p for x in range(30, 70) for p in column(drawn(alone), x / 100, y(36), y(24))]
    inked = sum(near(p, picture.COLOURS["cpu"]) for p in hatched) / len(hatched)
    blank = sum(near(p, WHITE) for p in hatched) / len(hatched)
    assert 0.05 < inked < 0.5
    assert 0.2 < blank < 0.9


def test_a_gap_in_the_data_is_a_gap_in_the_picture() -> None:
    known = (40.0,) * 20 + (None,) * 20 + (40.0,) * 20
    m = measurement(series=series(columns={"host.power_w": known}))
    strip, top = power_strip(m)
    image = drawn(m)
    rows = (top + 2, top + strip.height - 3)
    ink = {x: sum(near(p, picture.COLOURS["cpu"]) for p in column(image, x, *rows)) for x in (0.2, 0.5, 0.8)}
    assert ink[0.2] > 0
    assert ink[0.8] > 0
    assert ink[0.5] == 0


def test_points_far_apart_in_time_are_not_bridged() -> None:
    at_s = (0.0, 1.0, 2.0, 3.0, 30.0, 31.0)
    values = (1.0,) * 6
    assert list(timeline.runs(at_s, values)) == [[0, 1, 2, 3], [4, 5]]
    assert list(timeline.runs(at_s, values, interval_s=10.0)) == [[0, 1, 2, 3, 4, 5]]
    assert list(timeline.runs(at_s, (1.0, None, 1.0, 1.0, 1.0, None))) == [[0], [2, 3], [4]]


def test_one_or_two_gpus_are_lines_and_more_are_a_mean_in_a_band() -> None:
    two = timeline.strips(measurement(gpus=2))[0].layers
    assert [(layer.label, layer.line) for layer in two] == [("GPU 0", "solid"), ("GPU 1", "dashed"), ("CPU", "solid")]
    band = timeline.strips(measurement(gpus=4))[0].layers[0]
    assert band.label == "4 GPUs, mean"
    assert (band.base[0], band.values[0], band.top[0]) == pytest.approx((50.0, 57.5, 65.0))


def test_power_is_stacked_and_its_labels_say_what_is_estimated() -> None:
    strip = timeline.strips(measurement(gpus=2))[1]
    assert [(layer.label, layer.fill) for layer in strip.layers] == [("2 GPUs", "solid"), ("+ CPU est.", "hatched")]
    assert [layer.values[0] for layer in strip.layers] == [800.0, 840.0]
    measured = measurement(energy=energy(component("CPU package 0", 2400.0)))
    assert [(layer.label, layer.fill) for layer in timeline.strips(measured)[1].layers] == [("CPU", "solid")]


def test_a_sum_with_an_unknown_part_is_unknown_and_a_gpu_that_never_told_is_counted_out() -> None:
    lost = (400.0,) * 30 + (None,) * 30
    m = measurement(gpus=2, series=series(2, columns={"gpu:GPU-1.power_w": lost}))
    assert timeline.strips(m)[1].layers[0].values[-1] is None
    m = measurement(gpus=2, series=series(2, columns={"gpu:GPU-1.power_w": (None,) * 60}))
    layer = timeline.strips(m)[1].layers[0]
    assert (layer.label, layer.values[-1]) == ("1 of 2 GPUs", 400.0)


def test_memory_has_a_strip_where_there_is_no_gpu() -> None:
    assert [strip.title for strip in timeline.strips(measurement())] == ["Utilisation, %", "Power, W", "Memory, GiB"]
    assert timeline.strips(measurement())[2].layers[0].values[0] == 2.0
    assert len(timeline.strips(measurement(gpus=1))) == 2


@pytest.mark.parametrize(
    "nothing",
    [
        Series(), series(points=1), Series(at_s=(0.0, 1.0), values={"host.power_w": (None, float("nan"))}),
        Series(at_s=(0.0, 1.0, 2.0), values={"host.power_w": (None, 5.0, None)}),
    ],
)  # fmt: skip
def test_there_is_no_picture_of_less_than_two_points(nothing: Series) -> None:
    assert picture.timeline_png(measurement(series=nothing)) is None


def test_values_that_are_always_zero_and_tiny_memory_are_drawn() -> None:
    flat: dict[str, tuple[float | None, ...]] = {
        "host.cpu_utilization": (0.0,) * 60,
        "host.power_w": (0.0,) * 60,
        "host.memory_tree_bytes": (GIB / 1e6,) * 60,
    }
    assert drawn(measurement(series=series(columns=flat))).width == 2 * picture.WIDTH


@pytest.mark.parametrize(
    ("duration_s", "written"),
    [
        (192.0, ["0:00", "1:00", "2:00", "3:00"]), (7.4, ["0:00", "0:02", "0:04", "0:06"]),
        (0.31, ["0", "100 ms", "200 ms", "300 ms"]), (2.4, ["0", "0.5 s", "1 s", "1.5 s", "2 s"]),
        (3 * 86400.0, ["0:00", "24:00:00", "48:00:00", "72:00:00"]),
    ],
)  # fmt: skip
def test_the_time_axis_has_few_round_marks(duration_s: float, written: list[str]) -> None:
    assert [text for _, text in timeline.time_ticks(duration_s)] == written


def test_names_at_the_right_end_never_touch() -> None:
    m = measurement(gpus=2, series=series(2, columns={"host.cpu_utilization": (0.5,) * 60}))
    for strip in timeline.strips(m):
        places = sorted(picture._label_positions(strip, 100.0))
        assert all(b - a >= 14 for a, b in itertools.pairwise(places))
        assert places[-1] <= 100.0 + strip.height


def test_a_device_without_series_is_no_error() -> None:
    m = measurement(gpus=1, series=series(0))
    assert [layer.label for layer in timeline.strips(m)[0].layers] == ["CPU"]
