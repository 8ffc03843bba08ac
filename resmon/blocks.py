"""How the history lies in memory: typed rows in fixed blocks, blocks in bounded tiers.

A row is raised into view only once it is whole, and a block is never moved or overwritten, so readers need no lock.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple

from resmon.facts import Channel

BLOCK_ROWS = 512


class Schema:
    """The layout of a row: eight-byte columns first, so that every column is an aligned, strided view of the block."""

    __slots__ = ("channels", "index", "order", "pack_into", "row_bytes")

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = tuple(c for c in channels if c.stored)
        wide = [i for i, c in enumerate(channels) if c.stored and c.code == "d"]
        narrow = [i for i, c in enumerate(channels) if c.stored and c.code == "f"]
        layout = struct.Struct(f"={1 + len(wide)}d{len(narrow)}f")
        self.pack_into = layout.pack_into
        self.row_bytes = -(-layout.size // 8) * 8
        chosen = (*wide, *narrow)
        self.order = itemgetter(*chosen) if len(chosen) > 1 else lambda values: tuple(values[i] for i in chosen)
        self.index: dict[str, tuple[Literal["f", "d"], int]] = {}
        for place, i in enumerate(wide):
            self.index[channels[i].id] = ("d", 1 + place)
        first = 2 * (1 + len(wide))
        for place, i in enumerate(narrow):
            self.index[channels[i].id] = ("f", first + place)


class Block:
    """Rows of one schema. ``rows`` is raised only after a row is whole, so readers need no lock."""

    __slots__ = (
        "_data",
        "_doubles",
        "_floats",
        "_order",
        "_pack_into",
        "_row_bytes",
        "capacity",
        "rows",
        "schema",
    )

    def __init__(self, schema: Schema, capacity: int) -> None:
        self.schema = schema
        self.capacity = capacity
        self.rows = 0
        self._data = bytearray(schema.row_bytes * capacity)
        view = memoryview(self._data)
        self._doubles = view.cast("d")
        self._floats = view.cast("f")
        self._pack_into, self._order, self._row_bytes = schema.pack_into, schema.order, schema.row_bytes

    def write(self, at_s: float, values: Sequence[float]) -> None:
        order, pack_into, row = self._order, self._pack_into, self.rows
        pack_into(self._data, row * self._row_bytes, at_s, *order(values))
        self.rows = row + 1

    def copied(self, i: int) -> Row:
        """A row in a block of its own, so that who holds it holds no other."""
        block = Block(self.schema, 1)
        block._data[:] = self._data[i * self._row_bytes : (i + 1) * self._row_bytes]
        block.rows = 1
        return Row(block, 0)

    def times(self, first: int, last: int) -> memoryview[float]:
        step = self.schema.row_bytes // 8
        return self._doubles[first * step : last * step : step]

    def column(self, channel_id: str, first: int, last: int) -> memoryview[float] | None:
        place = self.schema.index.get(channel_id)
        if place is None:
            return None
        code, offset = place
        if code == "d":
            step = self.schema.row_bytes // 8
            return self._doubles[first * step + offset : last * step : step]
        step = self.schema.row_bytes // 4
        return self._floats[first * step + offset : last * step : step]

    @property
    def nbytes(self) -> int:
        return len(self._data)


class Row(NamedTuple):
    """One row of a block, for readers."""

    block: Block
    i: int

    @property
    def at_s(self) -> float:
        return self.block.times(self.i, self.i + 1)[0]

    def value(self, channel_id: str) -> float:
        view = self.block.column(channel_id, self.i, self.i + 1)
        return float("nan") if view is None else view[0]


class Tier:
    """A bounded chain of blocks. Readers take the tuple, which is replaced and never changed."""

    __slots__ = ("blocks", "max_bytes", "max_rows")

    def __init__(self, max_rows: int, max_bytes: float) -> None:
        self.blocks: tuple[Block, ...] = ()
        self.max_rows = max_rows
        self.max_bytes = max_bytes

    def write(self, schema: Schema, at_s: float, values: Sequence[float]) -> None:
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.schema is not schema or block.rows == block.capacity:
            fits = int(min(self.max_rows, self.max_bytes // schema.row_bytes))
            block = Block(schema, max(2, min(BLOCK_ROWS, fits // 8)))
            kept = [*self.blocks, block]
            while len(kept) > 1 and self._full(kept):
                del kept[0]
            self.blocks = tuple(kept)
        block.write(at_s, values)

    def _full(self, blocks: Iterable[Block]) -> bool:
        rows = nbytes = 0
        for block in blocks:
            rows += block.capacity
            nbytes += block.nbytes
        return rows > self.max_rows or nbytes > self.max_bytes

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    @property
    def oldest_s(self) -> float:
        return self.blocks[0].times(0, 1)[0] if self.blocks else float("inf")

    def known_before(self, channel_id: str, at_s: float) -> Row | None:
        for block in reversed(self.blocks):
            place = bisect_times(block.times(0, block.rows), at_s, right=True)
            view = block.column(channel_id, 0, place)
            if view is not None:
                for i in range(place - 1, -1, -1):
                    if view[i] == view[i]:
                        return Row(block, i)
        return None

    def known_after(self, channel_id: str, at_s: float) -> Row | None:
        for block in self.blocks:
            rows = block.rows
            first = bisect_times(block.times(0, rows), at_s)
            view = block.column(channel_id, 0, rows)
            if view is not None:
                for i in range(first, rows):
                    if view[i] == view[i]:
                        return Row(block, i)
        return None

    def beside(self, at_s: float) -> tuple[Row | None, Row | None]:
        """The newest row at or before an instant and the one after that."""
        after = None
        for block in reversed(self.blocks):
            place = bisect_times(block.times(0, block.rows), at_s, right=True)
            if place < block.rows:
                after = Row(block, place)
            if place:
                return Row(block, place - 1), after
        return None, after

    def segments(self, start_s: float, end_s: float) -> list[tuple[Block, int, int]]:
        """The parts of the blocks with ``start_s <= time <= end_s``, oldest first."""
        found = []
        for block in self.blocks:
            rows = block.rows
            if not rows:
                continue
            times = block.times(0, rows)
            if times[-1] < start_s or times[0] > end_s:
                continue
            first, last = bisect_times(times, start_s), bisect_times(times, end_s, right=True)
            if first < last:
                found.append((block, first, last))
        return found


def bisect_times(times: memoryview[float], at_s: float, *, right: bool = False) -> int:
    """The first row at or (``right``) after an instant, as :mod:`bisect` counts."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] < at_s or (right and times[middle] == at_s):
            low = middle + 1
        else:
            high = middle
    return low


def column_stats(view: memoryview[float]) -> tuple[float, float, float]:
    """(min, mean, max) of a column, NaN left out; NaN when nothing is left."""
    total = sum(view)
    if total == total:
        return min(view), total / len(view), max(view)
    known = [v for v in view if v == v]
    if not known:
        return (float("nan"),) * 3
    return min(known), sum(known) / len(known), max(known)
