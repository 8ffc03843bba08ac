"""What this process may really use: the smallest of the cgroup chain, Slurm, the affinity mask and the machine.

A limit of a cgroup holds for everything below it, so the whole chain up to the root is read, in both versions of the
cgroup interface (``memory.max``/``cpu.max`` and ``memory.limit_in_bytes``/``cpu.cfs_quota_us``). ``memory.high`` is no
limit: it slows a group down and lets it pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resmon.facts import Limits

Slurp = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The limits and, where a cgroup sets them, the files that tell what is used under the same limit.

    ``cpu_usage`` counts the CPU time in units of ``cpu_usage_unit_s``; in version 2 it is the line ``usage_usec`` of
    ``cpu.stat``. ``memory_usage`` and ``memory_stat`` are the bytes in use and their breakdown.
    """

    limits: Limits
    cpu_usage: str | None = None
    cpu_usage_unit_s: float = 1e-6
    memory_usage: str | None = None
    memory_stat: str | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """One directory of the chain, with the files that exist in it."""

    version: int
    path: str
    usage_path: str

    @property
    def source(self) -> str:
        return "slurm" if "slurm" in self.path else "cgroup"


class LimitsReader:
    """Finds the cgroups of a process once and reads their limits whenever asked. One thread at a time.

    ``process`` is the process's directory in /proc under ``root``. Nothing raises: a file that cannot be read sets no
    limit.
    """

    def __init__(self, *, root: str, process: str, slurp: Slurp, environ: Mapping[str, str]) -> None:
        self._root = root.rstrip("/")
        self._process = process
        self._slurp = slurp
        self._environ = environ
        self._membership: bytes | None = None
        self._memory: tuple[_Group, ...] = ()
        self._cpu: tuple[_Group, ...] = ()

    def read(self, *, machine_cores: int, machine_memory_bytes: int, affinity_cores: int | None) -> InForce:
        """The smallest limits now. The sources name who sets them; where two are equal, the wider one is named."""
        membership = self._slurp(f"{self._process}/cgroup")
        if membership != self._membership:
            self._membership = membership
            self._find_groups(membership)
        cores, cpu_source, cpu_group = float(machine_cores), "machine", None
        if affinity_cores is not None and 0 < affinity_cores < cores:
            cores, cpu_source = float(affinity_cores), "affinity"
        for group in self._cpu:
            quota = self._cpu_quota(group)
            if quota is not None and quota < cores:
                cores, cpu_source, cpu_group = quota, group.source, group
        slurm_cores = _slurm_cores(self._environ)
        if slurm_cores is not None and slurm_cores < cores:
            cores, cpu_source, cpu_group = slurm_cores, "slurm", None

        memory, memory_source, memory_group = machine_memory_bytes, "machine", None
        for group in self._memory:
            limit = self._memory_limit(group)
            if limit is not None and limit < memory:
                memory, memory_source, memory_group = limit, group.source, group
        slurm_memory = _slurm_memory_bytes(self._environ)
        if slurm_memory is not None and slurm_memory < memory:
            memory, memory_source, memory_group = slurm_memory, "slurm", None

        return InForce(
            limits=Limits(cpu_cores=cores, memory_bytes=memory, cpu_source=cpu_source, memory_source=memory_source),
            cpu_usage=cpu_group.usage_path if cpu_group else None,
            cpu_usage_unit_s=1e-9 if cpu_group and cpu_group.version == 1 else 1e-6,
            memory_usage=memory_group.usage_path if memory_group else None,
            memory_stat=f"{memory_group.path}/memory.stat" if memory_group else None,
        )

    def memory_pressure_files(self) -> list[str]:
        """The files that tell how long processes waited for memory: first of the process's own cgroup, then wider ones.

        Version 2 of the cgroup interface alone has them; last comes that of the whole machine. Any may be missing.
        """
        groups = self._chains(self._slurp(f"{self._process}/cgroup"))[1]("")
        return [*(f"{path}/memory.pressure" for path in groups), f"{self._root}/proc/pressure/memory"]

    def _chains(self, membership: bytes) -> tuple[dict[str, tuple[str, str]], Callable[[str], list[str]]]:
        """Where controllers are mounted, and the directories of one (``""`` for version 2), the nearest first."""
        places = _mounts(self._slurp(f"{self._process}/mountinfo").decode("utf-8", "surrogateescape"))
        paths: dict[str, str] = {}
        for line in membership.decode("utf-8", "surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path

        def chain(controller: str) -> list[str]:
            if controller not in places or controller not in paths:
                return []
            return _chain(self._root, *places[controller], paths[controller])

        return places, chain

    def _find_groups(self, membership: bytes) -> None:
        places, chain = self._chains(membership)
        version2 = chain("")
        cpu_mount, cpu_time_mount = (places.get(name, ("", ""))[0] for name in ("cpu", "cpuacct"))

        def cpu_time(path: str) -> str:
            start = len(self._root + cpu_mount)  # the two controllers are mounted together, or side by side
            return f"{self._root}{cpu_time_mount or cpu_mount}{path[start:]}/cpuacct.usage"

        self._memory = tuple(
            [_Group(2, path, f"{path}/memory.current") for path in version2]
            + [_Group(1, path, f"{path}/memory.usage_in_bytes") for path in chain("memory")]
        )
        self._cpu = tuple(
            [_Group(2, path, f"{path}/cpu.stat") for path in version2]
            + [_Group(1, path, cpu_time(path)) for path in chain("cpu")]
        )
        self._memory = tuple(g for g in self._memory if self._memory_limit(g, unlimited=0) is not None)
        self._cpu = tuple(g for g in self._cpu if self._slurp(self._cpu_quota_file(g)))

    def _memory_limit(self, group: _Group, unlimited: int | None = None) -> int | None:
        name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
        content = self._slurp(f"{group.path}/{name}").strip()
        if content == b"max":
            return unlimited
        return int(content) if content.isdigit() else None

    @staticmethod
    def _cpu_quota_file(group: _Group) -> str:
        return f"{group.path}/{'cpu.max' if group.version == 2 else 'cpu.cfs_quota_us'}"

    def _cpu_quota(self, group: _Group) -> float | None:
        words = self._slurp(self._cpu_quota_file(group)).split()
        if group.version == 1:
            words += self._slurp(f"{group.path}/cpu.cfs_period_us").split()
        if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
            return None  # "max", -1, or a file that went away
        return int(words[0]) / int(words[1])


def _mounts(mountinfo: str) -> dict[str, tuple[str, str]]:
    """Where each controller (``""`` for version 2) is mounted, and which part of its tree."""
    places: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if kind[0] == "cgroup2":
            places.setdefault("", (_unescape(fields[4]), _unescape(fields[3])))
        elif kind[0] == "cgroup":
            for controller in kind[2].split(","):
                places.setdefault(controller, (_unescape(fields[4]), _unescape(fields[3])))
    return places


def _chain(root: str, mount: str, part: str, path: str) -> list[str]:
    """The directories from the cgroup ``path`` up to what is mounted of its tree, the nearest first."""
    if part != "/" and (path == part or path.startswith(f"{part}/")):
        path = path[len(part) :]
    elif part != "/" or ".." in path:
        path = ""  # outside what is mounted here: only the mount itself can be seen
    base = f"{root}{mount}".rstrip("/")
    names = [name for name in path.split("/") if name]
    return ["/".join([base, *names[:depth]]) for depth in range(len(names), -1, -1)]


def inactive_file_bytes(memory_stat: bytes) -> int:
    """The file cache that the kernel drops first, of a cgroup's ``memory.stat``; 0 where it does not tell."""
    for name in (b"\ntotal_inactive_file ", b"\ninactive_file "):
        at = memory_stat.find(name)
        if at >= 0:
            return int(memory_stat[at + len(name) :].split(None, 1)[0])
    return 0


def _unescape(path: str) -> str:
    """The kernel writes blanks in a mount's path as octal numbers."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _slurm_cores(environ: Mapping[str, str]) -> float | None:
    """CPUs of this task, else of this job's share of the node, as Slurm's sbatch manual names the variables."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        value = environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return float(value)
    return None


def _slurm_memory_bytes(environ: Mapping[str, str]) -> int | None:
    """Memory of this job on the node in bytes; Slurm gives MiB, and 0 for all there is."""
    per_node = environ.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit() and int(per_node) > 0:
        return int(per_node) << 20
    per_cpu, cpus = environ.get("SLURM_MEM_PER_CPU", ""), environ.get("SLURM_CPUS_ON_NODE", "")
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu) and int(cpus):
        return int(per_cpu) * int(cpus) << 20
    return None
