"""Whether others use a device too: then its joules, which are all in the number, are not this work's alone."""

from __future__ import annotations

from collections.abc import Iterable

MAYBE_SHARED = "may be shared (pids hidden)"
"""Where a container hides whose processes a GPU has."""


def sharing(others: float | None) -> str:
    """How a device is shared that so many processes of others use; None: they cannot be told from ours."""
    if others is None or others != others:
        return MAYBE_SHARED
    if others < 1:
        return ""
    return "shared with 1 other process" if others < 2 else f"shared with {others:.0f} other processes"


def shared_scope(scope: str, how: str) -> str:
    """The scope of an energy with how its device is shared; one that says so already stays."""
    return f"{scope}, {how}" if how and "shared" not in scope else scope


def mark(scopes: Iterable[str]) -> str:
    """``shared``, ``may be shared`` or nothing: one word for the caption of energies with these scopes."""
    said = [scope for scope in scopes if "shared" in scope]
    if not said:
        return ""
    return "may be shared" if all(MAYBE_SHARED in scope for scope in said) else "shared"
