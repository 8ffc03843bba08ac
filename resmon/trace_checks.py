"""What the facts and events of a trace must be, so that a replay can be made of them. They may come from anywhere."""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from resmon.facts import Channel, Device, EnergySource, Limits
from resmon.origins import Origin

MAX_TEXT = 1000
MAX_EVENT_KEYS = 12
MAX_SECONDS = 1e10
"""No time of a trace is later than this (three hundred years of uptime), nor is any span longer."""
INTERVAL_S = (0.01, 60.0)

Made = TypeVar("Made", Channel, Device, EnergySource, Limits)


def refuse(reason: str) -> NoReturn:
    """Say why."""
    raise ValueError(reason)


def made(what: type[Made], found: object, place: str) -> Made:
    """A fact from its JSON object. Raises ValueError naming the place, the field and the value."""
    if not isinstance(found, Mapping):
        refuse(f"{place} is no object: {reprlib.repr(found)}")
    hints = get_type_hints(what)
    unknown = sorted(set(found) - set(hints))
    if unknown:
        refuse(f"{place} has a field that is not known: {reprlib.repr(unknown[0])}")
    lacking = [f.name for f in fields(what) if f.default is MISSING and f.name not in found]
    if lacking:
        refuse(f"{place} lacks {lacking[0]!r}")
    values: dict[str, Any] = {}
    for name, value in found.items():
        if not _fits(value, hints[name]):
            refuse(f"{place}.{name} cannot be {reprlib.repr(value)}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return what(**values)


def _fits(value: object, hint: Any) -> bool:
    kind, options = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_fits(value, option) for option in options)
    if kind is Literal:
        return isinstance(value, str) and value in options
    if kind is tuple:
        return isinstance(value, list) and len(value) == len(options) and all(map(_fits, value, options))
    simple: dict[Any, bool] = {
        str: isinstance(value, str) and len(value) <= MAX_TEXT,
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63,
        float: is_number(value),
    }
    return simple.get(hint, value is None)


