"""The timeline as a PNG: for the frozen summary, which must outlive every script and style.

Drawn with Pillow at twice the size it is shown, shapes at four times and then reduced. The picture carries its own
white ground and the panel's light colours, so that it reads the same in every theme.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from resmon.results import Measurement
from resmon.views import timeline
from resmon.views.timeline import Layer, Strip, Values

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH = 800
"""The width at which the picture is meant to be shown, in CSS pixels; it has twice as many."""

COLOURS = {"gpu": (0x00, 0x66, 0xA6), "cpu": (0x00, 0x96, 0x6D), "memory": (0x8A, 0x2A, 0x68)}

_SHOWN = 2
_FINE = 4  # shapes: pixels for each CSS pixel before the reduction to _SHOWN
_LEFT, _RIGHT, _TOP, _GAP, _AXIS = 40, 122, 20, 24, 22
_LABEL_STEP = 14
_TEXT, _MUTED, _GRID, _BASELINE = (0x21, 0x21, 0x21), (0x64, 0x64, 0x64), (0xDD, 0xDD, 0xDD), (0x9E, 0x9E, 0x9E)
_DASH, _SPACE = 4.0, 2.5
_HATCH_STEP = 5.0

Point = tuple[float, float]
Colour = tuple[int, int, int]


def timeline_png(m: Measurement) -> bytes | None:
    """The picture of ``m.series``; None when it holds fewer than two known points of anything that is drawn."""
    strips = timeline.strips(m)
    if not strips or m.duration_s <= 0:
        return None
    from PIL import Image

    height = _TOP + sum(s.height for s in strips) + _GAP * (len(strips) - 1) + _AXIS
    fine = Image.new("RGB", (WIDTH * _FINE, height * _FINE), "white")
    tops = [_TOP + sum(s.height + _GAP for s in strips[:i]) for i in range(len(strips))]
    for strip, top in zip(strips, tops, strict=True):
        _Canvas(fine, m, strip, top).draw()
    image = fine.reduce(_FINE // _SHOWN)
    _write(image, m, strips, tops)
    packed = io.BytesIO()
    image.quantize(96, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return packed.getvalue()


class _Canvas:
    """One strip on the fine image; positions are CSS pixels until they are drawn."""

    def __init__(self, image: Image, m: Measurement, strip: Strip, top: float) -> None:
        from PIL import ImageDraw

        self.image, self.strip, self.top = image, strip, top
        self.pen = ImageDraw.Draw(image)
        self.at_s, self.duration_s, self.interval_s = m.series.at_s, m.duration_s, m.interval_s

    def x(self, at_s: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, at_s / self.duration_s))

    def y(self, value: float) -> float:
        return _y(self.strip, self.top, value)

    def draw(self) -> None:
        for layer in self.strip.layers:
            if layer.fill != "hatched":
                self._surface(layer)
        for tick in self.strip.ticks:
            y = self.y(tick)
            self._line([(_LEFT, y), (WIDTH - _RIGHT, y)], _BASELINE if tick == 0 else _GRID, 1.0)
        for layer in reversed(self.strip.layers):
            if layer.fill == "hatched":  # above the grid, which would cut its lines to pieces
                self._surface(layer)
            for run in timeline.runs(self.at_s, layer.values, interval_s=self.interval_s):
                self._run(self._points(run, layer.values), layer)
        for i, y in enumerate(_label_positions(self.strip, self.top)):
            layer = self.strip.layers[i]
            x = WIDTH - _RIGHT + 8.0
            self._run([(x, y), (x + 16.0, y)], layer)

    def _points(self, run: Sequence[int], values: Values) -> list[Point]:
        return [(self.x(self.at_s[i]), self.y(value)) for i in run if (value := values[i]) is not None]

    def _run(self, points: list[Point], layer: Layer) -> None:
        colour = COLOURS[layer.resource]
        if len(points) == 1:
            (x, y) = points[0]
            self.pen.ellipse([(x - 1.5) * _FINE, (y - 1.5) * _FINE, (x + 1.5) * _FINE, (y + 1.5) * _FINE], fill=colour)
        elif layer.line == "dashed":
            for dash in _dashes(points):
                self._line(dash, colour, 1.5)
        else:
            self._line(points, colour, 1.5)

    def _line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self.pen.line(_fine(points), fill=colour, width=round(width * _FINE), joint="curve")

    def _surface(self, layer: Layer) -> None:
        if layer.fill == "none":
            return
        upper = layer.top if layer.fill == "band" else layer.values
        colour = COLOURS[layer.resource]
        for run in timeline.runs(self.at_s, upper, layer.base, interval_s=self.interval_s):
            outline = self._points(run, upper) + self._points(run, layer.base)[::-1]
            if len(run) < 2:
                continue
            if layer.fill == "hatched":
                self._hatch(outline, colour)
            else:
                self.pen.polygon(_fine(outline), fill=_tint(colour, 0.18 if layer.fill == "band" else 0.3))

    def _hatch(self, outline: Sequence[Point], colour: Colour) -> None:
        from PIL import Image, ImageChops, ImageDraw

        inside = Image.new("1", self.image.size)
        ImageDraw.Draw(inside).polygon(_fine(outline), fill=1)
        box = inside.getbbox()
        if box is None:
            return
        inside = inside.crop(box)
        width, height = inside.size
        stripes = Image.new("1", inside.size)
        pen = ImageDraw.Draw(stripes)
        step = round(_HATCH_STEP * 1.414 * _FINE)
        start = -((box[0] + box[3]) % step)  # anchored to the picture, so that neighbouring runs continue each other
        for x in range(start - height - height % step, width + step, step):
            pen.line([(x, height), (x + height, 0)], fill=1, width=round(1.4 * _FINE))
        self.image.paste(colour, (box[0], box[1]), ImageChops.logical_and(inside, stripes))


def _write(image: Image, m: Measurement, strips: Sequence[Strip], tops: Sequence[float]) -> None:
    """Everything that is text, at the size it is shown in: letters need no reduction."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(11.5 * _SHOWN)

    def put(x: float, y: float, text: str, anchor: str, colour: Colour) -> None:
        pen.text((x * _SHOWN, y * _SHOWN), text, font=font, anchor=anchor, fill=colour)

    for strip, top in zip(strips, tops, strict=True):
        for tick in strip.ticks:
            put(_LEFT - 7, _y(strip, top, tick), f"{tick:g}", "rm", _MUTED)
        put(6, top - 12, strip.title, "lm", _MUTED)
        for layer, y in zip(strip.layers, _label_positions(strip, top), strict=True):
            put(WIDTH - _RIGHT + 30, y, layer.label, "lm", _TEXT)
    bottom = tops[-1] + strips[-1].height
    for at_s, text in timeline.time_ticks(m.duration_s):
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * at_s / m.duration_s
        pen.line([(x * _SHOWN, bottom * _SHOWN), (x * _SHOWN, (bottom + 4) * _SHOWN)], fill=_BASELINE, width=_SHOWN)
        put(x, bottom + 12, text, "lm" if at_s == 0 else "mm", _MUTED)


