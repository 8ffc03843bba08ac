"""Windows while something goes wrong, end to end: real processes, pynvml over a scripted driver, made RAPL files.

Every row says what was true, what was said and what stands beside it. All windows are opened 4 s after their script's
time 0, so that a fault can be timed to fall into them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resmon.monitor import Monitor
from resmon.results import Measurement
from resmon.testing import ManualClock, scripted_gpu
from tests.driver import NO_PERMISSION, NOT_SUPPORTED, TIMEOUT, Fault, Gpu, Script, Slice, Square, build, gpu_uuid, play

OPENS_S = 4.0
LEADS_S, LATE_S = (4.0, 10.0, 25.0), 0.3
"""How long a process gets until its window shall open; one that opened late is played again with more time."""
LOAD = Square(100, 700, period_s=0.4, duty=0.25)
SLOW = Square(100, 700, period_s=1.2, duty=0.5)
"""A load that power read twice a second can see."""
SLEEP = "time.sleep(1.5)"
BUSY = "until = time.monotonic() + 1.5\nwhile time.monotonic() < until:\n    sum(range(50))"
SORTED = "time.sleep(0.4)\nsorted(numbers)\ntime.sleep(0.4)\nsorted(numbers)"
PATTERN = "time.sleep(0.4)\nre.match('(a+)+b', 'a' * 25)"

WINDOW = """
import json, random, re, time
from resmon.monitor import Monitor
from tests.validation.faults import facts
numbers = [random.random() for _ in range(1_000_000)] if {numbers} else []
{sensor}
with Monitor(0.5, sensors=[sensor]) as monitor:
    time.sleep(max(0.0, {opens_s} - time.monotonic()))
    with monitor.measure("fault") as window:
{body}
    measured = window.measurement
print(json.dumps(facts(measured, window.opened_s, window.closed_s)))
"""
NVML = "from resmon.sensors.nvml import NvmlSensor\nsensor = NvmlSensor()"
RAPL = """
import os, subprocess, sys, tempfile
from resmon.sensors.rapl import RaplSensor
from tests.validation.faults import WRITER
root = tempfile.mkdtemp()
writer = subprocess.Popen([sys.executable, "-c", WRITER, root, *{arguments!r}], stdout=subprocess.PIPE)
began_s = float(writer.stdout.readline())
import atexit
atexit.register(lambda: (writer.kill(), writer.wait(), writer.stdout.close()))
sensor = RaplSensor(root)
"""
RAPL_W = 60.0
RANGE_UJ = 262_143_328_850
WRITER = f"""
import os, sys, time
root, zones, start_uj, fails_s = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), float(sys.argv[4])
paths = []
began_s = time.monotonic()
for i, name in enumerate(zones):
    place = f"{{root}}/sys/class/powercap/intel-rapl:{{i}}"
    os.makedirs(place)
    for file, text in (("name", name), ("energy_uj", str(start_uj)), ("max_energy_range_uj", "{RANGE_UJ}")):
        with open(f"{{place}}/{{file}}", "w") as out:
            out.write(text)
    paths.append(os.open(f"{{place}}/energy_uj", os.O_WRONLY))
print(began_s, flush=True)
while True:
    now_s = time.monotonic()
    if now_s - began_s > fails_s:
        for i, path in enumerate(paths):
            os.ftruncate(path, 0)
            os.unlink(f"{{root}}/sys/class/powercap/intel-rapl:{{i}}/energy_uj")
        break
    text = f"{{(start_uj + int({RAPL_W} * (now_s - began_s) * 1e6)) % {RANGE_UJ}:012d}}".encode()
    for path in paths:
        os.pwrite(path, text, 0)
    time.sleep(0.001)
