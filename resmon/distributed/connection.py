"""The connection file: where the notebook listens and the keys of this run, for its owner's eyes alone.

Only the file's *path* travels, in ``RESMON_CONNECTION``: an environment and a command line can be read by others and
end up in logs.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from resmon.errors import ConnectionFileError
from resmon.private_files import prepare_directory, record_directory

VARIABLE = "RESMON_CONNECTION"
"""The environment variable that holds the path of the connection file."""
VERSION = 1
MAX_BYTES = 16_384

_KEY = re.compile(r"[\x21-\x7e]{40}")
_ENDPOINT = re.compile(r"tcp://(\[[0-9a-fA-F:.%\w]+\]|[\w.-]+):\d{1,5}")
_NAME = re.compile(r"connection-(\d+)-[0-9a-f]+\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One run's way to its notebook. CURVE keys in Z85; ``client_secret`` is what a rank proves itself with."""

    run_id: str
    endpoints: tuple[str, ...]
    server_public: str
    client_public: str
    client_secret: str
    version: int = VERSION

    def __repr__(self) -> str:  # a secret shows up in no traceback and no log
        return f"<Connection {self.run_id} at {', '.join(self.endpoints)}>"


def write(connection: Connection, path: Path | None = None) -> Path:
    """Write the file (mode 0600, made anew) and return its path; by default in the user's private runtime directory.

    OSError where that cannot be done, FileExistsError where ``path`` exists.
    """
    if path is None:
        directory = record_directory()
        prepare_directory(directory)
        _prune(directory)
        path = directory / f"connection-{os.getpid()}-{os.urandom(4).hex()}.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(path, flags, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        json.dump(asdict(connection), file)
    return path.absolute()


def read(path: str | os.PathLike[str]) -> Connection:
    """Read a connection file. ConnectionFileError says what is wrong: absent, not yours, open to others, no such."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ConnectionFileError(
            f"the connection file {os.fspath(path)} cannot be read: {error.strerror or error}; "
            "it is there only while the notebook listens, and other hosts need a path that they share"
        ) from None
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise ConnectionFileError(f"{os.fspath(path)} is not a file")
        if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & 0o077):
            raise ConnectionFileError(
                f"{os.fspath(path)} is not a private file of yours (owner {info.st_uid}, mode "
                f"{info.st_mode & 0o777:o}); only a file of mode 0600 that you own is trusted"
            )
        content = file.read(MAX_BYTES + 1)
    try:
        return _parse(json.loads(content) if len(content) <= MAX_BYTES else None)
    except (ValueError, RecursionError) as error:
        raise ConnectionFileError(f"{os.fspath(path)} is no connection file: {error}") from None


def _parse(facts: object) -> Connection:
    if not isinstance(facts, Mapping):
        raise ValueError("it holds no JSON object of a connection")  # noqa: TRY004 - the file is wrong, not the caller
    if facts.get("version") != VERSION:
        raise ValueError(f"it is of version {facts.get('version')!r}, this resmon reads version {VERSION}")
    endpoints = facts.get("endpoints")
    if not isinstance(endpoints, list) or not 1 <= len(endpoints) <= 8:
        raise ValueError("endpoints must be a list of 1 to 8 addresses")
    for endpoint in endpoints:
        if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
            raise ValueError(f"{endpoint!r} is no tcp:// address with a port")
    texts: dict[str, str] = {}
    for name in ("run_id", "server_public", "client_public", "client_secret"):
        value = facts.get(name)
        if not isinstance(value, str) or not (value if name == "run_id" else _KEY.fullmatch(value)):
            raise ValueError(f"{name} is missing or not what it should be")
        texts[name] = value
    return Connection(
        run_id=texts["run_id"],
        endpoints=tuple(endpoints),
        server_public=texts["server_public"],
        client_public=texts["client_public"],
        client_secret=texts["client_secret"],
    )


def _prune(directory: Path) -> None:
    """Take away what kernels left behind that were killed."""
    for path in directory.glob("connection-*.json"):
        found = _NAME.fullmatch(path.name)
        if found is not None and not _alive(int(found[1])):
            with suppress(OSError):
                path.unlink()


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere signal 0 is no question
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
