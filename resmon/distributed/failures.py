"""How the ranks of a run ended, and the error that says so."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resmon import units
from resmon.distributed.engines import Ranks
from resmon.distributed.output import harmless, last_lines
from resmon.distributed.payload import Failure, load_failure
from resmon.distributed.rundir import read_json
from resmon.distributed.stacks import Place, read_place
from resmon.errors import LaunchError, LaunchTimeoutError, RankError
from resmon.views import escape

_MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError")
_SOON_S = 2.0
"""Sooner than this after a failure the launcher kills nobody."""
_VMSTAT = Path("/proc/vmstat")


@dataclass(slots=True)
class Ends:
    """How a run ended: the outcome of each rank, and of the rank that ended it the error."""

    outcomes: list[str]
    first: int | None = None
    cause: RankError | None = None
    problem: str = ""
    places: dict[int, Place | None] = field(default_factory=dict)


def oom_kills() -> int | None:
    """How often this machine's kernel has killed for want of memory; None where it does not say."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def read_ends(ranks: Ranks, oom_kills_before: int | None, *, stopped_by: str = "") -> Ends:
    """Read how the ranks of a run that is over ended. ``stopped_by``: why resmon itself ended those that still ran."""
    report = read_json(ranks.directory.report) or {}
    statuses = {int(rank): int(status) for rank, status in report.get("failures", {}).items()}
    failures = {i: found for i in range(len(ranks.ranks)) if (found := load_failure(ranks.directory.failure(i)))}
    signals = {rank: -status for rank, status in statuses.items() if status < 0 and rank not in failures}
    silent = {i: n for i, n in statuses.items() if i not in failures and not ranks.directory.result(i).exists()}
    first = _first(ranks, failures, {} if stopped_by else silent)
    ended_s = _ended_s(ranks, failures, first)
    ends = Ends([""] * len(ranks.ranks), first, problem=_problem(ranks, report))
    for i, rank in enumerate(ranks.ranks):
        told = _told(ranks, i, failures.get(i), stopped_by)
        if told:
            ends.outcomes[i] = told
        elif stopped_by:
            ends.outcomes[i] = stopped_by
        elif i in signals and (first in (None, i) or not _by_launcher(signals[i], rank.gone_s, ended_s)):
            ends.outcomes[i] = f"killed by {_signal_name(signals[i])}"
        elif statuses.get(i, 0) > 0:
            ends.outcomes[i] = f"failed: exit status {statuses[i]}"
        elif first is not None or statuses:
            ends.outcomes[i] = f"ended because rank {first if first is not None else min(statuses)} failed"
        elif rank.pid is not None and not ends.problem:
            ends.outcomes[i] = "failed: it ended without returning"
        else:
            ends.outcomes[i] = "ended before it began"
    if not stopped_by and (ends.first is None):
        ends.first = next((i for i, text in enumerate(ends.outcomes) if text.startswith(("failed", "killed"))), None)
    if ends.first is not None:
        ends.cause = _cause(ranks, ends.first, ends.outcomes[ends.first], failures.get(ends.first), oom_kills_before)
    return ends


def _told(ranks: Ranks, i: int, failure: Failure | None, stopped_by: str) -> str:
    """How a rank says that it ended; empty where it says nothing."""
    if failure is None:
        return "done" if ranks.directory.result(i).exists() else ""
    if failure.kind == "KeyboardInterrupt":
        return stopped_by or "interrupted"
    return f"failed: {failure.kind}: {failure.message}".rstrip(": ")


def _first(ranks: Ranks, failures: dict[int, Failure], silent: dict[int, int]) -> int | None:
    """The rank that failed first. ``silent``: the exit statuses of those that told nothing, negative for a signal.

    One that left without a word is why the others then raise: it was gone. But once a rank has failed the launcher
    sends SIGTERM to the others, and SIGKILL to those that do not heed it.
    """
    told = min(failures, key=lambda rank: failures[rank].at_s) if failures else None
    gone_s = {rank: ranks.ranks[rank].gone_s for rank in silent}
    left = [rank for rank, status in silent.items() if status != -signal.SIGTERM]
    if told is not None:
        until_s = failures[told].at_s + _SOON_S
        left = [rank for rank in left if (at_s := gone_s[rank]) is not None and at_s < until_s]
    if left:
        return min(left, key=lambda rank: (gone_s[rank] or math.inf, rank))
    return told if told is not None else min(silent, default=None)


def _ended_s(ranks: Ranks, failures: dict[int, Failure], first: int | None) -> float | None:
    """When the rank that failed first had ended, as far as it is known."""
    if first is None:
        return None
    return failures[first].at_s if first in failures else ranks.ranks[first].gone_s


def _by_launcher(number: int, gone_s: float | None, failed_s: float | None) -> bool:
    """Whether the launcher sent this signal to a rank, because another one had failed at ``failed_s``."""
    late = gone_s is not None and failed_s is not None and gone_s >= failed_s + _SOON_S
    return number == signal.SIGTERM or (number == signal.SIGKILL and late)