def is_number(value: object) -> bool:
    """Whether it is a finite number of at least 0, as all of a trace but temperatures are."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e300


def check_facts(facts: object, channels: Sequence[Channel]) -> dict[str, Origin]:
    """Raise KeyError or ValueError for facts that a replay could not be made of; returns where the sources stood."""
    if not isinstance(facts, Mapping):
        refuse(f"facts is no object: {reprlib.repr(facts)}")
    devices = [made(Device, found, f"devices[{i}]") for i, found in enumerate(_list(facts, "devices"))]
    sources = [made(EnergySource, found, f"sources[{i}]") for i, found in enumerate(_list(facts, "sources"))]
    for name, ids in (("devices", [d.id for d in devices]), ("sources", [s.id for s in sources])):
        if len(set(ids)) < len(ids):
            refuse(f"two {name} of one id")
    derived = _texts(facts, "derived")
    read = {c.id for c in channels if c.device_id not in ("energy", "resmon")} - set(derived)
    for source in sources:
        _check_source(source, read)
    _texts(facts, "not_covered")
    if facts.get("limits") is not None:
        made(Limits, facts["limits"], "limits")
    interval_s = facts.get("interval_s", 0.5)
    if not is_number(interval_s) or not INTERVAL_S[0] <= interval_s <= INTERVAL_S[1]:
        refuse(f"interval_s is between {INTERVAL_S[0]} and {INTERVAL_S[1]:g}, not {reprlib.repr(interval_s)}")
    if not isinstance(facts.get("boot", ""), str):
        refuse(f"boot is no text: {reprlib.repr(facts['boot'])}")
    _check_wall(facts["wall_at_0"])
    return _origins(facts.get("origins", {}), sources)


def _check_source(source: EnergySource, read: set[str]) -> None:
    wanted = [source.channel, *(source.times or ())]
    if source.basis == "estimated":
        wanted += [source.low_channel or source.channel, source.high_channel or source.channel]
    missing = next((channel for channel in wanted if channel not in read), None)
    if missing is not None:
        refuse(f"the source {reprlib.repr(source.id)} has no channel {reprlib.repr(missing)}")
    if (source.method == "model") != (source.basis == "estimated"):
        refuse(f"the source {reprlib.repr(source.id)} is {source.basis}, which no {source.method} is")
    if source.period_s is not None and not 0 < source.period_s <= INTERVAL_S[1]:
        refuse(f"the period of {reprlib.repr(source.id)} is {source.period_s!r} s")
    for name in ("gain_error", "sampled_fraction"):
        value = getattr(source, name)
        if not value <= 1 or (name == "sampled_fraction" and not value > 0):
            refuse(f"the {name} of {reprlib.repr(source.id)} is a fraction up to 1, not {value!r}")


def _check_wall(text: object) -> None:
    try:
        at_0 = datetime.fromisoformat(text) if isinstance(text, str) else None
        if at_0 is None or at_0.tzinfo is None:
            refuse("no zone")
        datetime.fromtimestamp(at_0.timestamp() + MAX_SECONDS, UTC)
    except (ValueError, OverflowError, OSError):
        refuse(f"wall_at_0 is no time with its zone: {reprlib.repr(text)}")


def _origins(found: object, sources: Sequence[EnergySource]) -> dict[str, Origin]:
    if not isinstance(found, Mapping):
        refuse(f"origins is no object: {reprlib.repr(found)}")
    origins = {}
    for source in sources:
        if source.id in found:
            try:
                origins[source.id] = Origin.from_json(found[source.id])
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                refuse(f"the origin of {reprlib.repr(source.id)}: {error}")
            if (origins[source.id].counter is not None) and source.method != "counter":
                refuse(f"the origin of {reprlib.repr(source.id)} is that of a counter")
    return origins


def _list(facts: Mapping[str, Any], key: str) -> list[Any]:
    found = facts[key]
    if not isinstance(found, list):
        refuse(f"{key} is no list: {reprlib.repr(found)}")
    return found


def _texts(facts: Mapping[str, Any], key: str) -> list[str]:
    found = facts.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        refuse(f"{key} is no list of texts: {reprlib.repr(found)}")
    return found


def check_event(event: object) -> Mapping[str, Any]:
    """A flat event. Raises ValueError with the reason."""
    if not isinstance(event, dict):
        refuse("an event that is no object")
    if len(event) > MAX_EVENT_KEYS:
        refuse(f"an event of more than {MAX_EVENT_KEYS} facts")
    for key, value in event.items():
        if isinstance(value, (dict, list)) or (isinstance(value, str) and len(value) > MAX_TEXT):
            refuse(f"{reprlib.repr(key)} of an event is {reprlib.repr(value)}")
    _check_event_values(event)
    return event


def _check_event_values(event: Mapping[str, Any]) -> None:
    for key in ("at_s", "instant", "process_cpu_s"):
        if key in event and not (is_number(event[key]) and event[key] <= MAX_SECONDS):
            refuse(f"{key} of an event is {reprlib.repr(event[key])}")
    if "at_s" not in event:
        refuse("an event without its time (at_s)")
    if "interval_s" in event:
        value = event["interval_s"]
        if not is_number(value) or not INTERVAL_S[0] <= value <= INTERVAL_S[1]:
            refuse(f"interval_s of an event is {reprlib.repr(value)}")
    if "cell" in event and not (
        event["cell"] in ("start", "end") and isinstance(event.get("error"), (str, type(None)))
    ):
        refuse(f"an event of a cell that is {reprlib.repr(event)}")


def check_read(source: object, read: Any) -> None:
    """A read of a counter: two instants, joules, watts. Raises ValueError with the reason."""
    if not isinstance(source, str) or not isinstance(read, list) or len(read) != 4:
        refuse("a poll that is not a source and four numbers")
    for value, word in zip(read, ("instant", "instant", "energy", "power"), strict=True):
        if value is None and word != "instant":
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
            refuse(f"the {word} of a poll is negative: {reprlib.repr(value)}")
        if not is_number(value) or (word == "instant" and value > MAX_SECONDS):
            refuse(f"the {word} of a poll is {reprlib.repr(value)}")
    if read[1] < read[0]:
        refuse(f"a poll ends before it begins: {read[1]!r} s is before {read[0]!r} s")


def check_time(at_s: object) -> None:
    """The time of a row. Raises ValueError with the reason."""
    if not is_number(at_s) or not (isinstance(at_s, (int, float)) and at_s <= MAX_SECONDS):
        refuse(f"the time is {reprlib.repr(at_s)}")


def is_finite(value: float) -> bool:
    """Whether a float can hold it: JSON has integers of any length, and 1e999 is infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
