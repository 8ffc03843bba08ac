"""What the NVML sensor says of itself: one line for each thing a person could mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from resmon.facts import Device, SensorStatus
from resmon.sensors.nvml_errors import NO_PERMISSION, explain

if TYPE_CHECKING:
    from resmon.sensors.nvml_reader import DeviceReader

UNCOUNTED = "NVIDIA GPUs"
"""The name of those of a driver that never told how many there are."""

Parts: TypeAlias = "Sequence[tuple[Device, DeviceReader]]"


def nothing_visible(value: str | None, note: str, gpu_count: int, refused: Mapping[int, int]) -> tuple[str, str]:
    """Return cause and remedy where there is a driver and yet no device. ``refused`` are return codes by index."""
    if gpu_count:
        cause = note or f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU of {gpu_count}"
        return cause, "set CUDA_VISIBLE_DEVICES to what nvidia-smi -L lists, or unset it"
    if refused:
        return "no GPU could be opened", "see the lines below"
    return (
        "the NVIDIA driver lists no GPU",
        "check that nvidia-smi -L lists one; in a container, start it with --gpus all",
    )


def summary(parts: Parts, driver: str, note: str) -> SensorStatus:
    """The sensor as a whole. ``note`` says what of the GPUs' numbers is not certain."""
    shown = [reader for device, reader in parts if device.index is not None]
    alive = sum(reader.lost is None for reader in shown)
    return SensorStatus(
        name="nvml",
        state="available" if alive == len(shown) else "degraded" if alive else "lost",
        detail=f"{alive} of {len(shown)} GPUs, driver {driver}",
        cause=note,
    )


def unopened(nvml: Any, refused: Mapping[int, int], again: str) -> list[SensorStatus]:
    """A line for each GPU that is listed and could not be opened; ``again`` says when it is tried again."""
    lines = []
    for index, code in refused.items():
        cause, remedy = explain(code, str(nvml.NVMLError(code)))
        lines.append(SensorStatus(name=f"nvml index {index}", state="lost", cause=cause, remedy=f"{remedy}; {again}"))
    return lines


def complaints(nvml: Any, parts: Parts, again: str) -> list[SensorStatus]:
    """A line for each device that is lost, tells no power, or refuses a call just now."""
    lines = []
    for device, reader in parts:
        name, lost, errors = f"nvml {device.label}", reader.lost, dict(reader.errors)
        if lost is not None:
            cause, remedy = explain(lost, str(nvml.NVMLError(lost)))
            lines.append(SensorStatus(name=name, state="lost", cause=cause, remedy=f"{remedy}; {again}"))
            continue
        if device.kind == "gpu" and not reader.supports.intersection(("energy_j", "power_w")):
            cause = f"this GPU tells its driver no power ({device.name})"
            if NO_PERMISSION in reader.refused.values():
                cause = "the driver lets this user read no power"
            lines.append(SensorStatus(name=name, state="degraded", detail="no power and no energy", cause=cause))
        if errors:
            causes = ", ".join(f"{step}: {explain(c, str(nvml.NVMLError(c)))[0]}" for step, c in sorted(errors.items()))
            lines.append(
                SensorStatus(name=name, state="degraded", cause=causes, remedy="it is tried again at every turn")
            )
    return lines


def hidden_pids() -> SensorStatus:
    """The line for GPU memory whose owner cannot be told."""
    return SensorStatus(
        name="nvml processes",
        state="degraded",
        detail="which GPU memory is this process's own is not known",
        cause="the driver's process list cannot be matched with the pids seen here, as in most containers",
        remedy="start the container with --pid=host",
    )


def unseen(value: str | None, shown: int, refused: Mapping[int, int], *, unheard: bool) -> list[str]:
    """Names for the GPUs that this process may use and nobody could open.

    ``value`` is ``CUDA_VISIBLE_DEVICES``, ``shown`` how many of the devices that it shows were opened, ``refused`` are
    return codes by index; ``unheard``: a driver is here, and refused to start. Where as many were opened as ``value``
    has entries, what was refused is hidden from this process.
    """
    if value is not None:
        first = value.lstrip(" \t+")
        if not (first.startswith(("GPU-", "MIG-")) or first[:1].isdigit()) or shown >= len(value.split(",")):
            return []
    if unheard:
        return [UNCOUNTED] if shown == 0 else []
    return [f"GPU at NVML index {index}" for index in sorted(refused)]


def unanswered(for_s: float) -> SensorStatus:
    """The line for a driver that holds the process that asks it."""
    cause = f"has not answered for {for_s:.0f} s" if for_s >= 1 else "does not answer"
    remedy = "it is read again as soon as the driver answers; look for Xid errors in 'sudo dmesg'"
    return SensorStatus(name="nvml", state="lost", cause=cause, remedy=remedy)


def read_where(lines: Sequence[SensorStatus], where: str) -> Sequence[SensorStatus]:
    """The same lines; the first one says which process reads."""
    first, *rest = lines
    return (replace(first, detail=", ".join(filter(None, (first.detail, where)))), *rest)
