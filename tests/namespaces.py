"""Several hosts on one machine: network namespaces of the test's own, joined by virtual cables to a switch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

PATH = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
IP = shutil.which("ip", path=PATH)


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    assert IP is not None
    return subprocess.run([IP, *words], check=check, capture_output=True, text=True, timeout=30)


class Hosts:
    """Hosts by name, each with its address in 10.99.0.0/24. The first holds the switch."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._prefix = f"resmon{os.getpid()}"

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self._prefix}-{name}"

    def address(self, name: str) -> str:
        return f"10.99.0.{self.names.index(name) + 1}"

    def command(self, name: str, *words: str) -> list[str]:
        """The same command on that host, with its host name."""
        assert IP is not None
        inside = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *words]
        return [IP, "netns", "exec", self.space(name), *inside]

    def build(self) -> None:
        hub = self.space(self.names[0])
        for name in self.names:
            _ip("netns", "add", self.space(name))
            _ip("-n", self.space(name), "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "switch", "type", "bridge")
        _ip("-n", hub, "addr", "add", f"{self.address(self.names[0])}/24", "dev", "switch")
        _ip("-n", hub, "link", "set", "switch", "up")
        for name in self.names[1:]:
            space = self.space(name)
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", hub)
            _ip("-n", hub, "link", "set", f"to-{name}", "master", "switch", "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def cut_off(self, name: str) -> None:
        """Pull the cable of a host."""
        _ip("-n", self.space(self.names[0]), "link", "set", f"to-{name}", "down")

    def plug_in(self, name: str) -> None:
        _ip("-n", self.space(self.names[0]), "link", "set", f"to-{name}", "up")

    def remove(self) -> None:
        for name in self.names:
            listed = _ip("netns", "pids", self.space(name), check=False)
            for pid in listed.stdout.split():
                subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
            _ip("netns", "del", self.space(name), check=False)


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Hosts that can reach each other; skips the test where the machine permits no namespaces."""
    if IP is None or shutil.which("unshare") is None:
        pytest.skip("needs iproute2 and unshare")
    found = Hosts(names)
    try:
        try:
            found.build()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine permits no network namespaces: {error.stderr.strip()}")
        yield found
    finally:
        found.remove()
