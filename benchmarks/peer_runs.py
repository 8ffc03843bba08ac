"""One tool measures windows of sleep through its own public API; runs in that tool's own environment.

``python peer_runs.py TOOL JSON``: the JSON has ``lengths_s``, ``repeats``, ``seed``, ``drawn`` (by what share a length
is made longer or shorter at random, for every second window) and perhaps ``command``, which is run instead of a sleep.
Prints one JSON value: for each window its length, the instants (``CLOCK_MONOTONIC``) at which the work in it began and
ended, the joules of the GPUs and of everything (null: it says none), and of resmon the intervals. Nothing of this
repository is imported but resmon, by resmon's own run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

WARM_UP_S = 2.0
Said = dict[str, float | None]
Window = Callable[[str], AbstractContextManager[Said]]


def zeus() -> Window:
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor()

    @contextlib.contextmanager
    def window(name: str) -> Iterator[Said]:
        said: Said = {}
        monitor.begin_window(name, sync_execution=False)
        yield said
        found = monitor.end_window(name, sync_execution=False)
        said["gpu_j"] = sum(found.gpu_energy.values()) if found.gpu_energy else None
        cpu = list((found.cpu_energy or {}).values()) + list((found.dram_energy or {}).values())
        said["all_j"] = float(found.total_energy) + sum(cpu)

    return window


def codecarbon() -> Window:
    from codecarbon import OfflineEmissionsTracker

    # Nothing on disk, on the net or in the log; measuring is as it comes.
    tracker = OfflineEmissionsTracker(country_iso_code="FRA", save_to_file=False, log_level="critical")

    @contextlib.contextmanager
    def window(name: str) -> Iterator[Said]:
        said: Said = {}
        tracker.start_task(name)
        yield said
        found = tracker.stop_task(name)
        said["gpu_j"] = found.gpu_energy * 3.6e6 if found.gpu_count else None
        said["all_j"] = found.energy_consumed * 3.6e6

    return window


def resmon() -> Window:
    import resmon

    monitor = resmon.get_monitor()

    @contextlib.contextmanager
    def window(name: str) -> Iterator[Said]:
        said: Said = {}
        with monitor.measure(name) as measured:
            yield said
        found = measured.measurement
        assert found is not None
        gpus = [part for part in found.energy.components if part.kind == "gpu"]
        if gpus:
            said["gpu_j"] = sum(part.energy_j for part in gpus)
            said["low_j"], said["high_j"] = sum(part.low_j for part in gpus), sum(part.high_j for part in gpus)
        said["all_j"] = found.energy.total_j
        said["all_low_j"], said["all_high_j"] = found.energy.low_j, found.energy.high_j

    return window


def main() -> None:
    tool, asked = sys.argv[1], json.loads(sys.argv[2])
    window = {"zeus": zeus, "codecarbon": codecarbon, "resmon": resmon}[tool]()
    draw = random.Random(asked["seed"])  # noqa: S311 - phases, not secrets
    time.sleep(WARM_UP_S)
    with window("warm-up"):
        time.sleep(0.5)
    found: list[dict[str, Any]] = []
    for number, drawn in itertools.product(range(asked["repeats"]), (False, True) if asked["drawn"] else (False,)):
        for length_s in asked["lengths_s"]:
            seconds = length_s * draw.uniform(1 - asked["drawn"], 1 + asked["drawn"]) if drawn else length_s
            time.sleep(draw.uniform(0.05, 0.25))
            with window(f"{number} {length_s} {drawn}") as said:
                start_s = time.monotonic()
                if asked.get("command"):
                    subprocess.run(asked["command"], check=True)
                else:
                    time.sleep(seconds)
                end_s = time.monotonic()
            found.append({"length_s": length_s, "drawn": drawn, "start_s": start_s, "end_s": end_s, **said})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
