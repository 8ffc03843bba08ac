"""Numbers for people: one rule for how each quantity is written, the same in text, HTML and the panel.

The panel's ``format.ts`` is the twin of this module; ``tests/data/number_format.json`` holds both to the same
answers. A value that is unknown (``None`` or not finite) is ``–``, never 0. Units follow a narrow no-break space,
thousands are parted by one, the minus is U+2212.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

THIN = "\u202f"
UNKNOWN = "–"
MINUS = "\u2212"
GIB = 1024.0**3

Interval = tuple[float | None, float | None, float | None]
"""A value and the ends of its 95 % interval."""

_SLACK = 1e-9  # relative: keeps 0.07 / 0.01 = 7.000000000000001 from being rounded up to 8


class _Scale(NamedTuple):
    """The prefixes of a unit as powers of ten, what follows it, and the least value that is written as itself."""

    steps: tuple[tuple[int, str], ...]
    suffix: str
    least: float


_JOULES = _Scale(((0, "J"), (3, "kJ"), (6, "MJ"), (9, "GJ")), "", 0.1)


_CARBON = _Scale(((-3, "mg CO₂"), (0, "g CO₂"), (3, "kg CO₂"), (6, "t CO₂")), "", 1e-4)


def _joules_per(items_unit: str) -> _Scale:
    return _Scale(((-9, "nJ"), (-6, "µJ"), (-3, "mJ"), *_JOULES.steps), f"/{singular(items_unit)}", 0.0)


def known(value: float | None) -> TypeGuard[float]:
    """True for a finite number: what is not known is shown, never computed with."""
    return value is not None and math.isfinite(value)


def format_measured(value_j: float | None, low_j: float | None, high_j: float | None) -> str:
    """Measured joules, ``156 ± 12 kJ``.

    U is the larger of the two half-widths, so that ``value ± U`` holds the interval before both are rounded: U up
    to one significant digit (two where it starts with 1 or 2) and the value to the same place, but at least
    to one digit. Where U is as large as the value the ends are written instead: ``20 [0, 3100] J``. Below 0.1 J only
    the upper end is told: ``< 0.1 J``. Without an interval: three digits.
    """
    return _measured(value_j, low_j, high_j, _JOULES)


def format_estimated(value_j: float | None, low_j: float | None, high_j: float | None) -> str:
    """Estimated joules, ``27 [12, 61] kJ``: two digits at most, the ends rounded outwards; unknown without ends."""
    return _bracketed(value_j, low_j, high_j, _JOULES)


def format_measured_per_item(value_j: float | None, low_j: float | None, high_j: float | None, items_unit: str) -> str:
    """Measured joules per item, ``0.112 ± 0.009 J/image``; the rules of :func:`format_measured`, down to nJ."""
    return _measured(value_j, low_j, high_j, _joules_per(items_unit))


def format_estimated_per_item(value_j: float | None, low_j: float | None, high_j: float | None, items_unit: str) -> str:
    """Estimated joules per item, ``0.11 [0.04, 0.3] J/image``; the rules of :func:`format_estimated`, down to nJ."""
    return _bracketed(value_j, low_j, high_j, _joules_per(items_unit))


def format_amount(interval: Interval, per_j: float, unit: str, *, estimated: bool = False) -> str:
    """What energy amounts to at ``per_j`` of a unit for each joule: grams of CO₂ (``"CO₂"``), or money.

    The rules of :func:`format_measured` and :func:`format_estimated`; money has no prefixes and is told down to 0.0001.
    """
    scale = _CARBON if unit == "CO₂" else _Scale(((0, unit),), "", 1e-4)
    value, low, high = (None if end is None else end * per_j for end in interval)
    return (_bracketed if estimated else _measured)(value, low, high, scale)


def format_energy_parts(
    *,
    measured: Interval = (None, None, None),
    estimated: Interval = (None, None, None),
    not_covered: Sequence[str] = (),
) -> str:
    """``measured 156 ± 12 kJ | estimated 27 [12, 61] kJ | not covered: PSU, fans``: one line that adds nothing up.

    A missing measured part is said (``measured –``); a missing estimate is left out, as nothing lacks then.
    """
    parts = [f"measured {format_measured(*measured)}"]
    if known(estimated[0]):
        parts.append(f"estimated {format_estimated(*estimated)}")
    if not_covered:
        parts.append(f"not covered: {', '.join(not_covered)}")
    return " | ".join(parts)


def format_power_w(value_w: float | None) -> str:
    """Whole watts, ``512 W``; from 1000 W on kilowatts with three digits, ``1.12 kW``."""
    if not known(value_w):
        return UNKNOWN
    if abs(value_w) < 999.5:
        return f"< 1{THIN}W" if 0 < value_w < 0.5 else f"{_number(value_w, 0)}{THIN}W"
    return f"{_digits(value_w / 1000.0, 3)}{THIN}kW"


def format_percent(fraction: float | None) -> str:
    """A fraction as whole per cent, ``78 %``."""
    if not known(fraction):
        return UNKNOWN
    return f"{_number(fraction * 100.0, 0)}{THIN}%"


def format_share(fraction: float | None) -> str:
    """A fraction that is far below 1 as per cent: two digits, one below 1 %; ``< 0.01 %`` below that."""
    if not known(fraction):
        return UNKNOWN
    percent = fraction * 100.0
    if 0 < percent < 0.01 * (1.0 - _SLACK):
        return f"< 0.01{THIN}%"
    return f"{_digits(percent, 2 if percent >= 1 else 1, least=-2)}{THIN}%"


def format_temperature_c(value_c: float | None) -> str:
    """Whole degrees Celsius, ``61 °C``."""
    if not known(value_c):
        return UNKNOWN
    return f"{_number(value_c, 0)}{THIN}°C"


def gib_number(value_bytes: float | None) -> str:
    """Bytes as GiB (2^30) with three digits and no unit, for ``41.2 of 140 GiB``."""
    if not known(value_bytes):
        return UNKNOWN
    gib = value_bytes / GIB
    if 0 < gib < 0.005:
        return "< 0.01"
    return "0" if gib == 0 else _digits(gib, 3, least=-2)


def format_gib(value_bytes: float | None) -> str:
    """Bytes as GiB (2^30) with three digits, ``41.2 GiB``: as ``nvidia-smi`` and allocator errors count."""
    text = gib_number(value_bytes)
    return text if text == UNKNOWN else f"{text}{THIN}GiB"


def format_rate(value_bytes_per_s: float | None) -> str:
    """Bytes per second in decimal units, ``3.1 MB/s``, ``412 MB/s``."""
    if not known(value_bytes_per_s):
        return UNKNOWN
    if value_bytes_per_s == 0:
        return f"0{THIN}kB/s"
    kilo = value_bytes_per_s / 1000.0
    if kilo < 0.05:
        return f"< 0.1{THIN}kB/s"
    units = iter(("kB/s", "MB/s", "GB/s", "TB/s"))
    unit = next(units)
    while kilo >= 999.5 and unit != "TB/s":
        kilo, unit = kilo / 1000.0, next(units)
    return f"{_digits(kilo, 2, least=-1)}{THIN}{unit}"


def format_items_per_s(value_per_s: float | None, items_unit: str = "items") -> str:
    """Throughput: ``61.3 steps/s``, ``8 420 images/s``, ``61.3 k tokens/s``: three digits, four from 1 000 to 9 999."""
    if not known(value_per_s):
        return UNKNOWN
    if 0 < value_per_s < 0.001 * (1.0 - _SLACK):
        number = "< 0.001"
    elif value_per_s < 9999.5:
        number = _digits(value_per_s, 3, least=-3)
    elif value_per_s < 999.5e3:
        number = f"{_digits(value_per_s / 1e3, 3)}{THIN}k"
    else:
        number = f"{_digits(value_per_s / 1e6, 3)}{THIN}M"
    return f"{number} {items_unit}/s"


def format_count(value: float | None) -> str:
    """A whole number with its thousands parted, ``12 345``."""
    return _number(value, 0) if known(value) else UNKNOWN


def format_duration(duration_s: float | None) -> str:
    """A clock that runs: ``0:07``, ``2:47``, ``1:52:03``. Whole seconds, cut and not rounded."""
    if not known(duration_s) or duration_s < 0:
        return UNKNOWN
    minutes, seconds = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def format_duration_words(duration_s: float | None) -> str:
    """A duration that is over: ``31 ms``, ``7.2 s``, ``3 min 12 s``, ``1 h 52 min``."""
    if not known(duration_s) or duration_s < 0:
        return UNKNOWN
    if duration_s < 0.0005:
        return f"< 1{THIN}ms"
    if duration_s < 0.9995:
        return f"{_digits(duration_s * 1000.0, 2, least=0)}{THIN}ms"
    if duration_s < 59.95:
        return f"{_digits(duration_s, 3, least=-1)}{THIN}s"
    whole = math.floor(duration_s + 0.5)
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    minutes = math.floor(duration_s / 60.0 + 0.5)
    return f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def singular(items_unit: str) -> str:
    """``images`` → ``image``, ``batches`` → ``batch``: the unit of one item, for ``J/image``."""
    if items_unit.endswith(("ches", "shes", "xes", "sses")):
        return items_unit[:-2]
    if items_unit.endswith("ies") and len(items_unit) > 4:
        return f"{items_unit[:-3]}y"
    return items_unit[:-1] if items_unit.endswith("s") and not items_unit.endswith("ss") else items_unit


def _measured(value: float | None, low: float | None, high: float | None, scale: _Scale) -> str:
    if not known(value):
        return UNKNOWN
    u = max(0.0, value - low, high - value) if known(low) and known(high) else 0.0
    if value < scale.least or value <= 0:
        return _below(high if known(high) else None, scale)
    if u >= value:
        return _bracketed(value, low, high, scale)
    if u <= value * 1e-12:
        exponent, unit = _step(_round(value, _leading(value) - 2), scale)
        return f"{_digits(value / 10.0**exponent, 3)}{THIN}{unit}{scale.suffix}"
    shown_u, place = _round_up(u)
    exponent, unit = _step(_round(value, min(place, _leading(value))), scale)
    shown = _number(value / 10.0**exponent, min(place, _leading(value)) - exponent, group="")
    return f"{shown} ± {_number(shown_u / 10.0**exponent, place - exponent, group='')}{THIN}{unit}{scale.suffix}"


def _bracketed(value: float | None, low: float | None, high: float | None, scale: _Scale) -> str:
    if not (known(value) and known(low) and known(high)):
        return UNKNOWN
    if value < scale.least or value <= 0:
        return _below(high, scale)
    place = _leading(value) - 1
    exponent, unit = _step(_round(value, place), scale)
    scaled = value / 10.0**exponent
    place = _leading(_round(scaled, place - exponent)) - 1
    ends = ", ".join(_outward(end / 10.0**exponent, place, up=up) for end, up in ((low, False), (high, True)))
    return f"{_number(scaled, place, group='')} [{ends}]{THIN}{unit}{scale.suffix}"


def _below(high: float | None, scale: _Scale) -> str:
    """What is told of a value too small to be written: a bound. Without any, it is unknown."""
    bound = max(scale.least, high or 0.0)
    if bound <= 0:
        return UNKNOWN
    shown, place = _round_up(bound)
    exponent, unit = _step(shown, scale)
    text = _number(shown / 10.0**exponent, place - exponent, group="")
    return f"< {text.rstrip('0').rstrip('.') if '.' in text else text}{THIN}{unit}{scale.suffix}"


def _outward(value: float, place: int, *, up: bool) -> str:
    """An end of an interval, at most two digits and not finer than ``place``, rounded away from the value."""
    if value <= 0:
        return "0"
    place = max(place, _leading(value) - 1)
    whole = value * 10.0**-place
    whole = math.ceil(whole * (1.0 - _SLACK)) if up else math.floor(whole * (1.0 + _SLACK))
    if whole == 100:  # 9.96 goes to 10, not to 10.0
        whole, place = 10, place + 1
    return "0" if whole == 0 else _number(_at(whole, place), place, group="")


def _round_up(u: float) -> tuple[float, int]:
    """``u`` rounded up to one significant digit, two where it starts with 1 or 2, and the place of the last digit."""
    leading = _leading(u)
    first = int(u / 10.0**leading * (1.0 + _SLACK))
    place = leading - 1 if first in (1, 2) else leading
    whole = math.ceil(u / 10.0**place * (1.0 - _SLACK))
    if whole == 30:  # 2.95 goes to 3, which has one digit
        whole, place = 3, place + 1
    return _at(whole, place), place


def _step(value: float, scale: _Scale) -> tuple[int, str]:
    """The prefix with which ``value`` lies in 1 to 999.9; the first or last one where none does."""
    chosen = scale.steps[0]
    for step in scale.steps[1:]:
        if abs(value) >= 10.0 ** step[0] * (1.0 - _SLACK):
            chosen = step
    return chosen


def _leading(value: float) -> int:
    """The power of ten of the first significant digit."""
    exponent = math.floor(math.log10(abs(value)))
    return exponent + 1 if abs(value) >= 10.0 ** (exponent + 1) * (1.0 - _SLACK) else exponent


def _at(whole: float, place: int) -> float:
    return whole / 10.0**-place if place < 0 else whole * 10.0**place


def _round(value: float, place: int) -> float:
    """Half up, with a little slack: 0.785 as per cent is 78.49999999999999 and means 78.5."""
    scaled = value * 10.0**-place if place < 0 else value / 10.0**place
    return _at(math.floor(scaled * (1.0 + 1e-12) + 0.5), place)


def _digits(value: float, digits: int, *, least: int | None = None) -> str:
    """``value`` with so many significant digits, whole numbers always whole, nothing finer than ``least``."""
    if value == 0:
        return "0"
    place = min(_leading(value) - digits + 1, 0)
    if abs(_round(value, place)) >= 10.0 ** (_leading(value) + 1) * (1.0 - _SLACK):
        place = min(place + 1, 0)
    return _number(value, place if least is None else max(place, least))


def _number(value: float, place: int, group: str = THIN) -> str:
    rounded = _round(abs(value), place)
    text = f"{rounded:,.{max(0, -place)}f}".replace(",", group)
    return f"{MINUS}{text}" if value < 0 and rounded else text
