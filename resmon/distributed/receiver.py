"""The notebook's end: one thread that takes in what this run's ranks tell, from ranks that hold its key alone."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from resmon.distributed import connection, messages
from resmon.distributed.devices import DeviceTable
from resmon.distributed.gate import Gate
from resmon.distributed.messages import Ack, Bye, DeviceReading, Hello, MessageError, Pace, Refused
from resmon.errors import ListenError
from resmon.monitor import Monitor
from resmon.rankboard import MAX_RANKS, RankBoard
from resmon.ranks import RankSample

log = logging.getLogger("resmon")

INTERVAL_S = 0.25
FULL_RATE_RANKS = 256
"""With more ranks than this each is asked for fewer samples, so that the notebook's share stays what it is."""
MANY_RANKS = 16
"""Of more ranks than this samples are taken in together, up to 10 ms later."""
FORGET_S = 60.0
LATE_S = 60.0
_BURST = 512
_MAX_NOTICES = 20


class _Peer:
    """One connection: who is behind it, and when it was last heard."""

    __slots__ = ("gone", "heard_s", "hello")

    def __init__(self, hello: Hello, heard_s: float) -> None:
        self.hello = hello
        self.heard_s = heard_s
        self.gone = False


class Receiver:
    """Listens for the ranks of a run and puts what they tell on ``board``.

    host: the address to listen on; ``"127.0.0.1"`` is this machine alone. port: 0 takes a free one. advertise: the name
    under which other machines reach ``host``, where that is a wildcard. path: where to write the connection file;
    by default in the user's private runtime directory. renew: asked for a new board when a rank comes and all of the
    board's have ended.

    Made in any thread; ``start`` and ``stop`` are idempotent. In a forked child it is stopped, and the parent's sockets
    and file are left alone.
    """

    def __init__(
        self,
        board: RankBoard,
        monitor: Monitor,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        advertise: str | None = None,
        path: Path | None = None,
        renew: Callable[[], RankBoard] | None = None,
    ) -> None:
        self.board = board
        self.host = host
        self.port = port
        self.advertise = advertise
        self.run_id = os.urandom(4).hex()
        self.notices: tuple[str, ...] = ()
        self.received = 0
        self.refused = 0
        self.cpu_s = 0.0
        self._path = path
        self._renew = renew
        self._devices = DeviceTable(monitor)
        self._boot = monitor.clock.boot
        self._peers: dict[bytes, _Peer] = {}
        self._of_rank: dict[int, bytes] = {}
        self._file: Path | None = None
        self._thread: threading.Thread | None = None
        self._gate: Gate | None = None
        self._prune_s = 0.0
        self._live = False

    # -- any thread ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and write the connection file. ListenError where the address cannot be had or pyzmq is missing."""
        if self._gate is not None:
            return
        gate = Gate(self.host, self.port, self.advertise)
        try:
            self._file = connection.write(gate.connection(self.run_id), self._path)
        except OSError as error:
            gate.close()
            remedy = "remove it, or name another path" if isinstance(error, FileExistsError) else "name another path"
            raise ListenError(
                f"the connection file {error.filename or ''} cannot be written: {error.strerror or error}; {remedy}"
            ) from None
        self.port = gate.port
        self._gate = gate
        self._thread = threading.Thread(target=self._run, args=(gate,), name="resmon-ranks", daemon=True)
        _receivers.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more: the thread, the sockets and the connection file are gone. Idempotent."""
        gate, self._gate = self._gate, None
        thread, self._thread = self._thread, None
        if gate is None:
            return
        gate.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.unlink()

    @property
    def connection_file(self) -> Path:
        """The file whose path the ranks need in ``RESMON_CONNECTION``. ListenError while nothing listens."""
        if self._file is None:
            raise ListenError("nothing listens: start() first")
        return self._file

    def abandon(self) -> None:
        """In a forked child: nothing of this is the child's. The sockets stay as they are, unused and unclosed."""
        if self._gate is not None:
            _left_to_the_parent.append(self._gate)
        self._gate = self._thread = self._file = None

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self, gate: Gate) -> None:
        import time

        try:
            while self._gate is gate:
                gate.wait(rest=len(self._of_rank) > MANY_RANKS)
                self._drain(gate)
                self.cpu_s = time.thread_time()
        except Exception:
            # A defect here must not reach the cell; the ranks train on.
            log.exception("resmon: listening for ranks failed")
            self._note("listening for ranks failed; see the log")
        finally:
            gate.close()

    def _drain(self, gate: Gate) -> None:
        now_s = self.board.clock.now()
        self._set_pace(gate)
        for _ in range(_BURST):
            found = gate.receive()
            if found is None:
                break
            identity, frame = found
            self.received += 1
            try:
                answer = self._take(identity, frame, now_s)
            except MessageError as error:
                self.refused += 1
                who = self._peers.get(identity)
                self._note(f"{_name(who.hello) if who else 'a rank'} sent what is no message: {error}")
                answer = None if who else Refused(reason=str(error)[: messages.MAX_TEXT])
            if answer is not None:
                gate.send(identity, messages.encode(answer))
        if gate.strangers:
            self._note(f"{gate.strangers} connections without a key of this run were turned away")
        if now_s >= self._prune_s:
            self._prune(now_s)

    def _set_pace(self, gate: Gate) -> None:
        """Tell the ranks when somebody begins to look at them, and when nobody does any more."""
        live = self.board.watched
        if live != self._live:
            self._live = live
            for identity, peer in self._peers.items():
                if not peer.gone:
                    gate.send(identity, messages.encode(Pace(live=live)))

    def _take(self, identity: bytes, frame: bytes, now_s: float) -> Ack | Refused | None:
        peer = self._peers.get(identity)
        if messages.kind_of(frame) == messages.SAMPLES:
            if peer is None:
                self.refused += 1
                return Refused()
            peer.heard_s = now_s
            for sample in messages.decode_samples(frame, peer.hello):
                self._sample(peer.hello, sample, now_s)
            return None
        words = messages.decode(frame)
        if isinstance(words, Hello):
            return self._greet(identity, words, now_s)
        if peer is None:
            self.refused += 1
            return Refused()
        peer.heard_s = now_s
        if isinstance(words, DeviceReading):
            self._devices.take(peer.hello.boot, words, now_s)
        elif isinstance(words, Bye):
            peer.gone = True
            if words.outcome:
                self.board.ended(peer.hello.rank, words.outcome)
        else:
            raise MessageError(f"a {type(words).__name__} is not for the notebook")
        return None

    def _sample(self, hello: Hello, sample: RankSample, now_s: float) -> None:
        changes: dict[str, Any] = {"elsewhere": True} if hello.boot != self._boot else {}
        if not now_s - LATE_S <= sample.at_s <= now_s:
            changes["at_s"] = min(max(sample.at_s, now_s - LATE_S), now_s)
        if hello.device_id is not None:
            reading = self._devices.newest(hello.boot, hello.device_id, now_s)
            if reading is not None:
                changes |= {
                    "utilization": reading.utilization,
                    "power_w": reading.power_w,
                    "throttle": reading.throttle,
                }
        self.board.take(replace(sample, **changes) if changes else sample)

    def _greet(self, identity: bytes, hello: Hello, now_s: float) -> Ack | Refused:
        """Take in a rank that says hello, once or again. The newest process that says it is a rank is that rank."""
        known = self._peers.get(identity)
        if known is None or known.hello.pid != hello.pid:
            if self._renew is not None and self.board.all_ended:
                self.board.close()
                self.board = self._renew()
                self._peers.clear()
                self._of_rank.clear()
            self._take_over(identity, hello, now_s)
        board = self.board
        if hello.world_size is not None:
            board.expect(hello.world_size)
        if hello.rank >= (MAX_RANKS if board.grows else board.world_size):
            reason = f"rank {hello.rank} is not among the {board.world_size} that the notebook expects"
            self._note(reason)
            return Refused(reason=reason)
        self._peers[identity] = _Peer(hello, now_s)
        self._of_rank[hello.rank] = identity
        reads = hello.device_id is not None and self._devices.has(hello.boot, hello.device_id)
        interval_s = INTERVAL_S * max(1.0, len(self._of_rank) / FULL_RATE_RANKS)
        return Ack(
            sent_s=hello.sent_s,
            at_s=board.clock.now(),
            boot=self._boot,
            reads=reads,
            interval_s=interval_s,
            live=self._live,
        )

    def _take_over(self, identity: bytes, hello: Hello, now_s: float) -> None:
        before = self._of_rank.get(hello.rank)
        if before is None or before == identity:
            return
        old = self._peers.pop(before, None)
        same = old is None or (old.hello.pid, old.hello.host) == (hello.pid, hello.host)
        if old is not None and not same and not old.gone and now_s - old.heard_s < 2.0:
            self._note(
                f"two processes say that they are rank {hello.rank}: {old.hello.pid} on {old.hello.host} and "
                f"{hello.pid} on {hello.host}; the newer one is shown"
            )
            if self._gate is not None:
                taken = Refused(reason=f"another process is rank {hello.rank} now")
                self._gate.send(before, messages.encode(taken))

    def _prune(self, now_s: float) -> None:
        self._prune_s = now_s + FORGET_S / 2
        for identity, peer in tuple(self._peers.items()):
            if now_s - peer.heard_s > FORGET_S:
                del self._peers[identity]
                if self._of_rank.get(peer.hello.rank) == identity:
                    del self._of_rank[peer.hello.rank]

    def _note(self, notice: str) -> None:
        """One notice of each kind: what differs in digits alone takes the place of the one before."""
        kind = _without_digits(notice)
        kept = [old for old in self.notices if _without_digits(old) != kind]
        self.notices = (*kept, notice)[-_MAX_NOTICES:]


def _without_digits(text: str) -> str:
    return "".join(character for character in text if not character.isdigit())


def _name(hello: Hello) -> str:
    return f"rank {hello.rank} ({hello.host}, pid {hello.pid})"


_receivers: weakref.WeakSet[Receiver] = weakref.WeakSet()
_left_to_the_parent: list[object] = []
"""In a forked child: kept, so that nothing closes them."""


def _after_fork_in_child() -> None:
    for receiver in tuple(_receivers):
        receiver.abandon()


def _stop_all() -> None:
    for receiver in tuple(_receivers):
        receiver.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_stop_all)