def _y(strip: Strip, top: float, value: float) -> float:
    return top + strip.height * (1.0 - min(1.0, max(0.0, value / strip.high)))


def _label_positions(strip: Strip, top: float) -> list[float]:
    """Where each layer's name stands: at its last value, at least 14 px from the next, inside strip and gap."""
    wanted = []
    for i, layer in enumerate(strip.layers):
        last = next((v for v in reversed(layer.values) if v is not None), 0.0)
        wanted.append((_y(strip, top, last), i))
    wanted.sort()
    places = [0.0] * len(wanted)
    y = float("-inf")
    for at, i in wanted:
        y = max(at, y + _LABEL_STEP)
        places[i] = y
    beyond = max(0.0, max(places) - (top + strip.height))
    order = [i for _, i in wanted]
    limit = top + strip.height
    for i in reversed(order):
        places[i] = min(places[i], limit) if beyond else places[i]
        limit = places[i] - _LABEL_STEP
    return places


def _dashes(points: Sequence[Point]) -> list[list[Point]]:
    """The polyline cut into dashes, measured along it."""
    dashes: list[list[Point]] = []
    drawing, left = True, _DASH
    current = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        done = 0.0
        while length - done > left:
            done += left
            cut = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if drawing:
                dashes.append([*current, cut])
            current, drawing = [cut], not drawing
            left = _DASH if drawing else _SPACE
        left -= length - done
        current.append((x1, y1))
    if drawing and len(current) > 1:
        dashes.append(current)
    return dashes


def _fine(points: Sequence[Point]) -> list[Point]:
    return [(x * _FINE, y * _FINE) for x, y in points]


def _tint(colour: Colour, strength: float) -> Colour:
    r, g, b = (round(255 - (255 - c) * strength) for c in colour)
    return (r, g, b)
