"""The build hook: wheel, source archive and editable install all carry a panel bundle made of their own sources."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PanelBundleHook(BuildHookInterface):  # type: ignore[type-arg] # the configuration class is hatchling's own
    """Build ``resmon/static/`` before anything is packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise BundleError, naming what is missing, where the bundle is neither current nor can be built."""
        root = Path(self.root)
        runpy.run_path(str(root / "scripts" / "bundle.py"))["ensure"](root)
