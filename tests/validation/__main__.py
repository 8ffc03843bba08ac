"""``python -m tests.validation [windows [column]]``: how near the reported energy is to the true one, load by load.

Errors marked ``*`` are within 1.1 of those of an oracle that polls as the sampler does (median, then p95).
"""

from __future__ import annotations

import sys
from dataclasses import replace

from tests.validation.devices import BUSY, HELD
from tests.validation.table import GAIN_KNOWN, GAIN_PRIOR, Setting, lines, table

LENGTHS = (2.3, 4.6, 10.0, 31.0)


def main() -> None:
    windows = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    taus = (Setting(period_s=0.023), Setting(period_s=0.1))
    columns = {
        "power always fresh, gain known to 0.5 %": taus,
        "power always fresh, gain drawn (5 %)": tuple(replace(s, gain_error=GAIN_PRIOR) for s in taus),
        "power only as old as the counter, gain known to 0.5 %": tuple(
            replace(s, instant="with the counter", gain_error=GAIN_KNOWN) for s in taus
        ),
        "power only as old as the counter, gain drawn (5 %)": tuple(
            replace(s, instant="with the counter", gain_error=GAIN_PRIOR) for s in taus
        ),
        "beside a Python loop (reads 5-8 ms apart)": tuple(replace(s, polling=BUSY) for s in taus),
        "the interpreter lock held up to 0.6 s at both ends": tuple(replace(s, polling=HELD) for s in taus),
    }
    chosen = sys.argv[2] if len(sys.argv) > 2 else ""
    for title, settings in columns.items():
        if chosen not in title:
            continue
        rows = lines(table(settings, LENGTHS, windows))
        sys.stdout.write("\n".join(["", title, *rows, ""]))


if __name__ == "__main__":
    main()
