"""The user's own directory for what resmon keeps while it runs: on a local disk, closed to others."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path


def record_directory() -> Path:
    """The user's own directory for records, on a local disk where there is one.

    ``RESMON_RECORD_DIR`` overrides it; then ``XDG_RUNTIME_DIR``; then the user's cache or state directory.
    """
    chosen = os.environ.get("RESMON_RECORD_DIR")
    if chosen:
        return Path(chosen)
    runtime = xdg_directory("XDG_RUNTIME_DIR")
    if runtime is not None and runtime.is_dir():
        return runtime / "resmon"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "resmon"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "resmon"
    return (xdg_directory("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "resmon"


def xdg_directory(variable: str) -> Path | None:
    """What an XDG variable names; None where it is unset, or empty or relative, which counts as unset there."""
    path = Path(os.environ.get(variable) or ".")
    return path if path.is_absolute() else None


_NETWORK_FILESYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "ceph",
    "glusterfs",
    "afs",
    "gpfs",
    "beegfs",
    "fuse.sshfs",
}


def network_filesystem(path: Path) -> str | None:
    """The kind of network file system that holds ``path``, or None; only Linux can tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return None
    best, kind = "", ""
    real = os.path.realpath(path)
    for line in mounts:
        fields = line.split(" ")
        if len(fields) > 2:
            place = fields[1].replace("\\040", " ")
            inside = real == place or real.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best):
                best, kind = place, fields[2]
    return kind if kind in _NETWORK_FILESYSTEMS else None


def prepare_directory(directory: Path) -> None:
    """Make it, closed to others, if it is not there.

    One that was there stays as it is: it may be of use to others too, and what is written into it is closed by itself.
    Raises OSError where it is not local, not the user's, or where anybody may replace what lies in it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    network = network_filesystem(directory)
    if network:
        raise OSError(
            f"{directory} is on a network file system ({network}); set RESMON_RECORD_DIR to a local directory"
        )
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
        raise OSError(f"{directory} is not a directory of yours; set RESMON_RECORD_DIR to one")
    if hasattr(os, "getuid") and info.st_mode & stat.S_IWOTH:
        raise OSError(f"{directory} can be written by everybody; set RESMON_RECORD_DIR to a directory of your own")
