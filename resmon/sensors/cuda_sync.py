"""Wait for the GPU work that the user's PyTorch has handed out. Never initialises CUDA, never makes a context."""

from __future__ import annotations

from resmon.sensors.torch_memory import initialized_torch


def synchronize() -> bool:
    """Wait until the GPUs that this process uses have done what they were given; False where there is nothing to do.

    Only once the user has imported torch and initialised CUDA, only for devices on which CUDA has a context here, and
    never while a graph is being captured, which waiting would break. An error that comes up is the work's own: it
    stays for the user's next call to meet.
    """
    torch = initialized_torch()
    if torch is None:
        return False
    try:
        if torch.cuda.is_current_stream_capturing():
            return False
        has_context = torch._C._cuda_hasPrimaryContext  # noqa: SLF001 - torch.cuda asks the same way
        used = [i for i in range(torch.cuda.device_count()) if has_context(i)]
        for ordinal in used:
            torch.cuda.synchronize(ordinal)
    except (RuntimeError, AttributeError):  # an asynchronous CUDA error; a torch without one of these
        return False
    return bool(used)
