"""``python -m benchmarks``: what resmon costs, in one table. ``python -m benchmarks NAME …`` runs these parts alone."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.report import Machine, Row, Text, rows_of, table, write

PARTS = {
    "host_sample": "CPU time of a host sample, hot",
    "monitor_cost": "CPU-seconds per hour beside a training loop",
    "sample_duration": "how long a sample takes beside a pure-Python loop, without and with GPUs",
    "panel": "from sample to paint in a real browser, bytes per refresh, the browser's main thread",
    "startup": "import, %load_ext, start of the monitor",
    "memory": "bytes per sample, growth",
    "windows": "what opening and closing a window takes, also while a driver call hangs",
    "launch": "from resmon.launch to the function on the last rank, beside torchrun",
    "ranks": "what ranks cost the notebook and themselves, how late they arrive, what rebalancing brings back",
    "peers": "the same scripted GPUs through resmon, Zeus and CodeCarbon (installs them under benchmarks/.peers)",
    "gpu": "a real GPU: how its counter and power fields move, the driver's latency, windows against a reference",
}
ON_REQUEST = ("peers", "gpu")
"""Parts that run only where they are named: they need the network, or a GPU to themselves."""


def main() -> int:
    """Run, print, write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(["parts:", *(f"  {name:<16} {what}" for name, what in PARTS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,  # it would break these lines
    )
    parser.add_argument(
        "parts", nargs="*", metavar="NAME", help=f"a part (default: all but {' and '.join(ON_REQUEST)})"
    )
    parser.add_argument("--full", action="store_true", help="longer runs, for numbers to keep")
    parser.add_argument("--write", action="store_true", help="write JSON and markdown into benchmarks/results/")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part is named {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    machine = Machine.here(gpu=importlib.import_module("benchmarks.gpu").describe() if "gpu" in options.parts else "")
    print(machine)
    found: list[tuple[str, list[Row | Text]]] = []
    for name, title in PARTS.items():
        if name not in (options.parts or set(PARTS) - set(ON_REQUEST)):
            continue
        print(f"… {name}: {title}", file=sys.stderr, flush=True)
        found.append((name, importlib.import_module(f"benchmarks.{name}").run(quick=not options.full)))
    rows = [row for _, part in found for row in rows_of(part)]
    print(table(rows))
    for text in (item for _, part in found for item in part if isinstance(item, Text)):
        print("", *text.lines, sep="\n")
    if options.write:
        for path in write(found, machine, "full" if options.full else "quick", options.parts):
            print(f"written: {path.relative_to(path.parents[2])}")
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
