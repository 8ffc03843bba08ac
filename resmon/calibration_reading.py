"""Reading a board's calibration that a person wrote: refused with file, place and reason, within bounded memory."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from resmon.calibration import BoardCalibration, BoardCalibrations, read_plain_file
from resmon.errors import CalibrationError

VERSION: Final = 1
MAX_BYTES: Final = 2**20
MAX_BOARDS: Final = 4096
MAX_TEXT: Final = 200
GAIN_RANGE: Final = (0.5, 2.0)
"""A gain beyond is a slip (per cent, a meter on several boards), not a board: published gains are within 11 % of 1."""

_BOARD: Final = re.compile(r"boards\[(\d+)\]")
_UUID: Final = re.compile(r"GPU-[!-~]{1,96}")


def read_board_calibration(path: str | Path) -> BoardCalibrations:
    """The boards of a calibration file, whose format is in ``docs/calibration.md``.

    Raises :class:`~resmon.errors.CalibrationError` naming the file, the place in it and the reason.
    """
    name = str(path)
    try:
        content = read_plain_file(Path(path), MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CalibrationError(f"{name}: {reason}") from None
    return _File(name, hashlib.sha256(content).hexdigest()).read(content)


class _File:
    """Takes one calibration file apart; ``fail`` names the file, the line of a board, and the place."""

    def __init__(self, name: str, sha256: str) -> None:
        self.name = name
        self.sha256 = sha256
        self.text = ""

    def fail(self, place: str, reason: str) -> NoReturn:
        board = _BOARD.match(place)
        line = None if board is None else _line_of_board(self.text, int(board[1]))
        if line is not None:
            place = f"line {line}, {place}"
        raise CalibrationError(f"{self.name}, {place}: {reason}" if place else f"{self.name}: {reason}")

    def read(self, content: bytes) -> BoardCalibrations:
        value = self._json(content)
        if not isinstance(value, dict) or "resmon_calibration" not in value:
            self.fail("", 'no calibration: it starts {"resmon_calibration": 1, "boards": [...]}')
        version = value["resmon_calibration"]
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            self.fail("resmon_calibration", f"the version is a whole number of at least 1, not {reprlib.repr(version)}")
        if version > VERSION:
            self.fail("resmon_calibration", f"written for a newer resmon (version {version}, this reads {VERSION})")
        self._keys("", value, {"resmon_calibration", "boards"})
        rows = value["boards"]
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_BOARDS:
            self.fail("boards", f"a list of 1 to {MAX_BOARDS} boards is wanted, not {reprlib.repr(rows)}")
        return BoardCalibrations(path=self.name, sha256=self.sha256, boards=self._boards(rows))

    def _json(self, content: bytes) -> Any:
        try:
            self.text = content.decode("utf-8-sig")
            # NaN, infinity and endless numbers are refused where they stand, by what is wanted there.
            return json.loads(self.text, parse_constant=float, parse_int=_whole, object_pairs_hook=self._once)
        except CalibrationError:
            raise
        except RecursionError:
            self.fail("", "nested too deeply")
        except json.JSONDecodeError as error:
            self.fail(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg}")
        except ValueError as error:
            self.fail("", f"not JSON: {error}")

    def _boards(self, rows: list[Any]) -> tuple[BoardCalibration, ...]:
        boards: dict[str, BoardCalibration] = {}
        for number, row in enumerate(rows):
            board = self._board(f"boards[{number}]", row)
            if boards.setdefault(board.uuid.casefold(), board) is not board:
                self.fail(f"boards[{number}].uuid", f"{board.uuid} is there twice")
        return tuple(boards.values())

    def _board(self, place: str, row: Any) -> BoardCalibration:
        if not isinstance(row, dict):
            self.fail(place, f"an object is wanted, not {reprlib.repr(row)}")
        self._keys(place, row, {"uuid", "gain", "gain_sigma", "source", "date"})
        uuid, date = self._text(place, row, "uuid"), self._text(place, row, "date")
        if not _UUID.fullmatch(uuid):
            self.fail(
                f"{place}.uuid",
                f"a GPU's UUID as `nvidia-smi -L` prints it is wanted (GPU-…), not {reprlib.repr(uuid)}",
            )
        gain = self._number(place, row, "gain")
        if not GAIN_RANGE[0] <= gain <= GAIN_RANGE[1]:
            self.fail(
                f"{place}.gain", f"a factor from {GAIN_RANGE[0]} to {GAIN_RANGE[1]} is wanted, not {reprlib.repr(gain)}"
            )
        sigma = self._number(place, row, "gain_sigma")
        if not 0 < sigma < gain:
            self.fail(f"{place}.gain_sigma", f"above 0 and below the gain is wanted, not {reprlib.repr(sigma)}")
        try:
            day = dt.date.fromisoformat(date)
        except ValueError:
            day = None
        if day is None or day.isoformat() != date:
            self.fail(f"{place}.date", f"a day such as 2026-10-01 is wanted, not {reprlib.repr(date)}")
        source = self._text(place, row, "source")
        return BoardCalibration(uuid=uuid, gain=gain, gain_sigma=sigma, source=source, date=day, sha256=self.sha256)

    def _keys(self, place: str, row: Mapping[str, Any], wanted: set[str]) -> None:
        for key in sorted(wanted - row.keys()):
            self.fail(place, f"{key} is missing")
        for key in row.keys() - wanted:
            self.fail(place, f"{reprlib.repr(key)} is not known; known are {', '.join(sorted(wanted))}")

    def _number(self, place: str, row: Mapping[str, Any], key: str) -> float:
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(f"{place}.{key}", f"a number is wanted, not {reprlib.repr(value)}")
        return float(value)

    def _text(self, place: str, row: Mapping[str, Any], key: str) -> str:
        value = row[key]
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
            self.fail(
                f"{place}.{key}", f"a line of 1 to {MAX_TEXT} printable characters is wanted, not {reprlib.repr(value)}"
            )
        return value.strip()

    def _once(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self.fail(
                "", f"{reprlib.repr(next(key for key in keys if keys.count(key) > 1))} is there twice in one object"
            )
        return found


def _whole(text: str) -> float:
    """A whole number of JSON; one that no value of such a file can be as a float, infinite where it has to be."""
    return int(text) if len(text) <= 18 else float(text)


def _line_of_board(text: str, number: int) -> int | None:
    """The line on which a board begins, of text that is JSON; None where it cannot be told."""
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,]*")
    try:
        at = text.index("[", text.index('"boards"')) + 1
        for i in range(number + 1):
            skipped = space.match(text, at)
            at = skipped.end() if skipped else at
            if i < number:
                at = decoder.raw_decode(text, at)[1]
    except ValueError:
        return None
    return text.count("\n", 0, at) + 1
