"""``python -m benchmarks``: what resmon costs, in one table. ``python -m benchmarks NAME …`` runs these parts alone."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.report import Machine, Row, table, write

PARTS = {
    "host_sample": "CPU time of a host sample, hot",
    "monitor_cost": "CPU-seconds per hour beside a training loop",
    "sample_duration": "how long a sample takes beside a pure-Python loop, without and with GPUs",
    "panel": "from sample to paint in a real browser, bytes per refresh, the browser's main thread",
    "startup": "import, %load_ext, start of the monitor",
    "memory": "bytes per sample, growth",
}


def main() -> int:
    """Run, print, write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="NAME", help="; ".join(f"{k}: {v}" for k, v in PARTS.items()))
    parser.add_argument("--full", action="store_true", help="longer runs, for numbers to keep")
    parser.add_argument("--write", action="store_true", help="write JSON and markdown into benchmarks/results/")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part is named {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    machine = Machine.here()
    print(machine)
    found: list[tuple[str, list[Row]]] = []
    for name, title in PARTS.items():
        if options.parts and name not in options.parts:
            continue
        print(f"… {name}: {title}", file=sys.stderr, flush=True)
        found.append((name, importlib.import_module(f"benchmarks.{name}").run(quick=not options.full)))
    rows = [row for _, part in found for row in part]
    print(table(rows))
    if options.write:
        for path in write(found, machine, "full" if options.full else "quick"):
            print(f"written: {path.relative_to(path.parents[2])}")
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
