"""The house stands: imports point down the floors, without circles, and the public names are what the door says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import resmon

PACKAGE = Path(resmon.__file__).parent

FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"facts", "ranks", "energy_results", "results", "errors", "sharing", "units", "clock", "news"}),
    frozenset({"energy"}),
    frozenset({"sensors"}),
    frozenset(
        {
            "blocks",
            "calibration",
            "calibration_reading",
            "history",
            "landmarks",
            "origins",
            "private_files",
            "rankhistory",
            "record",
            "record_reading",
            "shared_ledger",
            "trace",
            "trace_checks",
            "trace_reading",
        }
    ),
    frozenset(
        {
            "apart",
            "boards",
            "counters",
            "counting",
            "intake",
            "plan",
            "readings",
            "recorded_cells",
            "sampler",
            "span_energy",
            "spans",
            "ticks",
            "windows",
            "writers",
        }
    ),
    frozenset({"monitor", "process", "cells", "rankboard", "stepped"}),
    frozenset({"views", "comparison", "progress", "playback", "testing"}),
    frozenset({"distributed", "scheduling", "tuning", "integrations"}),
    frozenset({"magics", "hooks", "options", "rankcells"}),
)
"""The rooms of each floor, the lowest first. A room is a module or a package right under ``resmon``."""

WINGS = FLOORS[-2]
"""Rooms that never import each other."""

EXCEPTIONS = {
    ("results", "energy"): "a Measurement is asked what it means: .above_idle() and .attribution() reckon, late",
    ("results", "views"): "a Measurement shows itself: its reprs and .figure() call the views, late",
    ("errors", "distributed"): "for types: a LaunchError has the run that failed",
}
"""Imports that point up, from room to room, each with its reason."""


def _modules() -> dict[str, Path]:
    """Map the name of each module, without the leading ``resmon.``, to its file; the door itself is ``""``."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    return names


MODULES = _modules()


def _imports(name: str) -> set[str]:
    """Name the modules of resmon that a module imports: at its top, late in a function, or for its types."""
    path = MODULES[name]
    home = ("resmon", *name.split(".")) if name else ("resmon",)
    package = home if path.name == "__init__.py" else home[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            full = [f"{base}.{alias.name}" for alias in node.names if alias.name != "__version__"]
        else:
            continue
        for target in full:
            if target.split(".")[0] == "resmon":
                inner = target.removeprefix("resmon").lstrip(".")
                found.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return found - {name}


GRAPH = {name: _imports(name) for name in MODULES}


def _room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _floor(module: str) -> int:
    if not module:
        return len(FLOORS)  # the door: above everything
    return next((number for number, rooms in enumerate(FLOORS) if _room(module) in rooms), 0)


def test_every_room_has_its_floor() -> None:
    known = frozenset().union(*FLOORS)
    new = sorted({_room(name) for name in MODULES if name} - known)
    assert new == [], f"say in FLOORS on which floor these stand: {new}"


def test_the_graph_is_seen() -> None:
    assert "sensors.base" in GRAPH["sensors"]
    assert "views.summary" in GRAPH["results"], "a late import"
    assert "monitor" in GRAPH[""], "an import for types"


def test_imports_point_down() -> None:
    up = [
        f"{importer or 'resmon'} imports {imported or 'resmon'}"
        for importer, targets in GRAPH.items()
        for imported in targets
        if _floor(imported) > _floor(importer) and (_room(importer), _room(imported)) not in EXCEPTIONS
    ]
    assert up == []


def test_every_exception_is_needed() -> None:
    seen = {(_room(importer), _room(imported)) for importer, targets in GRAPH.items() for imported in targets}
    assert set(EXCEPTIONS) <= seen
    assert all(reason for reason in EXCEPTIONS.values())


def test_wings_do_not_know_each_other() -> None:
    between = [
        f"{importer} imports {imported}"
        for importer, targets in GRAPH.items()
        for imported in targets
        if _room(importer) != _room(imported) and {_room(importer), _room(imported)} <= WINGS
    ]
    assert between == []


def test_imports_have_no_circles() -> None:
    down = {
        importer: {imported for imported in targets if (_room(importer), _room(imported)) not in EXCEPTIONS}
        for importer, targets in GRAPH.items()
    }
    try:
        TopologicalSorter(down).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' → '.join(error.args[1])}")


def test_contributing_names_what_stands() -> None:
    root = PACKAGE.parent
    words = re.findall(r"`([\w./-]+(?:\.\w+|/))`", (root / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(words) > 20
    ignored = {"test-results/"}
    missing = [w for w in words if w not in ignored and not (root / w).exists() and not (PACKAGE / w).exists()]
    assert missing == []


def test_public_names_are_what_stands() -> None:
    names = resmon.__all__
    assert names == sorted(set(names))
    door = ast.parse(MODULES[""].read_text("utf-8"))
    guarded = next(node for node in door.body if isinstance(node, ast.If))
    for_types = {
        alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("resmon")
        for alias in node.names
    }
    assert set(names) == for_types, "what a type checker sees is what a user gets"
    assert set(names) == {name for name in dir(resmon) if not name.startswith("__")}
    for name in names:
        assert getattr(resmon, name).__doc__, f"resmon.{name} has a docstring"


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match="'resmon' has no attribute 'measrue'"):
        _ = resmon.measrue


def test_no_module_has_the_name_of_a_public_function() -> None:
    rooms = {name for name in resmon.__all__ if isinstance(getattr(resmon, name), type(ast))}
    assert not (set(resmon.__all__) - rooms) & set(MODULES), "importing such a module would hide the function"


def test_importing_loads_nothing_heavy() -> None:
    program = "import sys, resmon; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "IPython",
        "PIL",
        "anywidget",
        "ipywidgets",
        "numpy",
        "pandas",
        "plotly",
        "psutil",
        "pynvml",
        "torch",
        "tqdm",
    }
    assert heavy.isdisjoint(loaded)
