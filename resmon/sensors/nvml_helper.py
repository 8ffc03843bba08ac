"""The process that reads the GPUs for a monitor, where no busy interpreter is in the way of the driver's calls.

Started by :mod:`resmon.sensors.nvml_link`, whose socket is its standard input. It ends with that socket or with the
process that started it, whichever is first, also while a driver call hangs. It never imports torch and never
initialises CUDA. It is no child of the monitor's process, which may wait for *its* children as it likes.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NoReturn

from resmon.energy.edges import POLL_REST, CounterRead
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_view import ToldView
from resmon.sensors.nvml_wire import (
    ASK,
    BEGUN,
    FACTS,
    FAILED,
    PACKET_BYTES,
    WATCH,
    Answer,
    Said,
    pack_answer,
    pack_reads,
    pack_said,
    unpack_ask,
    unpack_facts,
    unpack_watch,
)

GATHER_S: Final = 0.008
"""Polled reads travel together when this time has passed: a packet for each would fill the socket's buffer."""
BACKLOG: Final = 16384
"""Polling pauses with this many reads that nobody fetched."""
_PR_SET_NAME: Final = 15
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_SLICE_NS: Final = 100_000


class Helper:
    """Answers the packets of one socket with what one sensor reads, until the other end is closed."""

    def __init__(self, connection: socket.socket, sensor: NvmlSensor, view: ToldView) -> None:
        self._connection = connection
        self._sensor = sensor
        self._view = view
        self._discovered = False
        self._said = Said(shape=-1)
        self._places: dict[str, int] = {}
        self._wanted: Collection[str] = ()
        self._until_s = self._next_poll_s = self._gathered_s = self._gap_s = 0.0
        self._reads: list[tuple[str, CounterRead]] = []
        self._unsent: deque[bytes] = deque()

    def run(self) -> None:
        """Serve. Returns when the other end is gone."""
        connection = self._connection
        connection.settimeout(0)
        self._unsent.append(BEGUN + str(os.getpid()).encode())
        with suppress(BrokenPipeError, ConnectionError):
            while True:
                self._send()
                readable, _, _ = select.select([connection], [connection] if self._unsent else [], [], self._wait_s())
                if readable:
                    packet = connection.recv(PACKET_BYTES)
                    if not packet:
                        return
                    self._take(packet)
                self._poll()

    def _wait_s(self) -> float | None:
        """Until the next poll; None: until somebody says something."""
        now_s = time.monotonic()
        if self._wanted and now_s < self._until_s:
            return max(0.0, self._next_poll_s - now_s)
        waiting = self._reads and not self._unsent  # with something unsent, room in the socket is what is waited for
        return max(0.0, self._gathered_s + GATHER_S - now_s) if waiting else None

    def _take(self, packet: bytes) -> None:
        kind = packet[:1]
        if kind == ASK:
            self._answer(packet)
        elif kind == WATCH:
            self._wanted, for_s, self._gap_s = unpack_watch(packet)
            self._next_poll_s = time.monotonic()
            self._until_s = self._next_poll_s + for_s
        elif kind == FACTS:
            self._view.tell(unpack_facts(packet))
            if not self._discovered:
                self._discovered = True
                self._sensor.discover()
                self._tell()

    def _answer(self, packet: bytes) -> None:
        number, at_s = unpack_ask(packet)
        sensor, shape, began_s = self._sensor, self._sensor.generation, time.monotonic()
        try:
            values = sensor.read(at_s)
        except Exception as error:  # noqa: BLE001 - the monitor shall know of it, and may ask again
            answer = FAILED + f"{type(error).__name__}: {error}".encode()
        else:
            answer = pack_answer(Answer(number, shape, time.monotonic() - began_s, time.process_time(), values))
        self._flush()  # read before, so told before
        self._tell()
        self._unsent.append(answer)

    def _tell(self) -> None:
        """Say what the sensor says of itself, if that is not what was said last."""
        sensor = self._sensor
        said = Said(
            shape=sensor.generation,
            devices=sensor.devices,
            channels=sensor.channels,
            sources=sensor.sources,
            status=tuple(sensor.status),
            not_covered=tuple(sensor.not_covered),
            driver_version=sensor.driver_version,
            own_memory_known=dict(sensor.own_memory_known),
            unsure_of=sensor.unsure_of,
        )
        if said != self._said:
            self._said = said
            self._places = {source.id: i for i, source in enumerate(said.sources)}
            self._unsent.extend(pack_said(said))

    def _poll(self) -> None:
        now_s = time.monotonic()
        if self._wanted and self._next_poll_s <= now_s < self._until_s and len(self._reads) < BACKLOG:
            if not self._reads:
                self._gathered_s = now_s
            self._reads += self._sensor.poll_counters(self._wanted)
            # Never a burst for what was missed; a round that takes long leaves room for a question.
            ended_s = time.monotonic()
            self._next_poll_s = ended_s + max(self._gap_s, POLL_REST * (ended_s - now_s))
        if self._reads and not self._unsent and now_s - self._gathered_s >= GATHER_S:
            self._flush()

    def _flush(self) -> None:
        if self._reads:
            self._unsent.extend(pack_reads(self._reads, self._places))
            self._reads = []

    def _send(self) -> None:
        """Send what there is room for; the rest waits, in order."""
        with suppress(BlockingIOError):
            while self._unsent:
                self._connection.send(self._unsent[0])
                self._unsent.popleft()


def main() -> None:
    """The process: ``argv[1]`` is the pid of the one that it serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")  # whatever folder the notebook lies in can be unmounted
    with suppress(AttributeError, OSError):  # a C library without it: the process keeps Python's name
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"resmon-nvml", 0, 0, 0)
        _ask_for_short_turns()
    connection = socket.socket(fileno=0)
    threading.Thread(target=_end_with, args=(connection.fileno(), int(sys.argv[1])), daemon=True).start()
    view = ToldView()
    Helper(connection, NvmlSensor(view=view, **json.loads(sys.argv[2])), view).run()
    os._exit(0)  # the driver's library needs no farewell, and one that hangs would keep us


def _ask_for_short_turns() -> None:
    """Ask Linux (6.12 and later; others take no notice) for turns of 0.1 ms: no more of them, but sooner.

    On a machine with more work than cores an answer would else come milliseconds late. Nice value and policy stay.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is not None and os.sched_getscheduler(0) == os.SCHED_OTHER:
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
        attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def _end_with(descriptor: int, pid: int) -> NoReturn:
    """End this process when the other end of the socket is closed or that process is gone. Wakes for nothing else."""
    waiting = select.poll()
    waiting.register(descriptor, 0)
    try:
        waiting.register(os.pidfd_open(pid), select.POLLIN)  # a fork behind Python's back may keep the socket open
    except ProcessLookupError:
        os._exit(0)
    except (AttributeError, OSError):
        pass  # Linux before 5.3: the socket alone
    waiting.poll()
    os._exit(0)
