"""Energy at any instant from a counter that moves only every period, with how far it may be off."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from resmon.energy.edges import NAN, Calibration, CounterRead, Edge, Placed, Power, place
from resmon.energy.learning import Learner
from resmon.energy.load import Load, Moments
from resmon.energy.mark import Mark
from resmon.energy.meter import leap_j
from resmon.energy.step import Step
from resmon.energy.steps import course

STUCK_PERIODS = 10.0
"""A counter that kept its value for this many periods while power was drawn is stuck."""
LATE_FRACTION = 0.5
"""When it moves on by at least this much of what power says, it was only late, and nothing is lost."""
FAST_S = 0.005
"""A counter that moves at least this often is as good as continuous."""
APART_S = 1e-6
"""Two edges are never at one instant, so that the total at each has one value."""
RESOLUTION_J = 0.001
POWERS_KEPT = 256
"""Powers kept between two edges."""


class CounterTrack:
    """Takes every read of one counter, in order of time, and answers for the total at an instant.

    The total is one function of time: what it says of an instant does not depend on who asks, so the parts of any
    partition sum to the whole. What was said of an instant stays: an edge that was used is not moved again, and the
    total at an instant beyond the last edge is held to by what comes later. It never decreases.

    Not thread-safe: reads and marks come from one thread, or under one lock. Memory is bounded: ``memory`` edges are
    kept; an instant before them cannot be marked any more. A window takes its mark when its edge is settled.
    """

    def __init__(
        self,
        calibration: Calibration | None = None,
        *,
        power_limit_w: float | None = None,
        resolution_j: float = RESOLUTION_J,
        max_gap_s: float = 3.0,
        memory: int = 1024,
        ahead_j: float = 0.0,
    ) -> None:
        if memory < 4:
            raise ValueError(f"memory must be at least 4 edges, not {memory!r}")
        self.power_limit_w = power_limit_w
        self.resolution_j = resolution_j
        self.resets = 0
        self.stuck = False
        self._learner = Learner(calibration or Calibration())
        self._edges: deque[Edge] = deque()
        self._memory = memory
        self._dropped = 0
        self._placed: dict[int, Placed] = {}
        self._steps: dict[int, Step] = {}
        self._powers: list[Power] = []
        self._last: CounterRead | None = None
        self._ahead_j = ahead_j
        self._load = Load(memory, max_gap_s)

    @property
    def calibration(self) -> Calibration:
        """What is known of the board by now."""
        return self._learner.calibration

    @property
    def ahead_j(self) -> float:
        """Joules that were given out before the counter counted them; a track that goes on from this one needs them."""
        return self._ahead_j

    @property
    def last_read(self) -> CounterRead | None:
        """The last read that did not fail."""
        return self._last

    def load_at(self, at_s: float) -> Moments:
        """The running moments of the power at an instant."""
        return self._load.at(at_s)

    @property
    def latest(self) -> Edge | None:
        """The last edge, with the running totals of joules, of seconds not counted and of what stands for them."""
        return self._edges[-1] if self._edges else None

    # -- reading ------------------------------------------------------------------------------------------------

    def add(self, read: CounterRead) -> bool:
        """Take one read; True when the counter had moved.

        A failed one (NaN) tells nothing and is no gap: what the counter gained meanwhile is in its next value.
        Raises ValueError for a read older than the last.
        """
        last = self._last
        if last is not None and read.at_s < last.at_s:
            raise ValueError(f"reads come in order of time: {read.at_s!r} s is before {last.at_s!r} s")
        self._load.add(read.at_s, read.power_w)
        moved = False
        if read.energy_j == read.energy_j:
            self._last = read
            moved = last is None or read.energy_j != last.energy_j
            if last is None:
                first_s = read.before_s - self.calibration.period_p99_s
                self._append(Edge(0.0, first_s, read.after_s, origin_j=read.energy_j))
            elif read.energy_j > last.energy_j and not self._leapt(last, read):
                self._advance(last, read)
            elif read.energy_j != last.energy_j:
                self.resets += 1
                self._append(self._bridge(read))
            else:
                self._watch(read)
        if read.power_w == read.power_w and len(self._powers) < POWERS_KEPT:
            self._powers.append(Power(read.at_s, read.power_w))
        return moved

    def _leapt(self, last: CounterRead, read: CounterRead) -> bool:
        """Whether no board can have drawn what the counter gained since its last edge."""
        most_j = leap_j(self.power_limit_w, read.after_s - self._edges[-1].from_s + self.calibration.period_p99_s)
        return read.energy_j - last.energy_j > most_j

    def _append(self, edge: Edge) -> None:
        if len(self._edges) == self._memory:
            self._edges.popleft()
            self._placed.pop(self._dropped, None)
            self._steps.pop(self._dropped, None)
            self._dropped += 1
        self._edges.append(edge)
        self._powers = []

    def _advance(self, last: CounterRead, read: CounterRead) -> None:
        before = self._edges[-1]
        stuck, self.stuck = self.stuck, False
        gained_j = read.energy_j - last.energy_j
        if stuck and gained_j < LATE_FRACTION * self._load.drawn_j(before.to_s, read.at_s):
            self._append(self._bridge(read))
            return
        # What was given out in advance is not given out again.
        step_j = max(gained_j - self._ahead_j, self.resolution_j if self._ahead_j else 0.0)
        self._ahead_j = 0.0
        from_s = max(last.before_s, read.before_s - self.calibration.period_p99_s, before.to_s)
        edge = before._replace(
            total_j=before.total_j + step_j,
            from_s=min(from_s, read.after_s),
            to_s=max(from_s, read.after_s),
            powers=tuple(self._powers),
            power_w=read.power_w,
            broken=False,
            origin_j=read.energy_j - before.total_j - step_j,
        )
        self._learner.take(before, edge)
        self._append(edge)

    def _bridge(self, read: CounterRead) -> Edge:
        """The edge that ends a stretch which the counter did not count: instantaneous power stands in."""
        self.stuck = False
        self._ahead_j = 0.0
        before, edge = self._edges[-1], self._reckoned(read.at_s)
        seconds_s = read.at_s - self._place(len(self._edges) - 1, final=True).at_s
        joules = edge.total_j - before.total_j
        origin_j = read.energy_j - edge.total_j
        return edge._replace(gap_s=before.gap_s + seconds_s, gap_j=before.gap_j + joules, origin_j=origin_j)

    def _reckoned(self, at_s: float, *, final: bool = True) -> Edge:
        """Where the counter would be at an instant after the last edge, by power."""
        before, since_s = self._edges[-1], self._place(len(self._edges) - 1, final=final).at_s
        drawn_j = self._load.drawn_j(since_s, at_s)
        joules = drawn_j if drawn_j == drawn_j else self._power_w() * (at_s - since_s)
        return before._replace(
            total_j=before.total_j + max(joules, 0.0),
            from_s=at_s,
            to_s=max(at_s, before.to_s),
            powers=tuple(self._powers),
            power_w=NAN,
            broken=True,
        )

    def _power_w(self) -> float:
        """The best guess of the power now: as read, as the counter moved of late, or half of the limit."""
        power_w = self._load.power_near(math.inf)
        if power_w == power_w:
            return power_w
        first, last = self._edges[0], self._edges[-1]
        if last.to_s > first.to_s and last.total_j > first.total_j:
            return (last.total_j - first.total_j) / (last.to_s - first.to_s)
        return (self.power_limit_w or 0.0) / 2

    def _watch(self, read: CounterRead) -> None:
        """Whether a counter that keeps its value is stuck."""
        quiet_s = read.at_s - self._edges[-1].to_s
        if quiet_s > STUCK_PERIODS * self.calibration.period_p99_s:
            drawn_j = self._load.drawn_j(self._edges[-1].to_s, read.at_s)
            self.stuck = not drawn_j <= 10 * self.resolution_j

    # -- asking -------------------------------------------------------------------------------------------------

    def settled(self, at_s: float) -> bool:
        """Whether the total at an instant is as well known as it will be: a later edge was caught in the act.

        Two of them in a row where power is the mean of the step that ends: the step after tells of the course of this.
        Until then the counter has to be polled. It never settles while the counter is stuck or cannot be read: the
        caller gives up after ``patience_s`` and marks all the same. A counter that moves every few milliseconds (RAPL)
        needs no polling: one read after the instant settles it.
        """
        if self.calibration.period_s <= FAST_S:
            return self._last is not None and self._last.before_s >= at_s
        narrow_s, caught = self.calibration.shortest_s, 0
        for edge in reversed(self._edges):
            if edge.from_s < at_s:
                return False
            caught += edge.width_s < narrow_s
            if caught == self.calibration.edges_after:
                return True
        return False

    @property
    def taught(self) -> bool:
        """Whether the counter needs no watching to learn how it moves."""
        return self.calibration.period_s <= FAST_S or self.calibration.taught

    @property
    def patience_s(self) -> float:
        """How long after an end of a window it is worth polling for the edge."""
        return 3 * self.calibration.period_p99_s

    def mark(self, at_s: float, *, final: bool = True) -> Mark | None:
        """The total at an instant that has passed; None where it was not seen or is no longer remembered.

        Beyond the last edge it is reckoned with the power read last; a final one by more than a period beyond it is the
        end of a stretch that was not counted. A ``final`` mark binds: what comes later agrees
        with it. One that is not final is a look at a window that is still open.
        """
        edges = self._edges
        if not edges:
            return None
        i = bisect_right(edges, at_s, key=lambda edge: edge.to_s)
        while i > 0 and self._place(i - 1, final=final).at_s > at_s:
            i -= 1
        while i < len(edges) and self._place(i, final=final).at_s <= at_s:
            i += 1
        if i == 0:
            return None if self._dropped or at_s < edges[0].from_s else self._behind(at_s)
        if i == len(edges):
            return self._ahead(at_s, final=final)
        step = self._step(i, final=final)
        before, after = step.before, step.after
        point = course(step, at_s)
        share = (at_s - step.start.at_s) / step.length_s
        between = before._replace(
            gap_s=before.gap_s + share * (after.gap_s - before.gap_s),
            gap_j=before.gap_j + share * (after.gap_j - before.gap_j),
        )
        total_j, ceiling_j = before.total_j + point.energy_j, after.total_j
        mark = self._mark(at_s, between, total_j, point.sigma_j, ceiling_j=ceiling_j, power_w=step.power_w)
        return replace(mark, strays_w=point.strays_w)

    def _behind(self, at_s: float) -> Mark:
        """Before the first edge, by less than a period."""
        edge, power_w = self._edges[0], self._power_w()
        early_s = edge.middle_s - at_s
        sigma_j = power_w * math.hypot(edge.width_s / math.sqrt(12), early_s / math.sqrt(3))
        return self._mark(
            at_s, edge, edge.total_j - power_w * early_s, sigma_j, floor_j=-math.inf, ceiling_j=edge.total_j
        )

    def _ahead(self, at_s: float, *, final: bool) -> Mark:
        before, edge = self._edges[-1], self._reckoned(at_s, final=final)
        since = self._place(len(self._edges) - 1, final=final)
        joules, elapsed_s = edge.total_j - before.total_j, at_s - since.at_s
        late = final and elapsed_s > self.calibration.period_p99_s and joules > 10 * self.resolution_j
        uncounted = self.stuck or late
        if uncounted:
            edge = edge._replace(gap_s=before.gap_s + elapsed_s, gap_j=before.gap_j + joules)
        most_w = max(self.power_limit_w or 0.0, 2 * self._power_w())
        # What was not counted is in the gap; the instant of the last edge is not.
        sigma_s = since.sigma_s if uncounted else math.hypot(elapsed_s / math.sqrt(12), since.sigma_s)
        if final and elapsed_s > 0:
            self._ahead_j += joules
            self._append(edge)
            self._placed[self._dropped + len(self._edges) - 1] = Placed(at_s, sigma_s)
        mark = self._mark(at_s, edge, edge.total_j, most_w * sigma_s, floor_j=before.total_j, ceiling_j=math.inf)
        return replace(mark, unread=late and self._last is not None and self._last.after_s < at_s)

    def _mark(
        self,
        at_s: float,
        edge: Edge,
        total_j: float,
        sigma_j: float,
        *,
        floor_j: float | None = None,
        ceiling_j: float,
        power_w: float | None = None,
    ) -> Mark:
        return Mark(
            at_s=at_s,
            total_j=total_j,
            sigma_j=math.hypot(sigma_j, self.resolution_j / math.sqrt(12)),
            floor_j=edge.total_j if floor_j is None else floor_j,
            ceiling_j=ceiling_j,
            power_w=self._power_w() if power_w is None else power_w,
            period_s=self.calibration.period_s,
            gap_s=edge.gap_s,
            gap_j=edge.gap_j,
            resets=self.resets,
            origin_j=edge.origin_j,
            disagreement=self.calibration.disagreement,
            load=self._load.at(at_s),
        )

    def _step(self, i: int, *, final: bool) -> Step:
        """The step that the edge ends, and what is known of it; that stays from the first final mark within it."""
        step = self._steps.get(self._dropped + i)
        if step is None:
            edges = self._edges
            start, end = self._place(i - 1, final=final), self._place(i, final=final)
            later = edges[i + 1] if i + 1 < len(edges) else None
            to_s = NAN if later is None else self._place(i + 1, final=final).at_s
            step = Step(edges[i - 1], edges[i], start, end, self.calibration, self.power_limit_w, later, to_s)
            if final:
                self._steps[self._dropped + i] = step
        return step

    def _place(self, i: int, *, final: bool) -> Placed:
        key = self._dropped + i
        placed = self._placed.get(key)
        if placed is None:
            edges = self._edges
            placed = place(edges[i], edges[i + 1] if i + 1 < len(edges) else None, self.calibration)
            earlier, later = self._placed.get(key - 1), self._placed.get(key + 1)
            at_s = max(placed.at_s, earlier.at_s + APART_S if earlier else placed.at_s)
            placed = placed._replace(at_s=min(at_s, later.at_s - APART_S if later else at_s))
            if final:
                self._placed[key] = placed
        return placed


def calibrate(reads: Iterable[CounterRead]) -> Calibration:
    """The calibration of a board from about two seconds of reads every 1-2 ms, best while its load changes."""
    track = CounterTrack()
    for read in reads:
        track.add(read)
    return track.calibration
