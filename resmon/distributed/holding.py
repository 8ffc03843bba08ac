"""Which samples of a rank are sent at once, and which wait for others."""

from __future__ import annotations

from resmon.distributed.messages import MOST_SAMPLES, Sample, encode_samples

HOLD_S = 1.0
"""How old a sample may become before it is sent, where nobody looks: sending costs as much as all the rest of it."""
GROWN = 1.05
"""Memory that has grown so far since it was told is told at once: the next thing may be that there is none left."""


class Holding:
    """Samples of a rank on their way to the notebook. While ``live``, somebody looks and none waits."""

    def __init__(self) -> None:
        self.live = True
        self._held: list[Sample] = []
        self._due_s = float("-inf")
        self._told_bytes = 0.0

    def add(self, sample: Sample, interval_s: float) -> bool:
        """Take in a sample, of which one comes every ``interval_s``; True where what is held is to be sent now."""
        held = self._held
        held.append(sample)
        grown = sample.memory_bytes > GROWN * self._told_bytes
        if not (self.live or grown or sample.at_s >= self._due_s or len(held) == MOST_SAMPLES):
            return False
        self._due_s = sample.at_s + HOLD_S - interval_s / 2  # they are never exactly on time
        self._told_bytes = sample.memory_bytes
        return True

    def take(self, offset_s: float) -> bytes:
        """The message with all that is held, ``offset_s`` later than its clock says; empty where nothing is."""
        held, self._held = self._held, []
        if offset_s:
            held = [sample._replace(at_s=max(0.0, sample.at_s + offset_s)) for sample in held]
        return encode_samples(*held) if held else b""
