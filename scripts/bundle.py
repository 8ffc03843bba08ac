"""Build the panel's bundle, ``resmon/static/``, from ``widgets/`` whenever the bundle is not made of these sources.

The bundle carries the hash of what it was built from, so that a stale one is never used and a source archive
that carries both needs no npm. Standard library only: the build backend runs this file by its path.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

BUNDLE = ("panel.js", "panel.css")
STAMP = "sources.sha256"


class BundleError(Exception):
    """The bundle is missing or stale and cannot be built here; the message says what is missing."""


def sources(root: Path) -> list[Path]:
    """Return the files that decide what the bundle holds: the top of ``widgets/`` and its ``src/``, sorted."""
    widgets = root / "widgets"
    candidates = [*widgets.glob("*"), *(widgets / "src").rglob("*")]
    return sorted(p for p in candidates if p.is_file() and not p.name.startswith(".") and ".test." not in p.name)


def digest(root: Path) -> str:
    """Return one hash over the names and the contents of the sources."""
    sha = hashlib.sha256()
    for path in sources(root):
        content = path.read_bytes()
        sha.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()


def is_current(root: Path) -> bool:
    """Tell whether the bundle is whole and was built from the sources that stand now."""
    static = root / "resmon" / "static"
    if not all((static / name).is_file() for name in (*BUNDLE, STAMP)):
        return False
    return (static / STAMP).read_text("ascii").strip() == digest(root)


def ensure(root: Path) -> None:
    """Build the bundle if it is not current. Raises BundleError."""
    if is_current(root):
        return
    static, widgets = root / "resmon" / "static", root / "widgets"
    what = "is older than widgets/" if (static / STAMP).exists() else "is not built"
    if not (widgets / "package.json").is_file():
        raise BundleError(
            f"the panel's bundle {static} {what}, and its sources {widgets} are missing: use a full checkout"
        )
    built_from = digest(root)
    install_packages(widgets)
    shutil.rmtree(static, ignore_errors=True)
    _run(_npm(), "run", "build", cwd=widgets)
    absent = [name for name in BUNDLE if not (static / name).is_file()]
    if absent:
        raise BundleError(f"`npm run build` in {widgets} ended well but did not write {', '.join(absent)} to {static}")
    (static / STAMP).write_text(built_from + "\n", "ascii")


def install_packages(widgets: Path) -> None:
    """Install exactly what package-lock.json names, unless that is what ``node_modules/`` already holds.

    Raises BundleError.
    """
    lock = widgets / "package-lock.json"
    if not lock.is_file():
        raise BundleError(f"{lock} is missing: run npm install in {widgets} and commit it")
    stamp = widgets / "node_modules" / ".installed.sha256"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return
    _run(_npm(), "ci", "--include=dev", "--no-audit", "--no-fund", cwd=widgets)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(wanted, "ascii")


def _npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise BundleError(
            "npm, which builds the panel's bundle, is not on the PATH, and there is no bundle of these sources: "
            "install Node.js 20 or newer, or install resmon from a wheel"
        )
    return npm


def _run(*command: str, cwd: Path) -> None:
    said = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "CI": "true"}
    )
    if said.returncode:
        shown = f"{said.stdout}\n{said.stderr}".strip()
        raise BundleError(f"`{' '.join(command)}` failed in {cwd} with exit code {said.returncode}:\n{shown}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the panel's bundle if it is not current.")
    parser.add_argument("--packages", action="store_true", help="also install what checks and tests the front end")
    asked, root = parser.parse_args(), Path(__file__).resolve().parent.parent
    try:
        ensure(root)
        if asked.packages:
            install_packages(root / "widgets")
    except BundleError as error:
        print(f"resmon: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
