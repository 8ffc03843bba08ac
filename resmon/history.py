"""The ring of samples in memory: typed columns, bounded, coarser with age.

One writer, any number of readers, and one "new sample" notification are all that the parts of resmon share. The newest
rows are held as they were read, and beside them two coarser tiers keep the minimum, mean and maximum of every gauge
and the last value of every counter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from resmon.blocks import Block, Row, Schema, Tier, column_stats
from resmon.facts import Channel
from resmon.landmarks import Beside, Kept, Landmarks, point_of
from resmon.news import News

if TYPE_CHECKING:
    import pandas as pd

Stat = Literal["mean", "min", "max"]

FOLD_S = 10.0
"""Length of a bucket of the middle tier."""
FOLD_TOGETHER = 6
"""How many buckets are folded together: what is seldom done runs on cold caches each time, and nobody reads a folded
row while the rows it is made of are still held."""
FOLD_ROWS = 18
"""How many buckets of the middle tier make one of the old tier (three minutes)."""
MAX_BYTES = 64 * 2**20
RAW_SHARE, MIDDLE_SHARE = 0.4, 0.45
RAW_ROWS = 14_400
MIDDLE_ROWS = 8_640
OLD_ROWS = 3_360


class _Folding:
    """The coarser layout that belongs to a schema: how a stretch of rows becomes one row of the next tier."""

    __slots__ = ("counters", "gauges", "schema")

    def __init__(self, source: Schema) -> None:
        self.counters = [c.id for c in source.channels if c.kind == "counter"]
        self.gauges = [c.id for c in source.channels if c.kind == "gauge"]
        columns = [c for c in source.channels if c.kind == "counter"]
        for c in source.channels:
            if c.kind == "gauge":
                columns += [
                    Channel(device_id=c.device_id, quantity=f"{c.quantity}#{stat}", unit=c.unit)
                    for stat in ("min", "mean", "max")
                ]
        self.schema = Schema(columns)

    def fold(self, segments: Sequence[tuple[Block, int, int]], *, suffix: bool) -> list[float]:
        """One row of the next tier out of these rows. ``suffix``: the rows are themselves folded ones."""
        block, first, last = segments[-1]
        values: list[float] = []
        for channel_id in self.counters:
            view = block.column(channel_id, first, last)
            values.append(float("nan") if view is None else view[-1])
        for channel_id in self.gauges:
            if suffix:
                low, high, mean = (self._one(segments, f"{channel_id}#{stat}") for stat in ("min", "max", "mean"))
                values += (low[0], mean[1], high[2])
            else:
                values += self._one(segments, channel_id)
        return values

    @staticmethod
    def _one(segments: Sequence[tuple[Block, int, int]], channel_id: str) -> tuple[float, float, float]:
        block, first, last = segments[-1]
        view = block.column(channel_id, first, last)
        return (float("nan"),) * 3 if view is None else column_stats(view)


class History:
    """What was sampled, for one writer and any number of readers.

    ``max_bytes`` bounds all tiers together. ``append`` may be called by one thread only; everything else by any.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._raw = Tier(RAW_ROWS, max_bytes * RAW_SHARE)
        self._middle = Tier(MIDDLE_ROWS, max_bytes * MIDDLE_SHARE)
        self._old = Tier(OLD_ROWS, max_bytes * (1 - RAW_SHARE - MIDDLE_SHARE))
        self._schema: Schema | None = None
        self._folding: _Folding | None = None
        self._block: Block | None = None
        self._bucket_first = 0
        self._bucket_end_s = float("-inf")
        self._ended: list[tuple[Block, int, int]] = []
        self._middle_first = 0
        self._landmarks = Landmarks()
        self.news = News()
        self.rows = 0
        self.bring_up: Callable[[], None] = lambda: None
        """Has the writer add what it has not written yet. Every reading of the history calls it first."""

    @property
    def schema(self) -> Schema | None:
        """The layout in force; None before the first sample."""
        return self._schema

    @property
    def nbytes(self) -> int:
        """Bytes of memory held by the rows of all tiers."""
        return self._raw.nbytes + self._middle.nbytes + self._old.nbytes

    @property
    def newest_s(self) -> float | None:
        """Time of the newest row; None before the first."""
        self.bring_up()
        blocks = self._raw.blocks
        for block in reversed(blocks):
            if block.rows:
                return block.times(block.rows - 1, block.rows)[0]
        return None

    def around(self, channel_id: str, at_s: float) -> tuple[Row | None, Row | None]:
        """The nearest rows at or before and at or after an instant in which the channel is known."""
        self.bring_up()
        before = after = None
        for tier in (self._raw, self._middle, self._old):
            before = before or tier.known_before(channel_id, at_s)
            found = tier.known_after(channel_id, at_s)
            if found is not None and (after is None or found.at_s < after.at_s):
                after = found
            if before is not None and tier.oldest_s <= at_s:
                break
        return before, after

    def keep(self, at_s: float) -> Kept:
        """Keep the counters at an instant that has just come, however old it grows while the result is held.

        For the beginning of a span that may last for days. Any thread.
        """
        return self._landmarks.keep(at_s)

    def beside(self, channel_id: str, at_s: float) -> Beside:
        """A counter at or before and at or after an instant, as near as it is known.

        Where it began, and at an instant that is kept, to the row, however long ago that was.
        """
        self.bring_up()
        found = self._landmarks.find(channel_id, at_s)
        if found is not None:
            return found
        before, after = self.around(channel_id, at_s)
        return point_of(before, channel_id), point_of(after, channel_id)

    def value(self, channel_id: str, at_s: float) -> float | None:
        """A counter at an instant: linear between the nearest known rows, the outermost one beyond them."""
        before, after = self.beside(channel_id, at_s)
        if before is None or after is None:
            point = before or after
            return None if point is None else point.value
        if after.at_s <= before.at_s:
            return after.value
        return before.value + (after.value - before.value) * (at_s - before.at_s) / (after.at_s - before.at_s)

    def set_channels(self, channels: Sequence[Channel]) -> None:
        """Start a new layout. Writer only; the rows written so far keep theirs."""
        self._end_bucket()
        self._fold_buckets()
        self._schema = Schema(channels)
        self._folding = _Folding(self._schema)
        self._landmarks.begin(self._folding.counters)
        self._bucket_end_s = float("-inf")

    def append(self, at_s: float, values: Sequence[float]) -> None:
        """Write one row, in the order of the channels; NaN for what is unknown. Writer only."""
        block = self._block
        if at_s < self._bucket_end_s and block is not None and block.rows < block.capacity:
            block.write(at_s, values)
        else:
            self._begin_bucket(at_s, values)
        self.rows += 1
        landmarks = self._landmarks
        if landmarks.awaited or landmarks.unseen:
            landmarks.take(self._raw)
        if self.news.awaited:
            self.news.tell()

    def _begin_bucket(self, at_s: float, values: Sequence[float]) -> None:
        assert self._schema is not None, "set_channels comes first"
        self._end_bucket()
        if len(self._ended) >= FOLD_TOGETHER or self._block is None or self._block.rows == self._block.capacity:
            self._fold_buckets()  # in time: with a new block the oldest rows may go
        self._raw.write(self._schema, at_s, values)
        self._block = self._raw.blocks[-1]
        self._bucket_first = self._block.rows - 1
        self._bucket_end_s = at_s + FOLD_S

    def _end_bucket(self) -> None:
        block = self._block
        if block is None or block.schema is not self._schema or self._bucket_first >= block.rows:
            return
        self._ended.append((block, self._bucket_first, block.rows))
        self._bucket_first = block.rows

    def _fold_buckets(self) -> None:
        ended, self._ended = self._ended, []
        for bucket in ended:
            self._fold(bucket)

    def _fold(self, bucket: tuple[Block, int, int]) -> None:
        folding = self._folding
        assert folding is not None, "a bucket has rows, and they have a layout"
        block, first, last = bucket
        self._middle.write(folding.schema, block.times(first, last)[-1], folding.fold([bucket], suffix=False))
        folded = self._middle.blocks[-1]
        if folded.rows == 1:
            self._middle_first = 0
        if folded.rows - self._middle_first >= FOLD_ROWS or folded.rows == folded.capacity:
            segment = (folded, self._middle_first, folded.rows)
            self._old.write(folding.schema, folded.times(0, folded.rows)[-1], folding.fold([segment], suffix=True))
            self._middle_first = folded.rows

    def wait(self, rows: int, timeout_s: float) -> bool:
        """Block until more than ``rows`` rows were ever written; False after ``timeout_s`` seconds."""
        # Brought up after it is known that somebody waits: no row can slip between.
        return self.news.wait_for(lambda: self.rows > rows, timeout_s, first=self.bring_up)

    def wake(self) -> None:
        """Let every waiter look again, without a new row."""
        self.news.tell()

    def view(self, start_s: float = float("-inf"), end_s: float = float("inf")) -> HistoryView:
        """The rows with ``start_s <= time <= end_s``: raw where they are still held, coarser before."""
        self.bring_up()
        oldest_s = self._raw.oldest_s
        if oldest_s == float("inf"):
            return HistoryView(())  # asked before the first row: what is written meanwhile is for the next view
        parts = self._raw.segments(start_s, end_s)
        for tier in (self._middle, self._old):
            if start_s < oldest_s:
                # A folded row stands at the end of its bucket: what ends before the finer tier begins.
                parts = tier.segments(start_s, min(end_s, oldest_s - 1e-9)) + parts
            oldest_s = min(oldest_s, tier.oldest_s)
        return HistoryView(parts)

    def after_fork(self) -> None:
        """In a forked child: a lock that some other thread held would never be given back."""
        self.news.after_fork()


