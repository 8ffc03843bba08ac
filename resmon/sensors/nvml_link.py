"""The monitor's end of the helper process that reads the GPUs: starting it, and packets without the lock given up.

``socket.send`` and ``recv`` release the interpreter lock even where they cannot block, and beside busy Python code each
call then waits for it (see :mod:`resmon.sensors.linux_files`). So the C functions are called directly, told not to
wait. Linux only: packets that keep their borders (``SOCK_SEQPACKET``) on a pair of sockets.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import socket
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from resmon.sensors.nvml_wire import BEGUN, PACKET_BYTES

BEGIN_S: Final = 10.0
"""How long a helper may take to say that it is there."""
_SEND_BUFFER_BYTES: Final = 1 << 20
_LIBRARY: Final = "libnvidia-ml.so.1"
_PROGRAM: Final = """\
import os, sys
if os.fork():
    os._exit(0)
sys.path += sys.argv[4:]
if sys.argv[3]:
    import ctypes
    ctypes.CDLL(sys.argv[3])
from resmon.sensors.nvml_helper import main
main()
"""
"""``argv[3]`` is the driver's library where this process has it from: by its soname it is then found there too.
The first process ends at once, so that the helper is nobody's child: a program may wait for all *its* children."""


class NoHelperError(Exception):
    """No helper process could be started; the text says why."""


def why_not_here() -> str:
    """Why no helper can be started in this process; empty where it can."""
    if sys.platform != "linux":
        return "a helper process is used on Linux only"
    if getattr(sys, "frozen", False) or "python" not in Path(sys.executable or "").name:
        return f"no Python interpreter to start: sys.executable is {sys.executable!r}"
    return ""


def driver_library_loads() -> bool:
    """Whether the driver's library is installed. Loads it, and calls nothing in it."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def _library_here() -> str:
    """The file that this process has the driver's library from; empty where it has none, or the system hides it."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = (line.split(maxsplit=5)[-1] for line in maps if "libnvidia-ml.so" in line)
    return next((path for path in found if path.startswith("/") and Path(path).is_file()), "")


class Link:
    """One helper process and the socket to it; ``ended`` once that says that no more will come.

    ``send`` and ``close`` from any thread, the rest from one. A forked child's copy is closed by itself.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.ended = False
        self._lock = threading.Lock()
        _links.add(self)
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._descriptor = self._near.fileno()
        libc = ctypes.PyDLL(None, use_errno=True)
        self._libc_send, self._libc_recv = libc.send, libc.recv
        self._room = ctypes.create_string_buffer(PACKET_BYTES)

    @classmethod
    def start(cls, options: Mapping[str, Any]) -> Link:
        """Start a helper whose sensor has these options, and wait until it is there. Raises NoHelperError."""
        import subprocess  # a machine without a driver does not pay for it

        folders = dict.fromkeys(_folder_of(name) for name in ("resmon", "pynvml"))
        flags = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
        if sys.pycache_prefix:
            flags += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
        words = [
            sys.executable,
            *flags,
            "-c",
            _PROGRAM,
            str(os.getpid()),
            json.dumps(dict(options)),
            _library_here(),
            *folders,
        ]
        link = cls()
        try:
            link._far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            code = subprocess.run(
                words,
                stdin=link._far.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # neither Ctrl+C nor the end of a kernel's process group is meant for it
                timeout=BEGIN_S,
                check=False,
            ).returncode
        except (OSError, subprocess.SubprocessError) as error:
            link.close()
            raise NoHelperError(f"the helper process could not be started: {error}") from error
        if code:
            link.close()
            raise NoHelperError(f"the helper process ended at once, with exit code {code}")
        link._far.close()
        link.wait(BEGIN_S)
        packet = link.receive()
        if packet is None or packet[:1] != BEGUN:
            how = "ended" if link.ended else "did not begin in time"
            link.close()
            raise NoHelperError(f"the helper process {how}")
        link.pid = int(packet[1:])
        return link

    def send(self, packet: bytes, patience_s: float = 0.001) -> bool:
        """Send without waiting for room; False where there is none, or nobody to take it.

        Only another thread that is sending or closing this very link is waited for, at most ``patience_s``.
        """
        if not self._lock.acquire(timeout=patience_s):
            return False
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            return self._descriptor >= 0 and self._libc_send(self._descriptor, packet, len(packet), flags) >= 0
        finally:
            self._lock.release()

    def receive(self) -> bytes | None:
        """The next packet, if one is here; None otherwise, and with ``ended`` true where no more will come."""
        if self._descriptor < 0:
            return None
        count = self._libc_recv(self._descriptor, self._room, PACKET_BYTES, socket.MSG_DONTWAIT)
        if count > 0:
            return ctypes.string_at(self._room, count)
        if count == 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            self.ended = True
        return None

    def wait(self, for_s: float) -> None:
        """Wait until a packet is here, or the helper ended, or that time has passed."""
        waiting = select.poll()
        with suppress(OSError, ValueError):  # closed meanwhile: there is nothing to wait for
            waiting.register(self._descriptor, select.POLLIN)
            waiting.poll(max(0.0, 1000 * for_s))

    def close(self) -> None:
        """Let the helper go: it ends at once. Idempotent."""
        with self._lock:
            self._descriptor = -1
            self.ended = True
            self._near.close()
            self._far.close()

    def after_fork(self) -> None:
        """In a forked child: whoever held the lock is not here, and the helper is the parent's."""
        self._lock = threading.Lock()
        if hasattr(self, "_far"):  # else the fork came before the sockets
            self.close()


def _folder_of(module: str) -> str:
    """Where a module is found. Raises NoHelperError where it lies in no folder."""
    found = find_spec(module)
    origin = None if found is None else found.origin
    if found is None or origin is None or not os.path.isfile(origin):
        raise NoHelperError(f"{module} is not found in a folder that a helper process could use")
    return os.path.dirname(os.path.dirname(origin) if found.submodule_search_locations else origin)


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for link in tuple(_links):
        link.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