"""
"""Writes RAPL counters that run at ``RAPL_W``: the zones, where they start, and after how long they cannot be read."""


@dataclass(frozen=True)
class FaultRow:
    """What was true and what was said of one window; ``said_j`` is None where nothing was."""

    fault: str
    true_j: float
    said_j: float | None
    low_j: float | None
    high_j: float | None
    coverage: float | None
    says: str

    @property
    def holds(self) -> bool:
        """Whether the true energy lies in the interval; where there is none, whether it says that it does not know."""
        if self.said_j is None or self.low_j is None or self.high_j is None:
            return "GPU 0" in self.says.partition("not covered: ")[2]
        return self.said_j > 0 and 0 <= self.low_j <= self.true_j <= self.high_j


def facts(measured: Measurement, opened_s: float, closed_s: float) -> dict[str, Any]:
    """What a row needs of a measurement, for JSON."""
    energy = measured.energy
    return {
        "opened_s": opened_s,
        "closed_s": closed_s,
        "sources": [f"{c.device} {c.basis}, {c.method}" for c in energy.components],
        "component_notes": [c.note for c in energy.components],
        "coverage": min((c.coverage for c in energy.components), default=None),
        "total": [energy.total_j, energy.low_j, energy.high_j],
        "not_covered": list(energy.not_covered),
        "notes": list(measured.notes),
    }


def _row(fault: str, said: dict[str, Any], true_j: float) -> FaultRow:
    total_j, low_j, high_j = said["total"]
    words = [*said["sources"], *said["component_notes"], *said["notes"]]
    words += [f"not covered: {', '.join(said['not_covered'])}"]
    says = "; ".join(filter(None, dict.fromkeys(words)))
    return FaultRow(fault, true_j, total_j, low_j, high_j, said["coverage"], says)


def _indented(body: str) -> str:
    return "\n".join(f"        {line}" for line in body.splitlines())


@dataclass(frozen=True)
class Nvml:
    """A fault of a GPU or of the process beside it; ``counted`` are the GPUs that this process should see."""

    fault: str
    gpus: tuple[Gpu, ...]
    body: str = SLEEP
    counted: tuple[int, ...] = (0,)
    visible: str = ""

    def play(self, folder: Path) -> FaultRow:
        """Play it in a process of its own."""
        folder.mkdir()
        for lead_s in LEADS_S:
            script = Script(gpus=self.gpus, epoch_s=time.monotonic() + lead_s - OPENS_S)
            code = WINDOW.format(
                sensor=NVML, opens_s=script.epoch_s + OPENS_S, body=_indented(self.body), numbers="numbers" in self.body
            )
            path = script.write(folder / "gpus")
            said = play(path, code, CUDA_VISIBLE_DEVICES=self.visible) if self.visible else play(path, code)
            span = said["opened_s"] - script.epoch_s, said["closed_s"] - script.epoch_s
            if span[0] < OPENS_S + LATE_S:
                return _row(self.fault, said, sum(self.gpus[i].energy_j(*span) for i in self.counted))
        raise TimeoutError(f"{self.fault}: the window could not be opened within {LEADS_S[-1]} s on this machine")


@dataclass(frozen=True)
class Rapl:
    """A fault of RAPL's counters."""

    fault: str
    zones: str = "package-0"
    start_uj: int = 10_000_000_000
    fails_s: float = 1e9

    def play(self, folder: Path) -> FaultRow:
        """Play it in a process of its own."""
        folder.mkdir()
        arguments = [self.zones, str(self.start_uj), str(self.fails_s)]
        sensor = RAPL.format(arguments=arguments).replace("tempfile.mkdtemp()", repr(str(folder)))
        opens_s = f"began_s + {OPENS_S}"
        code = WINDOW.format(sensor=sensor, opens_s=opens_s, body=_indented(SLEEP), numbers=False)
        said = play(None, code)
        return _row(self.fault, said, RAPL_W * (said["closed_s"] - said["opened_s"]))


@dataclass(frozen=True)
class Days:
    """A window of so many days of a hand-driven clock, over a counter that moves on every 20 ms."""

    fault: str
    days: float

    def play(self, folder: Path) -> FaultRow:
        """Play it."""
        clock = ManualClock()
        true_j = LOAD.integral

        def counter_j(at_s: float) -> float:
            return true_j(math.floor(at_s / 0.02) * 0.02)

        gpu = scripted_gpu(energy_j=counter_j)
        with Monitor(interval_s=10.0, sensors=[gpu], clock=clock) as monitor:
            clock.advance(1.234)
            with monitor.measure(self.fault) as window:
                clock.advance(self.days * 86_400)
            measured, opened_s, closed_s = window.measurement, window.opened_s, window.closed_s
        assert measured is not None
        assert opened_s is not None
        assert closed_s is not None
        said = facts(measured, opened_s, closed_s)
        return _row(self.fault, said, true_j(closed_s) - true_j(opened_s))


