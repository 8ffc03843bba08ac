"""Windows over simulated boards: what was true, what each tool said, and how often its interval held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resmon.energy.edges import CounterRead
from tests.validation.devices import IDLE, LOADS, Array, Board, Instant, Load, Polling, calibration_reads, duty
from tests.validation.tools import Answer, Resmon, Tool

GAIN_PRIOR = 0.05
GAIN_KNOWN = 0.005
JITTER = 0.1
FLOOR_SIGMA = GAIN_KNOWN / 2
FLOOR_MEDIAN, FLOOR_P95 = 0.6745 * FLOOR_SIGMA, 1.96 * FLOOR_SIGMA
"""Errors below these count as met: those of a normal error of half the gain error of the best calibrated board. The
oracle's own error is exactly 0 where the load is even, and a ratio to 0 says nothing."""
FACTOR = 1.1
WIDTH_FACTOR = 1.5
BOARDS_PER_CALIBRATION = 20
ORACLE_BOARDS, ORACLE_WINDOWS = 100, 40
"""A load whose cycle is the counter's period has one phase on each board, so that few boards say little."""


@dataclass(frozen=True)
class Setting:
    """The boards and how they are read."""

    period_s: float
    instant: Instant = "fresh"
    gain_error: float = GAIN_KNOWN
    polling: Polling = IDLE
    jitter: float = JITTER

    def board(self, load: Load, rng: np.random.Generator, *, gain: float = 1.0) -> Board:
        """One of the boards under a load."""
        return Board.make(load, rng, period_s=self.period_s, jitter=self.jitter, gain=gain, instant=self.instant)


class Oracle(NamedTuple):
    """What one errs who sees every edge perfectly: median and p95, and the narrowest width that holds 95 %.

    The errors are those over the very windows that the tools get, for two samples of 100 windows of one and the same
    error differ by more than the tenth that is allowed. The width is that over many more windows.
    """

    median: float
    p95: float
    width: float


@dataclass(frozen=True)
class Score:
    """How one tool did over the windows of a row.

    Errors are shares of the true energy and leave out the gain, which nobody can see; the interval holds or not with
    the gain in it. ``above`` counts the windows that err more than the target's median and p95. NaN: no interval.
    """

    median: float
    p95: float
    above: tuple[int, int]
    holds: int
    width: float
    least_j: float


@dataclass(frozen=True)
class Row:
    """One load, one kind of board, one length of window."""

    load: str
    setting: Setting
    periods: float
    windows: int
    true_j: float
    said_j: float
    oracle: Oracle
    scores: Mapping[str, Score]

    @property
    def score(self) -> Score:
        """That of the first tool."""
        return next(iter(self.scores.values()))

    @property
    def targets(self) -> tuple[float, float]:
        """The median and p95 of the error to stay within."""
        return _targets(self.oracle)

    @property
    def met(self) -> tuple[bool, bool]:
        """Whether median and p95 of the error are within their targets."""
        return self.score.median <= self.targets[0], self.score.p95 <= self.targets[1]

    @property
    def coverage(self) -> float:
        """How often the interval held."""
        return self.score.holds / self.windows

    @property
    def width_ratio(self) -> float:
        """The median width of the interval over the oracle's."""
        return self.score.width / self.oracle.width


def _targets(oracle: Oracle) -> tuple[float, float]:
    return max(FACTOR * oracle.median, FLOOR_MEDIAN), max(FACTOR * oracle.p95, FLOOR_P95)


def oracle_width(name: str, setting: Setting, periods: float, rng: np.random.Generator) -> float:
    """The narrowest one width that holds 95 % of what the oracle says, over many boards and windows."""
    length_s = periods * setting.period_s
    errors = []
    for _ in range(ORACLE_BOARDS):
        board = setting.board(LOADS[name](rng, setting.period_s), rng)
        start_s = rng.uniform(2.0, 36.0 - length_s, ORACLE_WINDOWS)
        said = board.oracle_j(start_s, start_s + length_s) / board.true_j(start_s, start_s + length_s)
        errors.append(np.abs(said * (1 + setting.gain_error * rng.standard_normal(len(said))) - 1))
    return float(2 * np.percentile(np.concatenate(errors), 95))


def learned_from(setting: Setting, rng: np.random.Generator) -> list[CounterRead]:
    """What a tool may learn from: a board of the kind under a load of its own, not the one measured afterwards."""
    return calibration_reads(setting.board(duty(1.7, 0.4)(rng, setting.period_s), rng), rng)