def _problem(ranks: Ranks, report: dict[str, Any]) -> str:
    """What went wrong with the launcher itself."""
    if report:
        return str(report.get("error", ""))
    status = ranks.launcher_status
    if status is None or status == 0:
        return ""
    return f"the launcher ended with {_signal_name(-status) if status < 0 else f'exit status {status}'}"


def _cause(ranks: Ranks, i: int, outcome: str, failure: Failure | None, oom_kills_before: int | None) -> RankError:
    rank = ranks.ranks[i]
    host = failure.host if failure else rank.host
    where = f"rank {i}{f' on {escape.plain(host)}' if host else ''}"
    if failure is not None:
        text = f"{where}: {escape.shortened(outcome, 300)}"
        if failure.kind in _MEMORY_ERRORS:
            text += f"; {_memory(ranks, i)}"
        return RankError(f"{text}\n{harmless(failure.traceback)}", i, host, failure.exception)
    text = f"{where} was {outcome}" if outcome.startswith("killed") else f"{where} {outcome}"
    text += f"; {_memory(ranks, i)}"
    kills = oom_kills()
    if "SIGKILL" in outcome and kills is not None and oom_kills_before is not None and kills > oom_kills_before:
        text += ". The machine ran out of memory meanwhile, and its kernel killed a process for that"
    said = last_lines(ranks.directory.log(i)) or last_lines(ranks.directory.agent_log)
    return RankError(f"{text}\n{said}" if said else text, i, host)


def _memory(ranks: Ranks, i: int) -> str:
    rank = ranks.ranks[i]
    if rank.memory_bytes is None:
        return "its memory was never sampled"
    ago = units.format_duration_words(time.monotonic() - rank.memory_at_s)
    return f"its memory was {units.format_gib(rank.memory_bytes)} at the last sample, {ago} ago"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def failed(name: str, ranks: Ranks, ends: Ends) -> LaunchError:
    """The error of a run that failed."""
    if ends.first is None:
        said = last_lines(ranks.directory.agent_log)
        text = ends.problem or "the ranks ended without returning"
        return LaunchError(
            f"{name}: {escape.shortened(text, 500)}" + (f"\n{said}" if said and not ends.problem else "")
        )
    outcome = escape.shortened(ends.outcomes[ends.first], 300)
    verb = f"was {outcome}" if outcome.startswith("killed") else outcome
    if "killed" in outcome:
        verb += f"; {_memory(ranks, ends.first)}"
    error = LaunchError(
        f"{name}: rank {ends.first} of {len(ends.outcomes)} {verb}.{_others(ends)} Output: {ranks.directory.path}"
    )
    error.__cause__ = ends.cause
    return error


def _others(ends: Ends) -> str:
    """How the ranks ended that did not end the run."""
    counts: dict[str, int] = {}
    for i, outcome in enumerate(ends.outcomes):
        if i != ends.first:
            word = outcome.partition(" ")[0].rstrip(":")
            kind = {"done": "had returned", "failed": "failed too", "killed": "failed too"}.get(word, "ended")
            counts[kind] = counts.get(kind, 0) + 1
    parts = [(n, kind if kind != "ended" else "was ended" if n == 1 else "were ended") for kind, n in counts.items()]
    if not parts:
        return ""
    if len(parts) == 1:
        return f" The other {'rank' if parts[0][0] == 1 else parts[0][0]} {parts[0][1]}."
    return f" Of the other {len(ends.outcomes) - 1}, {', '.join(f'{n} {text}' for n, text in parts)}."


def timed_out(name: str, ranks: Ranks, timeout_s: float) -> LaunchTimeoutError:
    """The error of a run whose time was up: where each rank is now. Call it while they still run."""
    ranks.ask_for_stacks()
    waiting, missing = [], []
    for i, rank in enumerate(ranks.ranks):
        place = read_place(ranks.directory.stacks(i))
        if rank.returned:
            missing.append(f"rank {i} had returned")
        elif rank.pid is None:
            missing.append(f"rank {i} had not begun")
        elif ranks.stopped(i):
            missing.append(f"rank {i} was stopped by a signal (SIGSTOP or SIGTSTP)")
        elif place is None:
            missing.append(f"rank {i} did not say where it was")
        elif place.waits_in:
            waiting.append(f"rank {i} waited in {place.waits_in} at {place.frame}")
        else:
            missing.append(f"rank {i} was at {place.frame}")
    lines = [f"{name} did not end within {timeout_s:g} s, and was ended."]
    if waiting and missing:
        lines.append("Did not arrive: " + "; ".join(missing) + ".")
        lines.append("Waited for them: " + "; ".join(waiting) + ".")
    else:
        lines.append("; ".join([*missing, *waiting]).capitalize() + ".")
    if all(rank.returned for rank in ranks.ranks):
        lines.append("A process ends when its threads do: join those that the function starts, or make them daemons.")
    lines.append(f"Stacks and output: {ranks.directory.path}")
    return LaunchTimeoutError("\n".join(lines))