def _gpu(number: int = 0, *, tau_s: float = 0.1, **changes: Any) -> Gpu:
    """A GPU whose sensor looks all the time, so that the interval shows the fault and nothing else."""
    given = {
        "name": "NVIDIA L40S",
        "capability": (8, 9),
        "power_w": LOAD,
        "limit_w": 750.0,
        "offset_j": 20_000.0,
        **changes,
    }
    return Gpu(uuid=gpu_uuid(number), tau_s=tau_s, jitter_s=tau_s / 10, **given)


def _refused(*functions: str) -> tuple[Fault, ...]:
    return tuple(Fault(function, NOT_SUPPORTED) for function in functions)


MIDDLE_S = OPENS_S + 0.7
NO_POWER = _refused("field:186", "field:185", "nvmlDeviceGetPowerUsage")
NO_COUNTER = _refused("field:83", "field:191", "nvmlDeviceGetTotalEnergyConsumption")
SLICES = tuple(Slice(uuid=f"MIG-{i}0000000-0000-4000-8000-000000000000", gpu_instance=i + 1) for i in range(2))

FAULTS: tuple[Nvml | Rapl | Days, ...] = (
    Nvml("none", (_gpu(),)),
    Nvml("none, period 23 ms", (_gpu(tau_s=0.023),)),
    Nvml("driver reloaded", (_gpu(reload_s=MIDDLE_S),)),
    Nvml("counter stuck until the end", (_gpu(stuck_s=(MIDDLE_S, 1e9)),)),
    Nvml("counter stuck for 0.4 s", (_gpu(stuck_s=(MIDDLE_S, MIDDLE_S + 0.4)),)),
    Nvml("reads fail for 0.5 s", (_gpu(rules=(Fault("nvmlDevice*", TIMEOUT, MIDDLE_S, MIDDLE_S + 0.5),)),)),
    Nvml("permission lost in mid-run", (_gpu(rules=(Fault("nvmlDevice*", NO_PERMISSION, MIDDLE_S),)),)),
    Nvml("power not supported", (_gpu(rules=NO_POWER),)),
    Nvml("counter not supported", (_gpu(rules=NO_COUNTER, power_w=SLOW),)),
    Nvml("neither supported", (_gpu(rules=(*NO_POWER, *NO_COUNTER)),)),
    Nvml("two GPUs, one visible by UUID", (_gpu(), _gpu(1, power_w=300)), counted=(1,), visible=gpu_uuid(1)),
    Nvml("MIG slices", (_gpu(slices=SLICES),)),
    Nvml("a Python loop", (_gpu(),), BUSY),
    Nvml("lock held by sorted", (_gpu(),), SORTED),
    Nvml("lock held by a pattern", (_gpu(),), PATTERN),
    Nvml("lock held by a pattern, 23 ms", (_gpu(tau_s=0.023),), PATTERN),
    Nvml("a window of 1 ms", (_gpu(),), "time.sleep(0.001)"),
    Nvml("a window of 50 ms", (_gpu(),), "time.sleep(0.05)"),
    Days("a window of 3 days", 3.0),
    Rapl("RAPL, none"),
    Rapl("RAPL wraps", start_uj=RANGE_UJ - 280_000_000),
    Rapl("RAPL, two dies that mirror each other", zones="package-0-die-0,package-0-die-1"),
    Rapl("RAPL, permission lost in mid-run", fails_s=MIDDLE_S),
)


def faults(folder: Path, chosen: Sequence[Nvml | Rapl | Days] = FAULTS, at_once: int = 4) -> list[FaultRow]:
    """Play them, a few at a time: they mostly sleep."""
    build()
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda pair: pair[1].play(folder / str(pair[0])), enumerate(chosen)))
