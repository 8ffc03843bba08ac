"""What ranks and the notebook say to each other, as bytes. Never pickled, and checked field by field when it arrives.

A message is one frame: a letter for its kind, a byte for the version of this format, the body. That of samples is
doubles in the order of ``Sample``, NaN for what is unknown, one sample after the other; every other is a JSON object.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from resmon.distributed.environment import MAX_RANKS
from resmon.ranks import RankSample

VERSION = 1
MAX_BYTES = 8_192
MAX_TEXT = 200

HELLO, ACK, REFUSED, PACE, SAMPLES, DEVICE, BYE = b"H", b"A", b"R", b"P", b"S", b"D", b"B"

_MOST = 1e18  # of seconds, items and bytes alike: an exabyte

NAN = float("nan")


class Sample(NamedTuple):
    """What a rank tells of itself, as ``RankSample`` has it; NaN for what is unknown."""

    at_s: float
    steps: float = NAN
    items: float = NAN
    stepping_s: float = NAN
    collective_s: float = NAN
    cpu_time_s: float = NAN
    memory_bytes: float = NAN
    allocator_allocated_bytes: float = NAN
    allocator_reserved_bytes: float = NAN
    allocator_peak_bytes: float = NAN
    cpu_wait_s: float = NAN
    memory_wait_s: float = NAN
    allocator_retries: float = NAN
    monitor_cpu_s: float = NAN


_SAMPLE = struct.Struct(f"<{len(Sample._fields)}d")
_SAMPLES_HEAD = SAMPLES + bytes((VERSION,))
MOST_SAMPLES = (MAX_BYTES - len(_SAMPLES_HEAD)) // _SAMPLE.size
"""In one message."""


class MessageError(ValueError):
    """Bytes that are no message of this version; says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A rank says who it is; ``sent_s`` is on its own clock, ``boot`` names whose clock that is."""

    rank: int
    sent_s: float
    boot: str
    pid: int
    world_size: int | None = None
    host: str = ""
    device: str = ""
    device_id: str | None = None
    job: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The notebook has taken the rank in. ``sent_s`` comes back as it was, ``at_s`` is on the notebook's clock.

    ``reads`` tells whether the notebook itself reads the rank's device, ``interval_s`` how often samples are wanted,
    ``live`` what :class:`Pace` tells.
    """

    sent_s: float
    at_s: float
    boot: str
    reads: bool = False
    interval_s: float = 0.25
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Whether somebody looks, and samples are wanted as they come; else they may come several together."""

    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The notebook does not take the rank in, or wants to hear its hello first (``reason`` is empty)."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """What the elected reader of a GPU read: it works for a notebook that does not see that GPU."""

    device_id: str
    utilization: float | None = None
    power_w: float | None = None
    throttle: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """A rank has ended: ``"done"``, or what ended it; empty where whoever started it will say."""

    outcome: str = ""


Words = Hello | Ack | Refused | Pace | DeviceReading | Bye
_KINDS: dict[bytes, type[Words]] = {
    HELLO: Hello,
    ACK: Ack,
    REFUSED: Refused,
    PACE: Pace,
    DEVICE: DeviceReading,
    BYE: Bye,
}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_RANGES: dict[str, tuple[float, float]] = {
    "rank": (0, MAX_RANKS - 1),
    "world_size": (1, MAX_RANKS),
    "pid": (1, 2**32),
    "utilization": (0, 1),
    "interval_s": (0.01, 60),
}
_T = TypeVar("_T")


def encode(words: Words) -> bytes:
    """The bytes of a message; texts are cut to what the other side accepts."""
    body = {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in asdict(words).items()}
    return _LETTERS[type(words)] + bytes((VERSION,)) + json.dumps(body).encode("ascii")


def encode_samples(*samples: Sample) -> bytes:
    """The bytes of 1 to ``MOST_SAMPLES`` samples, the oldest first."""
    return _SAMPLES_HEAD + b"".join([_SAMPLE.pack(*sample) for sample in samples])


def kind_of(frame: bytes) -> bytes:
    """The letter of a message. MessageError for what is too long, empty or of another version."""
    if not 2 <= len(frame) <= MAX_BYTES:
        raise MessageError(f"{len(frame)} bytes are no message")
    if frame[1] != VERSION:
        raise MessageError(f"it speaks version {frame[1]} of the format, this resmon version {VERSION}")
    return frame[:1]


def decode(frame: bytes) -> Words:
    """The message in a frame that has no samples. MessageError names the field that is wrong."""
    kind = _KINDS.get(kind_of(frame))
    if kind is None:
        raise MessageError(f"{frame[:1]!r} is no kind of message")
    try:
        body = json.loads(frame[2:].decode("utf-8"))
    except (ValueError, RecursionError):
        raise MessageError("the body is no JSON") from None
    if not isinstance(body, dict):
        raise MessageError("the body is no JSON object")
    return _checked(kind, body)


def decode_samples(frame: bytes, hello: Hello) -> list[RankSample]:
    """The samples of the rank that said ``hello``, with ``at_s`` as the rank wrote it. MessageError for bad values."""
    body = frame[len(_SAMPLES_HEAD) :]
    if not body or len(body) % _SAMPLE.size:
        raise MessageError(f"samples are {_SAMPLE.size} bytes each, not {len(body)}")
    return [_rank_sample(values, hello) for values in _SAMPLE.iter_unpack(body)]


def _rank_sample(values: tuple[float, ...], hello: Hello) -> RankSample:
    for value in values:
        if not (0.0 <= value <= _MOST or value != value):
            raise MessageError(f"{value!r} is out of range")
    if values[0] != values[0]:
        raise MessageError("the sample has no time")
    known = [None if value != value else value for value in values]
    steps = known[1]
    rest: dict[str, Any] = dict(zip(Sample._fields[2:], known[2:], strict=True))
    return RankSample(
        rank=hello.rank,
        at_s=values[0],
        host=hello.host,
        device=hello.device,
        device_id=hello.device_id,
        pid=hello.pid,
        steps=None if steps is None else int(steps),
        **rest,
    )


def _checked(kind: type[_T], body: Mapping[str, Any]) -> _T:
    """An instance of a message, each field of its type and within its range."""
    hints = _hints(kind)
    unknown = sorted(set(body) - set(hints))
    if unknown:
        raise MessageError(f"{kind.__name__} has no field {unknown[0][:40]!r}")
    for name, value in body.items():
        problem = _problem(name, value, hints[name])
        if problem:
            raise MessageError(f"{kind.__name__}.{name} {problem}")
    try:
        return kind(**body)
    except TypeError:
        raise MessageError(f"{kind.__name__} lacks a field") from None


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]


def _problem(name: str, value: object, hint: Any) -> str:
    """What is wrong with the value of a field; empty where nothing is."""
    allowed = getattr(hint, "__args__", (hint,))
    number = float in allowed and type(value) in (int, float)
    if type(value) not in allowed and not number:
        return "is missing" if value is None else f"may not be {type(value).__name__}"
    if isinstance(value, str):
        return "" if len(value) <= MAX_TEXT and value.isprintable() else "is too long or not printable"
    if number or type(value) is int:
        low, high = _RANGES.get(name, (0.0, _MOST))
        if not low <= cast(float, value) <= high:  # not so for what is no number
            return f"is out of range: {str(value)[:40]}"
    return ""
