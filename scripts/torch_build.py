"""Which torch to install: the ``TORCH=`` choice of ``make``, turned into what to ask pip for."""

from __future__ import annotations

import re

OFFICIAL_INDEX = "https://download.pytorch.org/whl/"
CHOICES = "cpu, cu130 or any other name of PyTorch's own index (cu126, rocm6.4, xpu), default (what pip finds), none"

_INDEX_NAME = re.compile(r"cpu|cu\d+|rocm\d+(\.\d+)*|xpu")


def pip_attempts(choice: str, version: str, system: str) -> list[list[str]]:
    """Return the pip arguments to try, in this order, until one works; none at all for ``none``.

    ``system`` is ``platform.system()``. A build is named by its local version (``+cpu``), so that the indexes and
    folders that the user has configured are asked first, and PyTorch's own only if they lack it. Raises ValueError.
    """
    if choice == "none":
        return []
    plain = f"torch=={version}"
    if choice == "default" or (choice == "cpu" and system != "Linux"):
        return [[plain]]  # outside Linux the general build is the CPU one (on a Mac with Metal)
    if not _INDEX_NAME.fullmatch(choice):
        raise ValueError(f"TORCH={choice} is not known; it can be {CHOICES}")
    exact = f"{plain}+{choice}"
    return [[exact], [exact, "--extra-index-url", OFFICIAL_INDEX + choice]]