class HistoryView:
    """A read-only span of the history. Columns are lists with ``None`` where nothing is known.

    Where rows have been folded with age, ``stat`` chooses what of a bucket is shown: its mean, min or max.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[tuple[Block, int, int]]) -> None:
        self._parts = tuple(parts)

    def __repr__(self) -> str:
        times = self.times
        span = f" over {times[-1] - times[0]:.1f} s" if times else ""
        return f"<HistoryView {len(times)} rows{span}: {', '.join(self.channels)}>"

    def __len__(self) -> int:
        return sum(last - first for _, first, last in self._parts)

    @property
    def times(self) -> list[float]:
        """Seconds on the monitor's monotonic clock, ascending."""
        return [t for block, first, last in self._parts for t in block.times(first, last)]

    @property
    def channels(self) -> list[str]:
        """Ids of the columns, in order of appearance."""
        seen: dict[str, None] = {}
        for block, _, _ in self._parts:
            seen.update(dict.fromkeys(channel_id.partition("#")[0] for channel_id in block.schema.index))
        return list(seen)

    def __contains__(self, channel_id: object) -> bool:
        return channel_id in self.channels

    def raw(self, channel_id: str, stat: Stat = "mean") -> list[float]:
        """One float per row, NaN for unknown. ``stat`` applies to folded rows."""
        values: list[float] = []
        for view, count in self._views(channel_id, stat):
            values.extend([float("nan")] * count if view is None else view.tolist())
        return values

    def column(self, channel_id: str, stat: Stat = "mean") -> list[float | None]:
        """One value per row, None for unknown. Raises KeyError for a channel that no row of the span has."""
        if channel_id not in self:
            raise KeyError(f"no channel {channel_id!r} in this span; it has: {', '.join(self.channels) or 'no rows'}")
        return [v if v == v else None for v in self.raw(channel_id, stat)]

    def _views(self, channel_id: str, stat: Stat) -> Iterator[tuple[memoryview[float] | None, int]]:
        for block, first, last in self._parts:
            view = block.column(channel_id, first, last)
            if view is None:
                view = block.column(f"{channel_id}#{stat}", first, last)
            yield view, last - first

    def extreme(self, channel_id: str) -> float | None:
        """The largest value of the span; None when nothing is known."""
        tops = [column_stats(view)[2] for view, _ in self._views(channel_id, "max") if view is not None]
        known = [v for v in tops if v == v]
        return max(known) if known else None

    def last(self, channel_id: str) -> float | None:
        """The newest value of the span, as it was read; None when it is unknown."""
        if not self._parts:
            return None
        block, first, last = self._parts[-1]
        view = block.column(channel_id, first, last)
        return None if view is None or view[-1] != view[-1] else view[-1]

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame indexed by seconds of the monotonic clock, one column per channel.

        Raises ImportError, with the remedy, where pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from None
        data: dict[str, Any] = {channel_id: self.raw(channel_id) for channel_id in self.channels}
        return pd.DataFrame(data, index=pd.Index(self.times, name="time_s"))
