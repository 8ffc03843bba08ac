"""Records the traces that ship with resmon: ``python -m scripts.traces cpu|gpu [--to FOLDER]``; about 80 s each.

``cpu`` trains a small network on scikit-learn's digits on this machine, in three cells, idle before and after. ``gpu``
plays two GPUs that do not exist through the scripted driver of the tests; the trace says so. It belongs to a quiet
machine. A trace is seen by everybody: :func:`gives_away` names what must not stand in it.
"""

from __future__ import annotations

import argparse
import getpass
import gzip
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "resmon" / "traces"
NAMES = {"cpu": "cpu-training.ndjson.gz", "gpu": "gpu-training-synthetic.ndjson.gz"}
IDLE_S = 12.0

CELLS = (
    """
import torch
from sklearn.datasets import load_digits
pixels, digits = load_digits(return_X_y=True)
pictures = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
labels = torch.tensor(digits)
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.ReLU(),
    torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Flatten(), torch.nn.Linear(64 * 16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(network.parameters())
""",
    """
import time
started_s = time.monotonic()
while time.monotonic() - started_s < 40:
    for batch in torch.randperm(1400).split(64):
        loss = torch.nn.functional.cross_entropy(network(pictures[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    """
for _ in range(20):
    with torch.no_grad():
        accuracy = (network(pictures[1400:]).argmax(1) == labels[1400:]).float().mean().item()
assert accuracy > 0.9
""",
)
WAITS = ("import time; time.sleep(2)", "time.sleep(30)", "time.sleep(6)")


def record_cpu(path: Path) -> None:
    """Run the cells in an IPython of this process, measured as in a notebook."""
    from resmon import __version__

    note = f"a small network learns scikit-learn's digits on a CPU; resmon {__version__}"
    _session(path, CELLS, note=note, synthetic=False)


def record_gpu(path: Path) -> None:
    """Play two GPUs and a host. In a process of its own, whose driver library is the scripted one."""
    from resmon import Monitor, __version__, process
    from resmon.sensors.nvml import NvmlSensor
    from resmon.testing import scripted_host

    host = scripted_host(utilization=_busy, power_w=lambda at_s: 40 + 100 * _busy(at_s), cores=16)
    process.own.monitor = Monitor(sensors=[host, NvmlSensor()])
    note = f"two scripted GPUs, one training and one on a duty cycle; resmon {__version__}"
    _session(path, WAITS, note=note, synthetic=True)


def _busy(at_s: float) -> float:
    return 0.3 + 0.1 * math.sin(at_s)


def _session(path: Path, cells: tuple[str, ...], *, note: str, synthetic: bool) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    import resmon

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_line_magic("load_ext", "resmon")
    monitor = resmon.get_monitor()
    time.sleep(1.0)
    monitor.record_trace(path, note=note, synthetic=synthetic)
    monitor.set_idle(idle=True)
    time.sleep(IDLE_S)
    for cell in cells:
        shell.run_cell(cell, store_history=True).raise_error()
        time.sleep(1.0)
    monitor.set_idle(idle=True)
    time.sleep(IDLE_S)
    monitor.end_trace()
    shell.run_line_magic("unload_ext", "resmon")


def play_gpu(path: Path) -> None:
    """Start :func:`record_gpu` over the scripted driver."""
    from tests.driver import Script, Square, Steps, environment
    from tests.driver.script import GIB, Gpu, gpu_uuid

    begins_s = IDLE_S + 6.0
    batches = [(begins_s + i, 640.0) for i in range(30)]
    checks = [(begins_s + i + 0.75, 260.0) for i in range(30)]
    power = Steps(((0.0, 72.0), *sorted(batches + checks), (begins_s + 30, 96.0)))
    busy = Steps(((0.0, 0.0), (begins_s, 94.0), (begins_s + 30, 0.0)))
    memory = Steps(((0.0, 0.0), (IDLE_S + 2, 21.5 * GIB)))
    gpus = (
        Gpu(
            uuid=gpu_uuid(0), name="synthetic GPU", power_w=power, utilization_percent=busy, tau_s=0.1,
            jitter_s=0.004, temperature_c=Steps(((0.0, 34.0), (begins_s, 52.0), (begins_s + 8, 61.0))),
            memory_used_bytes=memory, energy_gain=1.02,
        ),
        Gpu(
            uuid=gpu_uuid(1), name="synthetic GPU", power_w=Square(100, 700, 0.4, 0.25, start_s=begins_s), tau_s=0.023,
            jitter_s=0.002, utilization_percent=25, memory_used_bytes=4 * GIB, energy_gain=0.97,
        ),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        script = Script(gpus=gpus).write(Path(folder) / "gpus")
        own = {"XDG_CACHE_HOME": folder, "RESMON_RECORD_DIR": folder, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "scripts.traces", "gpu", "--inside", "--to", str(path.parent)]
        subprocess.run(command, cwd=ROOT, env=environment(script, **own), check=True)


def gives_away(path: Path) -> list[str]:
    """What of this machine and its user stands in a trace: host name, user name, home, working directory."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    private = {platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd()), sys.executable}
    return sorted(word for word in private if len(word) > 1 and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text))


def main() -> int:
    """Record, check, say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m scripts.traces", description=__doc__)
    parser.add_argument("which", choices=NAMES)
    parser.add_argument("--to", type=Path, default=SHIPPED, help="the folder (default: where they ship)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    path: Path = options.to / NAMES[options.which]
    path.parent.mkdir(exist_ok=True)
    if options.inside:
        record_gpu(path)
        return 0
    fresh = path.with_name(f"new-{os.getpid()}")
    fresh.mkdir()
    try:
        recorded = fresh / path.name
        (play_gpu if options.which == "gpu" else record_cpu)(recorded)
        private = gives_away(recorded)
        if private:
            print(f"not kept: it holds {', '.join(private)}", file=sys.stderr)
            return 1
        recorded.replace(path)
    finally:
        for left in fresh.iterdir():
            left.unlink()
        fresh.rmdir()
    print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
