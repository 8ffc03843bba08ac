"""The directory of one run: what the notebook hands to the ranks, and what they leave for it.

The ranks import this too, so it imports next to nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

RUN = "RESMON_RUN"
"""The environment variable that tells a rank its run's directory."""
KEPT_RUNS = 5


class RunDirectory:
    """Names the files of a run, all of mode 0600 in a directory of mode 0700."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.payload = self.path / "payload"
        self.report = self.path / "report.json"
        self.agent_log = self.path / "launcher.log"

    @classmethod
    def make(cls) -> RunDirectory:
        """Make a new one in the user's own directory, and remove all but the newest few. Raises OSError."""
        from resmon.private_files import prepare_directory, record_directory

        home = record_directory() / "runs"
        prepare_directory(home.parent)
        prepare_directory(home)
        made = cls(home / f"{os.getpid()}-{os.urandom(4).hex()}")
        made.path.mkdir(mode=0o700)
        _prune(home, made.path)
        return made

    def log(self, rank: int) -> Path:
        """What the rank printed, standard output and standard error in one."""
        return self.path / f"rank-{rank}.log"

    def started(self, rank: int) -> Path:
        """JSON, there once the rank runs: ``pid``, ``host``."""
        return self.path / f"rank-{rank}.started"

    def result(self, rank: int) -> Path:
        """What the rank's function returned, pickled; there once it is whole."""
        return self.path / f"rank-{rank}.result"

    def failure(self, rank: int) -> Path:
        """What the rank's function raised, pickled: see :func:`resmon.distributed.payload.dump_failure`."""
        return self.path / f"rank-{rank}.failure"

    def traceback(self, rank: int) -> Path:
        """The same as a person reads it."""
        return self.path / f"rank-{rank}.traceback"

    def stacks(self, rank: int) -> Path:
        """Where the rank's threads were when it was asked."""
        return self.path / f"rank-{rank}.stacks"

    def remove_data(self) -> None:
        """Remove what was sent and what came back; logs and stacks stay."""
        for pattern in ("payload", "*.result", "*.failure", "*.part"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that is there whole or not at all. Raises OSError, having left nothing."""
    draft = path.with_name(path.name + ".part")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None while there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _prune(home: Path, newest: Path) -> None:
    """Keep the newest few runs, and those of processes that live. Two may prune at once: what is gone is no error.

    Of a run whose process was killed the output stays, as of any other, and what was sent goes: it can be large.
    """
    runs = []
    for path in home.iterdir():
        with suppress(OSError):
            if path != newest and not path.is_symlink():
                runs.append((path.stat().st_mtime, path))
    for i, (_, path) in enumerate(sorted(runs, reverse=True)):
        owner = path.name.partition("-")[0]
        lives = owner.isdigit() and _lives(int(owner))
        if i >= KEPT_RUNS - 1 and (owner == str(os.getpid()) or not lives):
            shutil.rmtree(path, ignore_errors=True)
        elif not lives:
            with suppress(OSError):
                RunDirectory(path).remove_data()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
