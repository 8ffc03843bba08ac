"""What a monitor and its helper process say to each other about the GPUs: one message, one packet.

Numbers are packed, so that an answer costs microseconds at either end; what seldom changes is JSON, in pieces where it
is long. Times are ``CLOCK_MONOTONIC``, which all processes of a machine share.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from resmon.energy.edges import CounterRead
from resmon.facts import Channel, Device, EnergySource, SensorStatus

PACKET_BYTES: Final = 1 << 16
"""No packet is longer."""
_PIECE_BYTES: Final = PACKET_BYTES // 2
READS_PER_PACKET: Final = 512

ASK, WATCH, FACTS = b"a", b"w", b"f"
"""To the helper: read everything once, poll these counters, what the watched process sees."""
BEGUN, ANSWER, READS, PIECE, SAID, FAILED = b"b", b"n", b"c", b"p", b"s", b"x"
"""From the helper: it is there, an answer, polled counters, a piece of JSON and its last one, a read that failed."""

_ASK: Final = struct.Struct("=cQd")
_ANSWER: Final = struct.Struct("=cQQdd")
_READ: Final = struct.Struct("=Hdddd")
_WATCH: Final = struct.Struct("=cdd")


class Answer(NamedTuple):
    """The values of a sensor, asked for as number ``number``, in the order of the channels of shape ``shape``.

    ``took_s`` is how long the driver took, ``cpu_s`` the CPU time that the helper has used so far.
    """

    number: int
    shape: int
    took_s: float
    cpu_s: float
    values: Sequence[float]


class Said(NamedTuple):
    """All that a sensor says of itself besides numbers. ``shape`` counts the shapes that it had."""

    shape: int
    devices: tuple[Device, ...] = ()
    channels: tuple[Channel, ...] = ()
    sources: tuple[EnergySource, ...] = ()
    status: tuple[SensorStatus, ...] = ()
    not_covered: tuple[str, ...] = ()
    driver_version: str = ""
    own_memory_known: dict[str, bool] = {}  # noqa: RUF012 - nobody writes into it
    unsure_of: tuple[str, ...] = ()


def pack_ask(number: int, at_s: float) -> bytes:
    """Ask for everything at ``at_s`` of the sampler's clock."""
    return _ASK.pack(ASK, number, at_s)


def unpack_ask(packet: bytes) -> tuple[int, float]:
    """The number of the question and its time."""
    _, number, at_s = _ASK.unpack(packet)
    return number, at_s


def pack_watch(wanted: Collection[str], for_s: float, gap_s: float) -> bytes:
    """Ask to poll the counters of these sources for so long, with so much rest between two polls; none: no more."""
    return _WATCH.pack(WATCH, for_s, gap_s) + "\n".join(wanted).encode()


def unpack_watch(packet: bytes) -> tuple[frozenset[str], float, float]:
    """Which sources, for how long, and the rest between two polls."""
    _, for_s, gap_s = _WATCH.unpack_from(packet)
    return frozenset(packet[_WATCH.size :].decode().split("\n")) - {""}, for_s, gap_s


def pack_facts(facts: dict[str, Any]) -> bytes:
    """What the watched process sees: :func:`resmon.sensors.nvml_view.facts_of`."""
    return FACTS + json.dumps({**facts, "pids": sorted(facts["pids"])}).encode()


def unpack_facts(packet: bytes) -> dict[str, Any]:
    """The same, as it was told."""
    facts: dict[str, Any] = json.loads(packet[1:])
    return facts


def pack_answer(answer: Answer) -> bytes:
    """An answer to a question."""
    values = answer.values
    return _ANSWER.pack(ANSWER, *answer[:4]) + struct.pack(f"={len(values)}d", *values)


def unpack_answer(packet: bytes) -> Answer:
    """The same at the other end."""
    _, number, shape, took_s, cpu_s = _ANSWER.unpack_from(packet)
    values = struct.unpack_from(f"={(len(packet) - _ANSWER.size) // 8}d", packet, _ANSWER.size)
    return Answer(number, shape, took_s, cpu_s, values)


def pack_reads(reads: Sequence[tuple[str, CounterRead]], places: dict[str, int]) -> Iterator[bytes]:
    """Reads of counters in order of time; ``places`` numbers the sources of the shape that was told last."""
    for i in range(0, len(reads), READS_PER_PACKET):
        packed = (_READ.pack(places[source_id], *read) for source_id, read in reads[i : i + READS_PER_PACKET])
        yield READS + b"".join(packed)


def unpack_reads(packet: bytes, sources: Sequence[EnergySource]) -> list[tuple[str, CounterRead]]:
    """The same at the other end."""
    return [(sources[place].id, CounterRead(*read)) for place, *read in _READ.iter_unpack(packet[1:])]


def pack_said(said: Said) -> Iterator[bytes]:
    """The packets that tell it, the last of another kind than those before."""
    whole = said._asdict()
    for name in ("devices", "channels", "sources", "status"):
        whole[name] = [asdict(fact) for fact in whole[name]]
    text = json.dumps(whole).encode()
    pieces = [text[i : i + _PIECE_BYTES] for i in range(0, len(text), _PIECE_BYTES)]
    yield from (PIECE + piece for piece in pieces[:-1])
    yield SAID + pieces[-1]


def unpack_said(text: bytes) -> Said:
    """The same from the pieces put together."""
    whole = json.loads(text)
    return Said(
        shape=whole["shape"],
        devices=tuple(Device(**fact) for fact in whole["devices"]),
        channels=tuple(Channel(**fact) for fact in whole["channels"]),
        sources=tuple(EnergySource(**{**fact, "times": _pair(fact["times"])}) for fact in whole["sources"]),
        status=tuple(SensorStatus(**fact) for fact in whole["status"]),
        not_covered=tuple(whole["not_covered"]),
        driver_version=whole["driver_version"],
        own_memory_known=whole["own_memory_known"],
        unsure_of=tuple(whole["unsure_of"]),
    )


def _pair(times: Sequence[str] | None) -> tuple[str, str] | None:
    return None if times is None else (times[0], times[1])
