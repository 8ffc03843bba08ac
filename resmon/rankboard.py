"""What the ranks of one run tell, gathered: the newest of each, who holds the others up, what each did over a span."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from dataclasses import replace

from resmon.clock import Clock
from resmon.rankhistory import Ends, RankHistory
from resmon.ranks import RankRow, RankSample, RankState, RankUse, Straggler
from resmon.sensors import throttle

STEPS = 20
"""What a rank does now is the mean over so many of its steps."""
WATCHED_S = 3.0
"""Somebody looks at the ranks as long as he asks for them so often: a live view does, four times a second or once."""
LOST_S = 5.0
"""A rank that was silent for so long is lost."""
STRAGGLES = 1.2
STRAGGLES_S = 5.0
STARVED = 0.15
"""The fraction of the time without a free core, or without memory, that explains why a rank is slow."""
MAX_RANKS = 4_096
"""A board that grows takes in so many ranks at most."""


class _Rank:
    """One rank: what it told, and how it ended."""

    __slots__ = ("device", "ended_s", "history", "host", "outcome", "pid", "state")

    def __init__(self) -> None:
        self.host = self.device = self.outcome = ""
        self.pid: int | None = None
        self.ended_s: float | None = None
        self.state: RankState = "expected"
        self.history = RankHistory()


class RankBoard:
    """The ranks of one run. Samples come from any thread, and everything may be asked by any.

    ``world_size`` ranks are expected; one that is not known (None) grows with the ranks that are heard. ``clock`` is
    the clock that ``RankSample.at_s`` is on. ``revision`` grows when a rank joins or ends.
    """

    def __init__(self, world_size: int | None, clock: Clock, title: str = "", items_unit: str = "items") -> None:
        self.world_size = world_size or 0
        self.grows = world_size is None
        self.clock = clock
        self.title = title
        self.items_unit = items_unit
        self.started_s = clock.now()
        self.ended_s: float | None = None
        self.revision = 0
        self._asked_s = float("-inf")
        self._lock = threading.Lock()
        self._ranks = [_Rank() for _ in range(self.world_size)]
        self._slow_since: dict[int, float] = {}

    def expect(self, world_size: int) -> None:
        """A rank says how many there are: a board that grows makes room for them."""
        with self._lock:
            if self.grows and self.world_size < world_size <= MAX_RANKS:
                self._ranks += [_Rank() for _ in range(world_size - self.world_size)]
                self.world_size = world_size
                self.revision += 1

    def take(self, sample: RankSample) -> None:
        """A sample arrived. One of a rank beyond ``world_size`` is left out, unless the board grows.

        A rank that had ended and tells again under another pid was started again.
        """
        if sample.rank >= self.world_size:
            self.expect(sample.rank + 1)
        if not 0 <= sample.rank < self.world_size:
            return
        with self._lock:
            rank = self._ranks[sample.rank]
            restarted = bool(rank.outcome) and rank.pid != sample.pid
            if rank.state == "expected" or restarted or (rank.host, rank.device) != (sample.host, sample.device):
                self.revision += 1
            if rank.state == "expected" or restarted:
                rank.state, rank.outcome, rank.ended_s = "running", "", None
            rank.host, rank.device, rank.pid = sample.host, sample.device, sample.pid
            rank.history.append(sample)

    def ended(self, rank: int, outcome: str, host: str = "") -> None:
        """A rank ended: ``"done"``, or what ended it. The first word counts. IndexError for one that is not there.

        host: where it ran, for one of whom no sample said so.
        """
        with self._lock:
            ended = self._ranks[rank]
            if ended.outcome:
                return
            ended.outcome, ended.ended_s = outcome, self.clock.now()
            ended.host = ended.host or host
            ended.state = "done" if outcome == "done" else "failed"
            self.revision += 1

    @property
    def all_ended(self) -> bool:
        """Whether every rank there is has ended or is lost; False while none was heard of."""
        now_s = self.clock.now()
        with self._lock:
            states = [_state(rank, now_s) for rank in self._ranks]
        return bool(states) and all(state in ("done", "failed", "lost") for state in states)

    def close(self) -> None:
        """The run is over. Idempotent."""
        if self.ended_s is None:
            self.ended_s = self.clock.now()
            self.revision += 1

    @property
    def watched(self) -> bool:
        """Whether somebody looks: asked for ``rows`` in the last seconds."""
        return self.clock.now() - self._asked_s < WATCHED_S

    def rows(self) -> tuple[RankRow, ...]:
        """What every rank does now, in the order of ranks; of one that nobody looked at before, up to a second ago."""
        now_s = self._asked_s = self.clock.now()
        with self._lock:
            spans = [rank.history.recent(STEPS) for rank in self._ranks]
            states = [_state(rank, now_s) for rank in self._ranks]
            # What a rank took that is no longer running says nothing about what communication takes now.
            least = _least_collective_s(
                [(r.history, s) for r, s, state in zip(self._ranks, spans, states, strict=True) if state == "running"]
            )
            return tuple(_row(i, rank, states[i], spans[i], least, now_s) for i, rank in enumerate(self._ranks))

    def straggler(self, rows: Sequence[RankRow] | None = None) -> Straggler | None:
        """The rank that has computed 1.2 times the median or more, for at least 5 s; the slowest of several."""
        rows = self.rows() if rows is None else rows
        known = [row.compute_s for row in rows if row.compute_s is not None and row.state == "running"]
        now_s = self.clock.now()
        if len(known) < 2 or not (median := statistics.median_low(known)) > 0:
            self._slow_since.clear()
            return None
        found: Straggler | None = None
        for row in rows:
            slow = row.state == "running" and row.compute_s is not None and row.compute_s >= STRAGGLES * median
            if not slow or row.compute_s is None:
                self._slow_since.pop(row.rank, None)
                continue
            since_s = self._slow_since.setdefault(row.rank, now_s)
            if now_s - since_s >= STRAGGLES_S and (found is None or row.compute_s > found.compute_s):
                found = Straggler(rank=row.rank, compute_s=row.compute_s, median_compute_s=median, since_s=since_s)
        return None if found is None else replace(found, cause=self._cause(found.rank))

    def _cause(self, number: int) -> str:
        """What a sensor saw that explains why a rank is slow; empty where none did."""
        with self._lock:
            history = self._ranks[number].history
            newest = history.newest
            # Over as long as it takes to be a straggler: ranks read what they wait for once a second.
            span = None if newest is None else history.between(newest.at_s - STRAGGLES_S, newest.at_s)
            starved, short = history.rate(span, "cpu_wait_s"), history.rate(span, "memory_wait_s")
            retries = history.grown(span, "allocator_retries")
        held_back = () if newest is None else throttle.reasons(newest.throttle)
        causes = [f"its GPU is held back: {', '.join(held_back)}"] if held_back else []
        if starved is not None and starved >= STARVED:
            causes.append(f"it waits for a free core {100 * min(starved, 1.0):.0f} % of the time")
        if short is not None and short >= STARVED:
            causes.append(
                f"memory is short where it runs: processes wait for it {100 * min(short, 1.0):.0f} % of the time"
            )
        if retries:
            causes.append("the memory of its GPU is full: torch gives back what it kept, and asks the driver again")
        return "; ".join(causes)

    def uses(self, start_s: float, end_s: float) -> tuple[RankUse, ...]:
        """What every rank did between two instants of ``clock``, in the order of ranks.

        Empty where none was heard in that time, and none ended.
        """
        with self._lock:
            spans = [rank.history.between(start_s, end_s) for rank in self._ranks]
            samples = [rank.history.samples(start_s, end_s) for rank in self._ranks]
            ended = any(r.ended_s is not None and start_s <= r.ended_s <= end_s for r in self._ranks)
            if not ended and not any(samples):
                return ()
            least = _least_collective_s([(r.history, s) for r, s in zip(self._ranks, spans, strict=True)])
            return tuple(_use(i, rank, spans[i], samples[i], least) for i, rank in enumerate(self._ranks))


def _state(rank: _Rank, now_s: float) -> RankState:
    newest = rank.history.newest
    silent = rank.state == "running" and newest is not None and now_s - newest.at_s > LOST_S
    return "lost" if silent else rank.state


def _least_collective_s(spans: Sequence[tuple[RankHistory, Ends]]) -> float | None:
    """What communication itself takes of a step: the rank that came last to it did not wait."""
    known = [v for history, span in spans if (v := history.per_step(span, "collective_s")) is not None]
    return min(known) if known else None


def _shares(history: RankHistory, ends: Ends, least_s: float | None) -> tuple[float, float, float] | None:
    """Seconds of one step: compute, communication, wait."""
    step_s, collective_s = history.per_step(ends, "stepping_s"), history.per_step(ends, "collective_s")
    if step_s is None or collective_s is None or least_s is None:
        return None
    collective_s = min(collective_s, step_s)
    communication_s = min(least_s, collective_s)
    return step_s - collective_s, communication_s, collective_s - communication_s


def _row(i: int, rank: _Rank, state: RankState, span: Ends, least_s: float | None, now_s: float) -> RankRow:
    history, newest = rank.history, rank.history.newest
    if newest is None:
        return RankRow(rank=i, host=rank.host, device=rank.device, state=state, outcome=rank.outcome)
    told = RankRow(
        rank=i,
        host=rank.host,
        device=rank.device,
        device_id=newest.device_id,
        state=state,
        outcome=rank.outcome,
        age_s=now_s - newest.at_s,
        steps=newest.steps,
    )
    if state != "running":
        return told
    shares = _shares(history, span, least_s) or (None, None, None)
    return replace(
        told,
        steps_per_s=history.rate(span, "steps"),
        items_per_s=history.rate(span, "items"),
        utilization=newest.utilization if newest.device_id is not None else history.rate(span, "cpu_time_s"),
        memory_bytes=newest.memory_bytes,
        allocator_allocated_bytes=newest.allocator_allocated_bytes,
        allocator_reserved_bytes=newest.allocator_reserved_bytes,
        power_w=newest.power_w,
        step_s=history.per_step(span, "stepping_s"),
        compute_s=shares[0],
        communication_s=shares[1],
        wait_s=shares[2],
    )


def _use(i: int, rank: _Rank, span: Ends, samples: int, least_s: float | None) -> RankUse:
    history = rank.history
    steps = history.grown(span, "steps")
    shares = _shares(history, span, least_s)
    whole_s = sum(shares) if shares is not None else 0.0
    fractions = tuple(part / whole_s for part in shares) if shares is not None and whole_s > 0 else (None, None, None)
    on_gpu = history.newest is not None and history.newest.device_id is not None
    return RankUse(
        rank=i,
        host=rank.host,
        device=rank.device,
        outcome=rank.outcome,
        steps=None if steps is None else round(steps),
        items=history.grown(span, "items"),
        steps_per_s=history.rate(span, "steps"),
        items_per_s=history.rate(span, "items"),
        utilization_mean=history.mean(span, "utilization") if on_gpu else history.rate(span, "cpu_time_s"),
        memory_peak_bytes=history.peak(span, "memory_bytes"),
        allocator_peak_bytes=history.peak(span, "allocator_peak_bytes"),
        allocator_reserved_peak_bytes=history.peak(span, "allocator_reserved_bytes"),
        power_mean_w=history.mean(span, "power_w"),
        cpu_time_s=history.grown(span, "cpu_time_s"),
        compute_fraction=fractions[0],
        communication_fraction=fractions[1],
        wait_fraction=fractions[2],
        samples=samples,
        elsewhere=history.newest is not None and history.newest.elsewhere,
    )
