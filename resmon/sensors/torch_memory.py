"""The CUDA caching allocator of the user's PyTorch, once they initialised CUDA. This never does."""

from __future__ import annotations

import sys
from typing import Any


def initialized_torch() -> Any | None:
    """The ``torch`` module if it is imported here and its CUDA is initialised, else None. Imports nothing."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialized = getattr(cuda, "is_initialized", None)
    return sys.modules["torch"] if is_initialized is not None and is_initialized() else None
