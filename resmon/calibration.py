"""What is known of single boards: how their counter moves, and their gain where a person compared it with a meter.

The first is learnt by resmon and lies in the user's cache; losing it costs nothing but learning it again. The second
comes in a file that somebody wrote (:mod:`resmon.calibration_reading`), changes joules, and is therefore named in every
result that it touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import io
import json
import math
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resmon.energy.edges import Calibration
from resmon.energy.intervals import Z_95
from resmon.private_files import xdg_directory
from resmon.results import EnergyComponent

STORE_VERSION: Final = 1
KEEP_BOARDS: Final = 64
MAX_STORED_BYTES: Final = 4096
MOST: Final = 1e9
"""No period in seconds, count or ratio that was learnt is more."""


def cache_directory() -> Path:
    """The user's own cache directory for resmon; a network home will do, for what lies there is small."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "resmon" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "resmon"
    return (xdg_directory("XDG_CACHE_HOME") or Path.home() / ".cache") / "resmon"


# ------------------------------------------------------------- how counters move, kept between sessions


class CalibrationStore:
    """Keeps what was learnt of each board's counter, by its UUID and the version of its driver.

    One small file per board and driver, replaced as a whole, so that kernels that write at once do not spoil each
    other's; the newest ``KEEP_BOARDS`` stay. Nothing here raises for the state of the disk: ``notice`` says what went
    wrong last. Both calls touch the disk and may wait for a network home: never on the sampler's tick.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_directory()
        self.notice = ""

    def _path(self, uuid: str, driver: str) -> Path:
        name = hashlib.sha256(json.dumps([uuid, driver]).encode()).hexdigest()[:32]
        return self.directory / f"counter-{name}.json"

    def load(self, uuid: str, driver: str) -> Calibration | None:
        """What was saved of this board with this driver; None where nothing usable was."""
        path = self._path(uuid, driver)
        try:
            content = read_plain_file(path, MAX_STORED_BYTES, own=True)
            return _stored(json.loads(content), uuid, driver)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self.notice = f"the counter's calibration in {path} is ignored: {error}"
            return None

    def save(self, uuid: str, driver: str, calibration: Calibration) -> None:
        """Keep it in place of what was known; one that rests on too few periods is not kept."""
        if not calibration.known:
            return
        facts = {"resmon_counter": STORE_VERSION, "uuid": uuid, "driver": driver, **dataclasses.asdict(calibration)}
        path = self._path(uuid, driver)
        new = path.with_name(f"{path.stem}-{os.getpid()}-{os.urandom(4).hex()}.new")
        try:
            self._prepare()
            try:
                descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(json.dumps(facts).encode())
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
            self._prune()
        except OSError as error:
            self.notice = f"the counter's calibration was not kept: {error}"

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = self.directory.lstat()
        if not stat.S_ISDIR(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
            raise OSError(f"{self.directory} is not a directory of yours")
        self.directory.chmod(0o700)

    def _prune(self) -> None:
        """Keep the newest files. Two kernels may prune at once: a file that is already gone is no error."""
        files = []
        for path in self.directory.glob("counter-*"):
            with contextlib.suppress(FileNotFoundError):
                files.append((path.lstat().st_mtime, path))
        for _, path in sorted(files, reverse=True)[KEEP_BOARDS:]:
            path.unlink(missing_ok=True)


def _stored(facts: Any, uuid: str, driver: str) -> Calibration:
    if not isinstance(facts, dict):
        raise TypeError("it is no object")
    version = facts.pop("resmon_counter", None)
    if version != STORE_VERSION:
        raise ValueError(f"it has version {version!r}, this resmon reads {STORE_VERSION}")
    if (facts.pop("uuid", None), facts.pop("driver", None)) != (uuid, driver):
        raise ValueError("it is of another board or driver")
    for name, value in facts.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise TypeError(f"{name} is no number")
        if value is not None and not 0 <= value < MOST:
            raise ValueError(f"{name} is {value!r:.40}")
    if not isinstance(facts.get("steps"), int):
        raise TypeError("steps is no whole number")
    calibration = Calibration(**facts)
    if not calibration.known:
        raise ValueError(f"it rests on {calibration.steps} periods")
    return calibration


# ------------------------------------------------------------- the gain of a board, against a meter


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCalibration:
    """The gain of one board: what its sensor says over what a meter says, with the standard uncertainty (1 sigma).

    Read by :func:`resmon.calibration_reading.read_board_calibration` from a file whose SHA-256 is ``sha256``.
    """

    uuid: str
    gain: float
    gain_sigma: float
    source: str
    date: dt.date
    sha256: str

    @property
    def gain_error(self) -> float:
        """The relative gain error that remains, at one sigma."""
        return self.gain_sigma / self.gain

    @property
    def note(self) -> str:
        """What stands in every result that it touched."""
        return (
            f"divided by the board's own gain {self.gain:g} ± {self.gain_sigma:g} "
            f"({self.source}, {self.date.isoformat()}; calibration {self.sha256[:12]})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCalibrations:
    """The boards of one calibration file, with the file's SHA-256 in hexadecimal digits."""

    path: str
    sha256: str
    boards: tuple[BoardCalibration, ...]

    def board(self, uuid: str | None) -> BoardCalibration | None:
        """The calibration of the board with this UUID; None where the file has none."""
        wanted = uuid.casefold() if uuid else None
        return next((board for board in self.boards if board.uuid.casefold() == wanted), None)


