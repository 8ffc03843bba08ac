"""The GPUs, read in a helper process of our own: what ``default_sensors`` gives on Linux.

Every call into the driver gives up the interpreter lock, and beside busy Python code each then queues up to 5 ms for
it; eight GPUs are some thirty calls. The helper has no such neighbour. The sampler asks it, reads what else there is
to read, and takes the answer; a driver that hangs holds the helper, and nobody else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resmon.energy.edges import CounterRead
from resmon.facts import Channel, Device, EnergySource, SensorStatus
from resmon.sensors.base import NAN
from resmon.sensors.nvml import NvmlSensor
from resmon.sensors.nvml_errors import LIBRARY_NOT_FOUND, explain
from resmon.sensors.nvml_status import read_where, unanswered, unseen
from resmon.sensors.nvml_view import FROM_ENVIRONMENT, OwnView, facts_of
from resmon.sensors.nvml_wire import (
    ANSWER,
    FAILED,
    PIECE,
    READS,
    SAID,
    Answer,
    Said,
    pack_ask,
    pack_facts,
    pack_watch,
    unpack_answer,
    unpack_reads,
    unpack_said,
)

if TYPE_CHECKING:  # imported where there is a driver
    from resmon.sensors.nvml_link import Link

WAIT_S: Final = 0.05
"""How long a tick waits for the answer, where the driver does not usually take longer."""
LONGEST_WAIT_S: Final = 0.2
UNANSWERED_S: Final = 0.25
"""A question that is open for so long is said to be unanswered."""
DISCOVER_S: Final = 5.0
"""How long the first look is waited for; afterwards the sampler looks from time to time."""


class RemoteNvmlSensor:
    """An :class:`~resmon.sensors.nvml.NvmlSensor` in a helper process; the arguments are the same.

    ``read`` waits for the helper at most 50 ms (four times the driver's usual time, and 0.2 s, where that is longer).
    Without an answer every value is NaN; one that comes late is left out. A helper that ends is started again after
    ``retry_s``. Where no helper can be started the GPUs are read in this process, and ``status`` says so.
    """

    name = "nvml"

    def __init__(
        self,
        visible: str | None = FROM_ENVIRONMENT,
        own_pids: Callable[[], Collection[int]] | None = None,
        retry_s: float = 10.0,
    ) -> None:
        self._local = NvmlSensor(visible, own_pids, retry_s)
        self._is_local = False
        self._why_local = ""
        self._generation = 0
        self._view = OwnView(visible, own_pids)
        self._link: Link | None = None
        self._starting: threading.Thread | None = None
        self._started: Link | None = None
        self._owner = 0  # pid of the process that discovered; a forked child has nothing here
        self._failure = SensorStatus(name=self.name, state="looking")
        self._said = Said(shape=-1)
        self._pieces = b""
        self._told: object = None
        self._number = 0
        self._expected = 0  # the number of the answer that a tick still waits for
        self._asked_at_s = NAN
        self._looking_since_s: float | None = None  # the helper has not said yet what there is
        self._open_since_s: float | None = None  # the last question is not answered
        self._answer: Answer | None = None
        self._error = ""
        self._usual_s = 0.0
        self._reads: list[tuple[str, CounterRead]] = []
        self._retry_at_s: float | None = None
        self._cpu_before_s = self._cpu_s = 0.0

    # -- the protocol ---------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        return self._generation + self._local.generation

    @property
    def devices(self) -> tuple[Device, ...]:
        return self._local.devices if self._is_local else self._said.devices

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self._local.channels if self._is_local else self._said.channels

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        return self._local.sources if self._is_local else self._said.sources

    @property
    def status(self) -> Sequence[SensorStatus]:
        if self._is_local:
            where = f"read in this process, where busy Python code delays it: {self._why_local}"
            return read_where(self._local.status, where)
        link, said, looking_s, open_s = self._link, self._said, self._looking_since_s, self._open_since_s
        if link is None or link.ended:
            return (self._failure,)
        since_s, patience_s = (open_s, UNANSWERED_S) if looking_s is None else (looking_s, DISCOVER_S)
        if since_s is not None and (for_s := time.monotonic() - since_s) > patience_s:
            return (unanswered(for_s),)
        return (self._failure,) if looking_s is not None else read_where(said.status, f"read in process {link.pid}")

    @property
    def not_covered(self) -> Sequence[str]:
        if self._is_local or self._said.devices or self.status[0].state != "lost":
            return self._local.not_covered if self._is_local else self._said.not_covered
        return unseen(self._view.environment()[0], 0, {}, unheard=True)

    @property
    def driver_version(self) -> str:
        """As the driver tells it; empty while there is none."""
        return self._local.driver_version if self._is_local else self._said.driver_version

    @property
    def own_memory_known(self) -> Mapping[str, bool]:
        """By device id, whether ``memory_own_bytes`` can be known: a container may hide the pids."""
        return self._local.own_memory_known if self._is_local else self._said.own_memory_known

    @property
    def apart(self) -> bool:
        """Whether the counters are polled without this interpreter."""
        return not self._is_local

    @property
    def pid(self) -> int:
        """Of the helper process; 0 where there is none."""
        link = self._link
        return 0 if link is None or link.ended else link.pid

    @property
    def cpu_s(self) -> float:
        """CPU time of all helpers so far, as they told it with their last answers."""
        return self._cpu_before_s + self._cpu_s

    def discover(self) -> None:
        from resmon.sensors import nvml_link

        self._owner = os.getpid()
        self._is_local = False
        if why := nvml_link.why_not_here():
            self._read_here(why)
        elif not nvml_link.driver_library_loads():
            cause, remedy = explain(LIBRARY_NOT_FOUND, "")
            self._failure = SensorStatus(name=self.name, state="absent", cause=cause, remedy=remedy)
        else:
            self._failure = SensorStatus(name=self.name, state="looking")
            try:
                self._take_on(nvml_link.Link.start({"retry_s": self._local.retry_s}))
            except nvml_link.NoHelperError as error:
                self._read_here(str(error))
            else:
                self._await_shape()
            if not self._owner:
                self.close()  # it was closed meanwhile

    def ask(self, at_s: float) -> None:
        """Send the question of this tick; its answer is what ``read`` takes. Never waits, keeps the interpreter lock.

        What the helper said meanwhile is taken in here: a new shape begins with this tick.
        """
        if self._is_local or not self._present(at_s):
            return
        self._asked_at_s = at_s
        self._receive()
        self._answer, self._error, self._expected = None, "", 0  # what comes late is no reading of this tick
        self._tell()
        link = self._link
        if link is None or self._looking_since_s is not None or self._open_since_s is not None:
            return
        since_s = time.monotonic()
        if link.send(pack_ask(self._number + 1, at_s), WAIT_S):
            self._number = self._expected = self._number + 1
            self._open_since_s = since_s

    def read(self, at_s: float) -> Sequence[float]:
        if self._is_local:
            return self._local.read(at_s)
        if self._asked_at_s != at_s:
            self.ask(at_s)
        width, generation = len(self.channels), self.generation
        self._await_answer()
        answer, error = self._answer, self._error
        self._answer, self._error, self._asked_at_s, self._expected = None, "", NAN, 0
        if error:
            raise RuntimeError(error)
        if answer is None or self.generation != generation or len(answer.values) != width:
            return [NAN] * width
        # A replay knows the time of the tick alone: what was polled after it and before the answer is left out.
        self._reads = [(source_id, read) for source_id, read in self._reads if read.after_s < at_s]
        return answer.values

    def watch(self, wanted: Collection[str], for_s: float, gap_s: float) -> None:
        """Have the counters of these sources polled from now on for so long, with so much rest between two polls.

        None: no more. Any thread, never waits.
        """
        link = self._link
        if link is not None and not link.ended and self._owner == os.getpid():
            link.send(pack_watch(wanted, for_s, gap_s))

    def poll_counters(self, wanted: Collection[str]) -> list[tuple[str, CounterRead]]:
        """What was polled since the last call, in order of time; none wanted: what was received by now alone."""
        if self._is_local:
            return self._local.poll_counters(wanted)
        if wanted:
            self._receive()
        reads, self._reads = self._reads, []
        return reads

    def close(self) -> None:
        self._owner = 0
        self._local.close()
        for link in (self._link, self._started):
            if link is not None:
                link.close()
        self._link = self._started = None
        self._failure = SensorStatus(name=self.name, state="unavailable", cause="closed")

    # -- the helper's life ----------------------------------------------------------------------------------------

    def _read_here(self, why: str) -> None:
        self._why_local = why
        self._local.discover()
        self._is_local = True

    def _take_on(self, link: Link) -> None:
        self._link, self._retry_at_s = link, None
        self._pieces, self._told, self._answer, self._open_since_s = b"", None, None, None
        self._cpu_before_s, self._cpu_s = self.cpu_s, 0.0
        self._looking_since_s = time.monotonic()
        self._tell()

    def _await_shape(self) -> None:
        """Wait for the first look; what takes longer (a driver that hangs) is seen by the sampler later."""
        until_s = time.monotonic() + DISCOVER_S
        link = self._link
        while link is not None and self._looking_since_s and not link.ended and time.monotonic() < until_s:
            link.wait(0.25)
            self._receive()

    def _present(self, at_s: float) -> bool:
        """Whether there is a helper to ask. One that ended is started again in time, in the background."""
        if self._owner != os.getpid():
            return False
        if self._started is not None:
            self._take_on(self._started)
            self._started = None
        link = self._link
        if link is None:
            return False
        if not link.ended:
            return True
        if self._retry_at_s is None:
            self._retry_at_s = at_s + self._local.retry_s
        elif at_s >= self._retry_at_s and (self._starting is None or not self._starting.is_alive()):
            self._retry_at_s = at_s + self._local.retry_s
            self._starting = threading.Thread(target=self._start_again, name="resmon-nvml", daemon=True)
            self._starting.start()
        return False

    def _start_again(self) -> None:
        from resmon.sensors.nvml_link import Link, NoHelperError

        owner = self._owner
        try:
            link = Link.start({"retry_s": self._local.retry_s})
        except NoHelperError as error:
            self._failure = replace(self._failure, cause=str(error))
            return
        self._started = link
        if self._owner != owner:  # closed meanwhile
            link.close()

    # -- what is said ---------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Tell the helper what this process sees of the GPUs, where that changed."""
        link = self._link
        facts = facts_of(self._view, self._said.unsure_of if self._told is not None else ())
        if link is not None and facts != self._told and link.send(pack_facts(facts), WAIT_S):
            self._told = facts

    def _await_answer(self) -> None:
        """Take what has come, and wait for the answer to the question of this tick; an older one is not waited for."""
        link, since_s = self._link, self._open_since_s
        self._receive()
        if link is None or since_s is None:
            return
        until_s = since_s + min(LONGEST_WAIT_S, max(WAIT_S, 4 * self._usual_s))
        while self._open_since_s is not None and not link.ended and (left_s := until_s - time.monotonic()) > 0:
            link.wait(left_s)
            self._receive()

    def _receive(self) -> None:
        """Take what has come, up to an answer: what follows one is newer than it."""
        link = self._link
        while link is not None and self._answer is None and (packet := link.receive()) is not None:
            kind = packet[:1]
            if kind == READS:
                self._reads += unpack_reads(packet, self._said.sources)
            elif kind == ANSWER:
                self._take_answer(unpack_answer(packet))
            elif kind == FAILED:
                self._open_since_s, self._error = None, packet[1:].decode()
            elif kind == PIECE:
                self._pieces += packet[1:]
            elif kind == SAID:
                text, self._pieces = self._pieces + packet[1:], b""
                self._take_in(unpack_said(text))
        if link is not None and link.ended and self._failure.state != "lost":
            again = f"it is started again every {self._local.retry_s:g} s"
            cause = f"process {link.pid}, which reads the GPUs, ended unexpectedly"
            self._failure = SensorStatus(name=self.name, state="lost", cause=cause, remedy=again)
            self._open_since_s = self._looking_since_s = None

    def _take_answer(self, answer: Answer) -> None:
        self._open_since_s = None
        self._cpu_s = answer.cpu_s
        # A driver that once took long is waited for a while, and forgotten slowly.
        self._usual_s = max(answer.took_s, 0.9 * self._usual_s)
        if answer.number == self._expected and answer.shape == self._said.shape:
            self._answer = answer

    def _take_in(self, said: Said) -> None:
        before, self._said = self._said, said
        self._failure = SensorStatus(name=self.name, state="looking")
        self._looking_since_s = None
        if (said.devices, said.channels, said.sources) != (before.devices, before.channels, before.sources):
            self._generation += 1
