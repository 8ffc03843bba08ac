"""A root directory with the kernel files that a test wants: written by the test, read by the sensors."""

from __future__ import annotations

from pathlib import Path

V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "40 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)
GIB = 1 << 30


def write(root: Path, files: dict[str, object]) -> None:
    """Write files, in place where they exist: a kept descriptor sees the new content."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}")


def open_to_others(root: Path) -> None:
    """Let every user read what is below ``root``: pytest's own folders are closed to others."""
    for folder in (root, *root.parents):
        if "pytest" in folder.name or folder == root:
            folder.chmod(folder.stat().st_mode | 0o055)


def cpu_lines(*cores: tuple[int, int], processes: int = 100) -> str:
    """``/proc/stat`` of cores given as (busy, idle) ticks."""
    busy, idle = sum(core[0] for core in cores), sum(core[1] for core in cores)
    lines = [f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0"]
    lines += [f"cpu{i} {core[0]} 0 0 {core[1]} 0 0 0 0 0 0" for i, core in enumerate(cores)]
    return "\n".join([*lines, "intr 5 0 0", "ctxt 1", "btime 1", f"processes {processes}", "procs_running 1", ""])


def process_files(
    pid: int | str,
    *,
    parent: int = 1,
    number: int | None = None,
    resident: int = 1000,
    shared: int = 0,
    ticks: int = 0,
    waited: int = 0,
    state: str = "S",
    started: int = 1,
    children: str = "",
) -> dict[str, object]:
    """The files of one process; ``pid`` names its directory."""
    name = number if number is not None else pid
    fields = [state, parent, *[0] * 9, ticks, 0, waited, 0, 20, 0, 1, 0, started, 0, 0]
    return {
        f"proc/{pid}/statm": f"{resident * 2} {resident} {shared} 1 0 1 0\n",
        f"proc/{pid}/stat": f"{name} (a) name) {' '.join(map(str, fields))}\n",
        f"proc/{pid}/task/{name}/children": children,
    }


def machine(root: Path, *, cores: int = 4, memory_bytes: int = 8 * GIB, available_bytes: int = 6 * GIB) -> Path:
    """A quiet machine with one process, whose directory is ``proc/self``, in no cgroup."""
    write(
        root,
        {
            "proc/stat": cpu_lines(*[(0, 0)] * cores),
            "proc/meminfo": f"MemTotal: {memory_bytes >> 10} kB\nMemAvailable:   {available_bytes >> 10} kB\n",
            "proc/loadavg": "0.50 0.40 0.30 1/100 1234\n",
            "proc/self/cgroup": "",
            "proc/self/mountinfo": "",
            "proc/self/statm": "2000 1000 100 1 0 1 0\n",
        },
    )
    return root
