"""What the panel is told of ranks, as ``docs/wire.md`` has it: facts when they change, numbers with every row."""

from __future__ import annotations

import dataclasses
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from resmon.cells import Cell
from resmon.monitor import Monitor
from resmon.rankboard import RankBoard
from resmon.ranks import RankRow, RankState, Straggler

COLUMNS = (
    "age_s",
    "steps_per_s",
    "items_per_s",
    "utilization",
    "memory_bytes",
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "power_w",
    "compute_s",
    "communication_s",
    "wait_s",
)
"""The numbers of a rank, each a float32."""
STATES: tuple[RankState, ...] = ("expected", "running", "done", "failed", "lost")
"""The state of a rank is its place here, a uint8."""
MOST = 1_024
"""Ranks beyond are counted and not sent: 45 bytes each stay below 50 kB a refresh."""
AGAIN_S = 5.0
"""Facts are sent again after this long: a view that was still loading has missed them."""
SPACING_S = 0.15
"""Between two messages about ranks: a sample of a rank is on its way to the panel within this time."""
EFFORT = 0.05
"""The share of a core that looking at ranks may take: with many of them, messages are fewer."""
NAN = float("nan")


def board_of(boards: Sequence[RankBoard], start_s: float | None, end_s: float | None) -> RankBoard | None:
    """The newest board whose run went on within a cell's time; None where there is none."""
    if start_s is None:
        return None
    for board in reversed(boards):
        if (end_s is None or board.started_s <= end_s) and (board.ended_s is None or board.ended_s >= start_s):
            return board
    return None


class RankFeed:
    """The ranks of the cell that runs, for every view of a session. Any thread may ask."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._shown: RankBoard | None = None
        self._count = 0
        self._last: dict[int, RankRow] = {}
        self._told_s = float("-inf")
        self._took_s = 0.0
        self._sent: tuple[object, ...] = ()
        self._sent_at_s = 0.0

    def numbers(self, cell: Cell | None) -> tuple[dict[str, Any], bytes] | None:
        """What a ``row`` message says of ranks, and its second buffer; None for a cell without any."""
        board = self._board(cell)
        if board is None:
            return None
        with self._lock:
            began_s, self._told_s = time.perf_counter(), board.clock.now()
            rows = board.rows()
            straggler, number = board.straggler(rows), self._number(board)
            shown = [self._with_last(row) for row in rows[:MOST]]
            content = {"board": number, "n": len(shown), "straggler": _straggler_facts(straggler, rows)}
            buffer = packed(shown)
            self._took_s = time.perf_counter() - began_s
            return content, buffer

    def spacing_s(self, cell: Cell | None) -> float | None:
        """Seconds between two looks at the ranks of a cell; None where none run."""
        board = self._board(cell)
        return None if board is None or board.ended_s is not None else max(SPACING_S, self._took_s / EFFORT)

    def fresh(self, cell: Cell | None) -> tuple[dict[str, Any], bytes] | None:
        """A ``now`` message where a rank was heard of since the last one; None where there is nothing new."""
        told_s = self._told_s
        board, found = self._board(cell), self.numbers(cell)
        if board is None or found is None:
            return None
        ages = struct.unpack_from(f"<{len(COLUMNS) * found[0]['n']}f", found[1])[:: len(COLUMNS)]
        heard = any(age <= self._told_s - told_s + 1e-6 for age in ages)  # float32: rather told twice than not
        return ({"k": "now", "ranks": found[0]}, found[1]) if heard else None

    def message(self, cell: Cell | None) -> tuple[dict[str, Any], bytes] | None:
        """A whole ``ranks`` message with its buffer: what a new view needs; None for a cell without ranks."""
        board, found = self._board(cell), self.numbers(cell)
        if board is None or cell is None or found is None:
            return None
        numbers, buffer = found
        return {"k": "ranks", "ranks": {**self._facts(board, cell), **numbers}}, buffer

    def news(self, cell: Cell | None) -> tuple[dict[str, Any], bytes] | None:
        """A ``ranks`` message where a rank joined or ended, another run or cell began, or some time has passed."""
        board = self._board(cell)
        if board is None or cell is None:
            return None
        key, now_s = (id(board), board.revision, cell.id), time.monotonic()
        if key == self._sent and now_s - self._sent_at_s < AGAIN_S:
            return None
        self._sent, self._sent_at_s = key, now_s
        return self.message(cell)

    def _board(self, cell: Cell | None) -> RankBoard | None:
        if cell is None or cell.asks_resmon:
            return None
        board = board_of(self._monitor.rank_boards, cell.window.opened_s, cell.window.closed_s)
        return board if board is not None and board.world_size > 0 else None

    def _number(self, board: RankBoard) -> int:
        """Runs are counted from 1 in the order in which they are shown."""
        if board is not self._shown:
            self._shown, self._last = board, {}
            self._count += 1
        return self._count

    def _with_last(self, row: RankRow) -> RankRow:
        """A rank that is done keeps the last numbers that it had."""
        if row.state == "running":
            self._last[row.rank] = row
        last = self._last.get(row.rank)
        if row.state != "done" or last is None:
            return row
        return dataclasses.replace(last, state=row.state, outcome=row.outcome, age_s=row.age_s)

    def _facts(self, board: RankBoard, cell: Cell) -> dict[str, Any]:
        limits, host = self._monitor.limits, self._monitor.host_device()
        limit = limits.memory_bytes if limits else (host.memory_total_bytes if host else None)
        on_gpu = {gpu.id: gpu.memory_total_bytes for gpu in self._monitor.gpu_devices()}
        return {
            "revision": board.revision,
            "cell": cell.id,
            "title": board.title,
            "world_size": board.world_size,
            "items_unit": board.items_unit,
            "ended": board.ended_s is not None,
            "ranks": [
                {
                    "rank": row.rank,
                    "host": row.host,
                    "device": row.device,
                    "resource": "cpu" if row.device in ("", "CPU") else "gpu",
                    "outcome": row.outcome,
                    "memory_limit_bytes": limit if row.host == self._host else None,
                    "gpu_memory_total_bytes": on_gpu.get(row.device_id or ""),
                }
                for row in board.rows()[:MOST]
            ],
        }


def packed(rows: Sequence[RankRow]) -> bytes:
    """The numbers of each rank one after the other, then the states: float32 × columns × n, uint8 × n."""
    values = [NAN if (value := getattr(row, name)) is None else value for row in rows for name in COLUMNS]
    return struct.pack(f"<{len(values)}f{len(rows)}B", *values, *(STATES.index(row.state) for row in rows))


def _wait_fraction(rows: Iterable[RankRow]) -> float | None:
    """The share of a step for which a rank waits, of these ranks the median; None where none tells."""
    found = []
    for row in rows:
        if row.compute_s is not None and row.communication_s is not None and row.wait_s is not None:
            step_s = row.compute_s + row.communication_s + row.wait_s
            if step_s > 0:
                found.append(row.wait_s / step_s)
    return statistics.median(found) if found else None


def _straggler_facts(straggler: Straggler | None, rows: Sequence[RankRow]) -> dict[str, Any] | None:
    if straggler is None:
        return None
    others = [row for row in rows if row.rank != straggler.rank and row.state == "running"]
    return {
        "rank": straggler.rank,
        "factor": straggler.factor,
        "others": len(others),
        "wait": _wait_fraction(others),
        "cause": straggler.cause,
    }
