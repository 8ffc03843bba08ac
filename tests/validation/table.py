"""Windows over simulated boards: what was true, what was said, and how often the interval held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resmon.energy.counter import CounterTrack, calibrate
from resmon.energy.edges import Calibration
from resmon.energy.intervals import CounterEnergy, between
from tests.validation.devices import (
    IDLE,
    LOADS,
    Array,
    Board,
    Instant,
    Polling,
    calibration_reads,
    duty,
)

LIMIT_W = 700.0
GAIN_PRIOR = 0.05
GAIN_KNOWN = 0.005
JITTER = 0.1


@dataclass(frozen=True)
class Setting:
    """One column of the validation: the board and how it is read."""

    period_s: float
    instant: Instant = "fresh"
    gain_error: float = GAIN_KNOWN
    polling: Polling = IDLE
    jitter: float = JITTER


@dataclass(frozen=True)
class Row:
    """What came out for one load and one length of window.

    Errors are shares of the true energy and leave out the gain, which nobody can see; the interval holds or not with
    the gain in it. The oracle sees every edge perfectly; the ``polled`` one knows the edge after each end only as the
    middle between two reads, and all else perfectly. ``oracle_width`` is the narrowest interval of one width that
    holds 95 % of what the oracle says.
    """

    load: str
    setting: Setting
    periods: float
    true_j: float
    reported_j: float
    error_median: float
    error_p95: float
    oracle_median: float
    oracle_p95: float
    polled_median: float
    polled_p95: float
    coverage: float
    width: float
    oracle_width: float
    least_j: float
    windows: int

    def reaches(self, factor: float = 1.1) -> tuple[bool, bool]:
        """Whether median and p95 of the error are within ``factor`` of the oracle's that polls as the sampler does."""
        return self.error_median <= factor * self.polled_median, self.error_p95 <= factor * self.polled_p95


def calibrated(setting: Setting, rng: np.random.Generator) -> Calibration:
    """A board's calibration, made under a load of its own (not the one that is measured afterwards)."""
    load = duty(1.7, 0.4)(rng, setting.period_s)
    board = Board.make(load, rng, period_s=setting.period_s, jitter=setting.jitter, gain=1.0, instant=setting.instant)
    return calibrate(calibration_reads(board, rng))


def one_window(
    board: Board, calibration: Calibration, setting: Setting, start_s: float, end_s: float, reads: Array
) -> CounterEnergy:
    """What is said of one window."""
    track = CounterTrack(calibration, power_limit_w=LIMIT_W)
    for read in board.reads(reads):
        track.add(read)
    start, end = track.mark(start_s), track.mark(end_s)
    assert start is not None
    assert end is not None
    return between(start, end, gain_error=setting.gain_error, power_limit_w=LIMIT_W)


def row(name: str, setting: Setting, periods: float, windows: int, rng: np.random.Generator) -> Row:
    """Windows of one length at random phases, each on a board of its own."""
    said: list[CounterEnergy] = []
    true, oracle, polled, gains = (np.empty(windows) for _ in range(4))
    for i in range(windows):
        if i % 20 == 0:
            calibration = calibrated(setting, rng)
        gain = 1 + setting.gain_error * rng.standard_normal()
        board = Board.make(
            LOADS[name](rng, setting.period_s),
            rng,
            period_s=setting.period_s,
            jitter=setting.jitter,
            gain=gain,
            instant=setting.instant,
        )
        start_s = 2 + rng.random() * 2
        end_s = start_s + periods * setting.period_s
        reads = setting.polling.window(board, start_s, end_s, rng)
        said.append(one_window(board, calibration, setting, start_s, end_s, reads))
        polled[i] = board.polled_j(start_s, end_s, reads)
        gains[i] = gain
        true[i], oracle[i] = board.true_j(start_s, end_s), board.oracle_j(start_s, end_s)
    energy, low, high = (np.array([getattr(w, field) for w in said]) for field in ("energy_j", "low_j", "high_j"))
    error, oracle_error = np.abs(energy / gains / true - 1), np.abs(oracle / gains / true - 1)
    polled_error = np.abs(polled / gains / true - 1)
    with_gain = np.abs(oracle / true - 1)
    return Row(
        load=name,
        setting=setting,
        periods=periods,
        true_j=float(np.median(true)),
        reported_j=float(np.median(energy)),
        error_median=float(np.median(error)),
        error_p95=float(np.percentile(error, 95)),
        oracle_median=float(np.median(oracle_error)),
        oracle_p95=float(np.percentile(oracle_error, 95)),
        polled_median=float(np.median(polled_error)),
        polled_p95=float(np.percentile(polled_error, 95)),
        coverage=float(np.mean((low <= true) & (true <= high))),
        width=float(np.median((high - low) / true)),
        oracle_width=float(2 * np.percentile(with_gain, 95)),
        least_j=float(energy.min()),
        windows=windows,
    )


def table(
    settings: Sequence[Setting],
    periods: Sequence[float],
    windows: int,
    seed: int = 1,
    loads: Sequence[str] = tuple(LOADS),
) -> list[Row]:
    """Every load in every setting and length."""
    rng = np.random.default_rng(seed)
    return [row(name, setting, n, windows, rng) for setting in settings for name in loads for n in periods]


def lines(rows: Sequence[Row]) -> list[str]:
    """The table as text."""
    head = (
        f"{'load':19}{'tau ms':>7}{'taus':>6}{'true J':>9}{'said J':>9}{'median':>8}{'p95':>8}"
        f"{'oracle':>8}{'p95':>8}{'ratio':>7}{'p95':>7}{'polled':>7}{'p95':>7}"
        f"   {'holds':>8}{'width':>8}{'oracle':>8}{'ratio':>7}"
    )
    text = [head]
    for r in rows:
        marks = "".join("*" if ok else "!" for ok in r.reaches())
        text.append(
            f"{r.load:19}{1000 * r.setting.period_s:7.0f}{r.periods:6.1f}{r.true_j:9.2f}{r.reported_j:9.2f}"
            f"{r.error_median:8.2%}{r.error_p95:8.2%}{r.oracle_median:8.2%}{r.oracle_p95:8.2%}"
            f"{_ratio(r.error_median, r.oracle_median)}{_ratio(r.error_p95, r.oracle_p95)}"
            f"{_ratio(r.error_median, r.polled_median)}{_ratio(r.error_p95, r.polled_p95)} {marks}"
            f"{r.coverage:8.1%}{r.width:8.1%}{r.oracle_width:8.1%}{_ratio(r.width, r.oracle_width)}"
        )
    names = dict.fromkeys(r.load for r in rows)
    return [*text, *(_summary(name, [r for r in rows if r.load == name]) for name in names), _summary("all", rows)]


def _summary(name: str, rows: Sequence[Row]) -> str:
    reached = [sum(r.reaches()[i] for r in rows) for i in (0, 1)]
    coverage = sum(r.coverage * r.windows for r in rows) / sum(r.windows for r in rows)
    width = float(np.median([r.width / max(r.oracle_width, 1e-9) for r in rows]))
    return (
        f"{name:19} error within the target: median {reached[0]} of {len(rows)}, p95 {reached[1]} of {len(rows)}; "
        f"the interval holds in {coverage:.1%}; median width ratio {width:.2f}"
    )


def _ratio(value: float, oracle: float) -> str:
    return f"{value / oracle:7.2f}" if oracle > 1e-4 else f"{'-':>7}"
