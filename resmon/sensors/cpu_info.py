"""Which CPU this is: its model string and shape."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuInfo:
    """The CPU as the system shows it. ``virtual`` where a hypervisor may hide the true model and shape.

    ``threads_per_core`` is None where it cannot be known.
    """

    model: str
    threads: int
    sockets: int = 1
    threads_per_core: int | None = None
    virtual: bool = False


def read_cpu_info(root: str = "/") -> CpuInfo:
    """The CPU of this machine, on Linux from ``/proc/cpuinfo`` under ``root``. Never raises."""
    if platform.system() == "Linux":
        try:
            return parse_cpuinfo(Path(root, "proc/cpuinfo").read_text("utf-8", "replace"))
        except OSError:
            return CpuInfo(model="", threads=os.cpu_count() or 1, virtual=True)
    model = platform.processor() or platform.machine()
    if platform.system() == "Darwin":
        model = _mac_model() or model
    return CpuInfo(model=model, threads=os.cpu_count() or 1)


def _mac_model() -> str:
    import subprocess  # a fifth of the time of `import resmon`, and used on one system

    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def parse_cpuinfo(text: str) -> CpuInfo:
    """Read the text of ``/proc/cpuinfo``. On ARM it names no model: the machine type stands for it."""
    model, threads, virtual = "", 0, False
    sockets: set[str] = set()
    siblings = cores = 0
    for line in text.splitlines():
        key, _, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if key == "processor":
            threads += 1
        elif key in ("model name", "cpu model", "Model") and not model:
            model = value
        elif key == "physical id":
            sockets.add(value)
        elif key == "siblings" and value.isdigit():
            siblings = int(value)
        elif key == "cpu cores" and value.isdigit():
            cores = int(value)
        elif key == "flags":
            virtual = virtual or "hypervisor" in value.split()
    return CpuInfo(
        model=" ".join(model.split()) or platform.machine(),
        threads=max(1, threads),
        sockets=max(1, len(sockets)),
        threads_per_core=siblings // cores if siblings and cores else None,
        virtual=virtual,
    )