def apply_gain(component: EnergyComponent, board: BoardCalibration, *, gain_error: float = 0.05) -> EnergyComponent:
    """The component with the board's gain divided out, the gain's part of its interval replaced, and a note of both.

    ``gain_error`` is the relative gain error (1 sigma) in the interval so far, :attr:`EnergySource.gain_error`. The
    parts of an interval are independent, so each half-width ``u`` around the energy ``E`` becomes
    ``sqrt(u² - (1.96·gain_error·E)² + (1.96·board.gain_error·E)²) / gain`` (JCGM 100:2008, 5.1.2), where of ``E`` only
    what the counter counted (``coverage``) has a gain. The bounds of an estimate are no such sum: they are divided by
    the gain and stay as wide. ``claim`` stays: it says which joules of the device's counter these are.

    Raises ValueError for a model's component, which no sensor's gain is in, and for a negative ``gain_error``.
    """
    if component.method == "model":
        raise ValueError(f"{component.device} was modelled: the gain of a board's sensor is not in it")
    if not 0 <= gain_error < math.inf:
        raise ValueError(f"gain_error must be a finite number of at least 0, not {gain_error!r}")
    energy_j, low_j, high_j = component.energy_j, component.low_j, component.high_j
    left_error = component.gain_error
    if component.basis == "measured":
        left_error = board.gain_error
        counted_j = Z_95 * energy_j * component.coverage
        change_j2 = (board.gain_error * counted_j) ** 2 - (gain_error * counted_j) ** 2
        low_j = energy_j - math.sqrt(max(0.0, (energy_j - low_j) ** 2 + change_j2))
        high_j = energy_j + math.sqrt(max(0.0, (high_j - energy_j) ** 2 + change_j2))
    return dataclasses.replace(
        component,
        energy_j=energy_j / board.gain,
        low_j=max(0.0, low_j / board.gain),
        high_j=high_j / board.gain,
        gain_error=left_error,
        note="; ".join(filter(None, [component.note, board.note])),
    )


def read_plain_file(path: Path, max_bytes: int, *, own: bool = False) -> bytes:
    """The content of a plain file, with ``own`` only of the user's own and not through a link.

    Raises OSError, and ValueError for one that is no such file or larger than ``max_bytes``.
    """
    # Without O_NONBLOCK a named pipe would wait for a writer.
    extra = getattr(os, "O_NONBLOCK", 0) | (getattr(os, "O_NOFOLLOW", 0) if own else 0)
    with (
        io.FileIO(path, opener=lambda name, flags: os.open(name, flags | extra)) as raw,
        io.BufferedReader(raw) as file,
    ):
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("not a plain file")
        if own and hasattr(os, "getuid") and info.st_uid != os.getuid():
            raise ValueError("not a file of yours")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    return content
