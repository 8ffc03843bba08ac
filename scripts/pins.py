"""Write constraints.txt and environment.yml from what is installed here: run it in the environment that was tested.

``python scripts/pins.py`` after a deliberate upgrade; pyproject.toml says what is needed, this says what was tried.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONDA_EXTRAS = ("train", "lab", "test")


def project_needs(extras: tuple[str, ...]) -> list[Requirement]:
    """Return the requirements of the core and of these extras, as pyproject.toml states them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [Requirement(r) for r in (*project["dependencies"], *(r for e in extras for r in optional[e]))]


def installed_closure(needs: list[Requirement]) -> dict[str, str]:
    """Map every distribution that these requirements bring in to the version installed here.

    A local version part (``+cpu``) is left out: it names a build, and a constraint has to allow every build.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(need, frozenset({""})) for need in needs]
    while queue:
        need, extras = queue.pop()
        if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(need.name)
        key = (name, frozenset(need.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{need} is not installed here: run make test first") from None
        found[name] = Version(installed.version).public
        queue += [(Requirement(r), frozenset({"", *need.extras})) for r in installed.requires or ()]
    return found


def _constraints(pins: dict[str, str]) -> Iterator[str]:
    yield "# What was tested together. Written by scripts/pins.py; used by make and by CI."
    yield from (f"{name}=={version}" for name, version in sorted(pins.items()))


def _environment(pins: dict[str, str]) -> Iterator[str]:
    yield "# conda env create -f environment.yml. Written by scripts/pins.py: the needs of pyproject.toml, as tested."
    yield "name: resmon"
    yield "channels: [conda-forge]"
    yield "dependencies:"
    yield "  - python=3.11"
    yield "  - nodejs=20"
    yield "  - pip"
    yield "  - pip:"
    yield "      - --constraint constraints.txt"
    names = {canonicalize_name(need.name) for need in project_needs(CONDA_EXTRAS)}
    yield from (f"      - {name}=={pins[name]}" for name in sorted(names))
    yield "      - --editable ."


def main() -> None:
    pins = installed_closure(project_needs((*CONDA_EXTRAS, "docs")))
    (ROOT / "constraints.txt").write_text("\n".join(_constraints(pins)) + "\n", "utf-8")
    (ROOT / "environment.yml").write_text("\n".join(_environment(pins)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
