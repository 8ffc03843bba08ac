"""What NVML's return codes mean for a person: the cause and the one thing that would mend it."""

from __future__ import annotations

from typing import Final

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE = 2, 3, 4, 6, 7
NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST, VERSION_MISMATCH = 9, 12, 13, 15, 25

LOST: Final = frozenset({1, NOT_LOADED, GPU_IS_LOST, 16, 28})
"""Uninitialized, driver not loaded, lost, reset required, GPU not found: no call on that handle will succeed again."""

STALE: Final = LOST | {INVALID_ARGUMENT, NOT_FOUND}
"""The same for a handle that used to work: a MIG slice that was destroyed answers so."""

ABSENT: Final = frozenset({INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, VERSION_MISMATCH})
"""This GPU, user or driver will never answer that question."""

_CONTAINER = "in a container, start it with --gpus all"
_EXPLAINED: Final[dict[int, tuple[str, str]]] = {
    1: ("the NVIDIA driver was shut down", "restart the kernel"),
    NO_PERMISSION: (
        "the NVIDIA driver refuses this user",
        f"check the permissions of /dev/nvidia*; {_CONTAINER} -e NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    8: ("a power cable of the GPU is not attached", "attach the GPU's external power cables"),
    NOT_LOADED: (
        "the NVIDIA library is here, its kernel driver is not loaded",
        f"run 'sudo modprobe nvidia'; {_CONTAINER}",
    ),
    10: ("the NVIDIA driver did not answer in time", "look for Xid errors in 'sudo dmesg'"),
    LIBRARY_NOT_FOUND: (
        "no NVIDIA driver on this machine",
        "with an NVIDIA GPU, install its driver until nvidia-smi works",
    ),
    FUNCTION_NOT_FOUND: ("the NVIDIA driver is too old", "update the driver"),
    GPU_IS_LOST: ("the GPU is lost: it fell off the bus or was reset", "look for Xid errors in 'sudo dmesg'"),
    16: ("the GPU must be reset", "run 'sudo nvidia-smi --gpu-reset' when nothing uses it"),
    17: ("the operating system blocked the NVIDIA driver", f"check the permissions of /dev/nvidia*; {_CONTAINER}"),
    18: (
        "the NVIDIA driver and its library have different versions: the driver was updated while it was loaded",
        "reboot, or unload and load the nvidia kernel modules; in a container, start it anew",
    ),
    28: ("the GPU is not there any more", "look for Xid errors in 'sudo dmesg'"),
}


def explain(code: int, text: str) -> tuple[str, str]:
    """Return cause and remedy for a return code; ``text`` is the driver's own word for it."""
    return _EXPLAINED.get(code, (f"the NVIDIA driver answered: {text}", "run nvidia-smi to see whether it answers"))