def row(
    name: str, setting: Setting, periods: float, windows: int, rng: np.random.Generator, tools: Sequence[Tool]
) -> Row:
    """Windows of one length at random phases, each on a board of its own; all tools get the same."""
    said: dict[str, list[Answer]] = {tool.name: [] for tool in tools}
    true, gains, perfect = np.empty(windows), np.empty(windows), np.empty(windows)
    for i in range(windows):
        if i % BOARDS_PER_CALIBRATION == 0:
            reads = learned_from(setting, rng)
            for tool in tools:
                tool.learn(reads)
        gains[i] = 1 + setting.gain_error * rng.standard_normal()
        board = setting.board(LOADS[name](rng, setting.period_s), rng, gain=float(gains[i]))
        start_s = 2 + rng.random() * 2
        end_s = start_s + periods * setting.period_s
        true[i] = board.true_j(np.array(start_s), np.array(end_s))
        perfect[i] = board.oracle_j(np.array(start_s), np.array(end_s))
        for tool in tools:
            said[tool.name].append(tool.measure(board, start_s, end_s, rng))
    error = np.abs(perfect / gains / true - 1)
    width = oracle_width(name, setting, periods, rng)
    seen = Oracle(float(np.median(error)), float(np.percentile(error, 95)), width)
    scores = {tool: _score(answers, true, gains, _targets(seen)) for tool, answers in said.items()}
    first = np.array([answer.energy_j for answer in said[tools[0].name]])
    return Row(name, setting, periods, windows, float(np.median(true)), float(np.median(first)), seen, scores)


def _score(answers: Sequence[Answer], true: Array, gains: Array, targets: tuple[float, float]) -> Score:
    energy, low, high = (np.array(column) for column in zip(*answers, strict=True))
    error = np.abs(energy / gains / true - 1)
    return Score(
        median=float(np.median(error)),
        p95=float(np.percentile(error, 95)),
        above=(int(np.sum(error > targets[0])), int(np.sum(error > targets[1]))),
        holds=int(np.sum((low <= true) & (true <= high))),
        width=float(np.median((high - low) / true)),
        least_j=float(energy.min()),
    )


def table(
    settings: Sequence[Setting],
    periods: Sequence[float],
    windows: int,
    *,
    seed: int = 1,
    loads: Sequence[str] = tuple(LOADS),
    others: Sequence[Tool] = (),
    tool: Callable[[Setting], Tool] = lambda setting: Resmon(setting.gain_error, setting.polling),
) -> list[Row]:
    """Every load in every setting and length. ``tool`` makes the one to judge, ``others`` stand beside it.

    A row depends on the seed and on its own load, setting and length alone.
    """
    rows = []
    for setting in settings:
        for name in loads:
            for n in periods:
                own = [seed, list(LOADS).index(name), round(1e6 * setting.period_s), round(1e3 * n)]
                tools = (tool(setting), *others)
                rows.append(row(name, setting, n, windows, np.random.default_rng(own), tools))
    return rows


@dataclass(frozen=True)
class Summary:
    """Rows of one load taken together: how many are within the targets, how often the interval held."""

    load: str
    rows: int
    met: tuple[int, int]
    coverage: float
    width_ratio: float

    @property
    def reached(self) -> bool:
        """Everything at once."""
        return self.met == (self.rows, self.rows) and 0.93 <= self.coverage <= 0.98 and self.width_ratio <= WIDTH_FACTOR


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One for each load."""
    return [_summary(name, [r for r in rows if r.load == name]) for name in dict.fromkeys(r.load for r in rows)]


def _summary(name: str, rows: Sequence[Row]) -> Summary:
    return Summary(
        load=name,
        rows=len(rows),
        met=(sum(r.met[0] for r in rows), sum(r.met[1] for r in rows)),
        coverage=sum(r.score.holds for r in rows) / sum(r.windows for r in rows),
        width_ratio=float(np.median([r.width_ratio for r in rows])),
    )


def most(windows: int, share: float, chance: float = 1e-3) -> int:
    """So many of the windows at most, where each is one with probability ``share``: more has less than ``chance``."""
    so_far = 0.0
    for k in range(windows + 1):
        log_p = math.lgamma(windows + 1) - math.lgamma(k + 1) - math.lgamma(windows - k + 1)
        so_far += math.exp(log_p + k * math.log(share) + (windows - k) * math.log1p(-share))
        if so_far > 1 - chance:
            return k
    return windows


def lines(rows: Iterable[Row]) -> list[str]:
    """The rows as text. ``*`` marks what is within the targets (median, then p95), ``!`` what is not."""
    head = (
        f"{'load':19}{'tau ms':>7}{'taus':>6}{'true J':>9}{'said J':>9}{'median':>8}{'p95':>8}"
        f"{'oracle':>8}{'p95':>8}   {'holds':>8}{'width':>8}{'oracle':>8}{'ratio':>7}"
    )
    text = [head]
    for r in rows:
        marks = "".join("*" if ok else "!" for ok in r.met)
        text.append(
            f"{r.load:19}{1000 * r.setting.period_s:7.0f}{r.periods:6.1f}{r.true_j:9.2f}{r.said_j:9.2f}"
            f"{r.score.median:8.2%}{r.score.p95:8.2%}{r.oracle.median:8.2%}{r.oracle.p95:8.2%} {marks}"
            f"{r.coverage:8.1%}{r.score.width:8.1%}{r.oracle.width:8.1%}{r.width_ratio:7.2f}"
        )
    return text
