"""The thread of a rank that talks to the notebook."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from resmon.distributed import messages
from resmon.distributed.collectives import instruments
from resmon.distributed.connection import Connection
from resmon.distributed.election import DeviceReader
from resmon.distributed.environment import Place
from resmon.distributed.holding import Holding
from resmon.distributed.messages import Ack, Bye, MessageError, Pace, Refused
from resmon.distributed.probe import Probe
from resmon.distributed.rank_socket import LINGER_MS, connect, event_of, received
from resmon.distributed.stepping import steps

if TYPE_CHECKING:
    import zmq

INTERVAL_S = 0.25
GREET_S = 30.0
"""How often a rank says hello again: the clocks of two machines drift."""
LOOK_S = 1.0
CONNECTING_S = 0.1
UNREACHED_S = 5.0
"""A notebook that has not answered for so long is not there; it is tried on."""
ANSWER_MS = 200


class Reporter:
    """Connects in the background and sends a sample every ``interval_s`` once the notebook has taken the rank in."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self.place = place
        self.interval_s = INTERVAL_S
        self.sent = 0
        self.dropped = 0
        self.admitted = threading.Event()
        self._connection = connection
        self._probe = Probe(place, steps)
        self._reader = DeviceReader()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._greet_s = float("inf")
        self._tried_s = 0.0
        self._refusals = 0
        self._ending = False
        self._outcome = ""
        self._said: set[str] = set()
        self._offset_s = 0.0
        self._holding = Holding()
        self._round_trips: deque[tuple[float, float]] = deque(maxlen=4)
        self._thread = threading.Thread(target=self._run, name="resmon-rank", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        # Here, not in the thread: the first step of a script that has imported torch already is counted.
        instruments.acquire()
        self._watch_track()
        # The steps that are taken while the connection is made are the run's too.
        self._holding.add(self._probe.steps(self._probe.clock.now()), self.interval_s)
        self._thread.start()

    def stop(self, outcome: str) -> None:
        """Send the last sample and say goodbye; waits a second at most."""
        self._outcome = outcome
        self._ending = True
        with suppress(RuntimeError):  # it is open already
            self._gate.release()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)
        self._unwatch_track()

    def after_fork(self) -> None:
        """In a forked child: no thread came along, and the steps that it takes are not the rank's."""
        self._ending = True
        steps.after_fork()

    # -- steps that a progress bar counts --------------------------------------------------------------------------

    def _tracked(self, items: float) -> None:
        steps.ended("track", items)

    def _watch_track(self) -> None:
        from resmon import stepped

        stepped.listeners.append(self._tracked)

    def _unwatch_track(self) -> None:
        from resmon import stepped

        with suppress(ValueError):
            stepped.listeners.remove(self._tracked)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            _await_paths()
            import zmq

            context = zmq.Context()
            try:
                self._report(zmq, context)
            finally:
                context.destroy(linger=LINGER_MS)
        except ImportError:
            self._say("pyzmq is not installed here, so this rank is not shown in the notebook: pip install pyzmq")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the rank trains on
            self._say(f"this rank is no longer shown in the notebook: {type(error).__name__}: {error}")
        finally:
            if not self._ending:  # the counting costs little and hurts nobody, but is of no use any more
                self._unwatch_track()
            self.admitted.clear()
            instruments.release()
            self._probe.close()
            self._reader.close()

    def _report(self, zmq: Any, context: zmq.Context[Any]) -> None:
        socket, events = connect(zmq, context, self._connection)
        poller = zmq.Poller()
        for source in (socket, events):
            poller.register(source, zmq.POLLIN)
        now = self._probe.clock.now
        self._probe.open()
        self._tried_s = now()
        look_s = due_s = float("-inf")
        while not self._ending:
            if not instruments.installed:
                instruments.install()
            if not self.admitted.is_set():
                poller.poll(1000 * CONNECTING_S)
            # Once it is connected little is said: looking for it costs more than a sample, and may wait a second.
            if now() >= look_s or not self.admitted.is_set():
                look_s = now() + LOOK_S
                if not self._look(zmq, socket, events, poller):
                    return
            if not self.admitted.is_set():
                self._complain(now())
                continue
            if now() >= due_s:
                self._tick(zmq, socket)
                due_s = max(due_s + self.interval_s, now())
            self._gate.acquire(timeout=max(0.0, due_s - now()))
        if self.admitted.is_set():
            self._tick(zmq, socket)
            self._flush(zmq, socket)
            self._send(zmq, socket, messages.encode(Bye(outcome=_printable(self._outcome))))

    def _complain(self, now_s: float) -> None:
        if now_s - self._tried_s > UNREACHED_S:
            where = ", ".join(self._connection.endpoints)
            self._say(f"the notebook cannot be reached at {where}; training goes on, and it is tried again")

    def _look(self, zmq: Any, socket: zmq.Socket[bytes], events: zmq.Socket[bytes], poller: zmq.Poller) -> bool:
        """See which GPU it is, what became of the connection, what the notebook says; False where it is not wanted."""
        now = self._probe.clock.now
        if (self.admitted.is_set() or now() >= self._greet_s) and self._probe.look():
            self._greet_s = now()
        while ready := [source for source, _ in poller.poll(0)]:  # nearly always empty: one call for both
            if events in ready and not self._happened(zmq, event_of(events.recv_multipart()[0])):
                return False
            if socket in ready and not self._heard(zmq, socket):
                return False
        at_s = now()
        if at_s >= self._greet_s:
            self._send(zmq, socket, messages.encode(self._probe.hello(at_s)))
            self._greet_s = at_s + UNREACHED_S
            if self.admitted.is_set():  # the clocks are compared: the answer must not lie about meanwhile
                socket.poll(ANSWER_MS)
                return self._heard(zmq, socket)
        return True

    def _heard(self, zmq: Any, socket: zmq.Socket[bytes]) -> bool:
        """Take in what the notebook said; False where it does not want this rank."""
        while (frame := received(zmq, socket)) is not None:
            if not self._answered(frame):
                return False
        return True

    def _happened(self, zmq: Any, event: int) -> bool:
        """Something happened to the connection; False where there is no point in going on."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._greet_s = self._probe.clock.now()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._say("the notebook did not admit this rank: its key is not one of this run; training goes on")
            return False
        elif event == zmq.EVENT_DISCONNECTED:
            self.admitted.clear()
            self._greet_s = float("inf")
            self._tried_s = self._probe.clock.now()
        else:
            self._refusals += 1
            if self._refusals == 3:
                self._say(
                    "the notebook's end does not understand this rank: the keys in the connection file are of "
                    "another run, or something else listens there; training goes on"
                )
        return True

    def _answered(self, frame: bytes) -> bool:
        """The notebook said something; False where it does not want this rank."""
        answer = self._hear(frame)
        if isinstance(answer, Ack):
            self.admitted.set()
            self._holding.live = answer.live
            self._greet_s = self._probe.clock.now() + GREET_S
        elif answer is not None and answer.reason:
            self._say(f"the notebook does not take this rank in: {answer.reason}; training goes on")
            return False
        elif answer is not None:
            self._greet_s = self._probe.clock.now()
        return True

    def _hear(self, frame: bytes) -> Ack | Refused | None:
        try:
            words = messages.decode(frame)
        except MessageError:
            return None
        if isinstance(words, Pace):
            self._holding.live = words.live
        if isinstance(words, Refused):
            return words
        if not isinstance(words, Ack):
            return None
        self.interval_s = words.interval_s
        self._reader.wanted = not words.reads
        back_s = self._probe.clock.now()
        if words.boot == self._probe.clock.boot:
            self._offset_s = 0.0
        else:
            # Cristian's algorithm: the answer was given half-way; the shortest of the last round trips tells best.
            self._round_trips.append((back_s - words.sent_s, words.at_s - (words.sent_s + back_s) / 2))
            self._offset_s = min(self._round_trips)[1]
        return words

    def _tick(self, zmq: Any, socket: zmq.Socket[bytes]) -> None:
        probe = self._probe
        at_s = probe.clock.now()
        if self._holding.add(probe.read(at_s), self.interval_s):
            self._flush(zmq, socket)
        if probe.uuid:
            reading = self._reader.read(probe.uuid, at_s)
            if reading is not None:
                self._send(zmq, socket, messages.encode(reading))

    def _flush(self, zmq: Any, socket: zmq.Socket[bytes]) -> None:
        frame = self._holding.take(self._offset_s)
        if frame:
            self._send(zmq, socket, frame)

    def _send(self, zmq: Any, socket: zmq.Socket[bytes], frame: bytes) -> None:
        try:
            socket.send(frame, zmq.NOBLOCK)
            self.sent += 1
        except zmq.Again:  # the notebook does not keep up, or has gone: an old sample is worth nothing
            self.dropped += 1

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text, f"resmon (rank {self.place.rank})")


def say(text: str, who: str = "resmon") -> None:
    """A line on stderr, where there is one."""
    with suppress(Exception):  # a closed stderr is no reason to harm the rank
        sys.stderr.write(f"{who}: {text}\n")
        sys.stderr.flush()


def _await_paths() -> None:
    """Wait until Python has all its paths: a rank may join from a ``.pth`` file, which comes before others."""
    spec = getattr(sys.modules.get("site"), "__spec__", None)
    while getattr(spec, "_initializing", False):
        time.sleep(0.005)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
