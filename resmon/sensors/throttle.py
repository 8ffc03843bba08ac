"""The names of the driver's clocks-event reasons (``nvmlClocksEventReasons*`` in NVML's header)."""

from __future__ import annotations

from typing import Final

IDLE: Final = 0x1
REASONS: Final[dict[int, str]] = {
    IDLE: "idle",
    0x2: "clocks set by the user",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "voltage reliability",
}
"""What each bit of the mask means, in a word or two."""

HELD_BACK: Final = 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x200 | 0x400
"""The bits that mean "slower than it could be": idle clocks and clocks that somebody chose are none."""


def held_back(mask: float | None) -> bool | None:
    """Tell whether the GPU runs slower than it could; None where the mask is unknown (None or NaN)."""
    if mask is None or mask != mask:
        return None
    return bool(int(mask) & HELD_BACK)


def reasons(mask: float | None) -> tuple[str, ...]:
    """Name the reasons for which a GPU is held back, lowest bit first; an unknown bit is given in hexadecimal."""
    if mask is None or mask != mask:
        return ()
    bits = [1 << i for i in range(int(mask).bit_length()) if int(mask) >> i & 1]
    return tuple(REASONS.get(bit, f"reason 0x{bit:x}") for bit in bits if bit & HELD_BACK or bit not in REASONS)
