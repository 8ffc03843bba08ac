"""Bring the virtual environment that runs this file up to what ``make lab`` or ``make test`` needs.

What was done is remembered in the environment itself, so that a second run takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts import browser, bundle
from scripts.torch_build import CHOICES, pip_attempts

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path(sys.prefix) / "resmon-setup.json"
EXTRAS = {"lab": ("lab",), "test": ("lab", "test"), "docs": ("docs",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was installed here: ``inputs`` is the hash of the files that decided it."""

    inputs: str = ""
    torch: str = ""
    extras: tuple[str, ...] = ()


def inputs_digest(root: Path) -> str:
    """Return one hash over what decides which packages are installed."""
    names = ("pyproject.toml", "constraints.txt", "hatch_build.py", "scripts/resmon-join.pth")
    return hashlib.sha256(b"\0".join((root / name).read_bytes() for name in names)).hexdigest()


def pinned(package: str, constraints: str) -> str:
    """Return the version that a constraints text pins a package to."""
    match = re.search(rf"^{re.escape(package)}==(\S+)$", constraints, re.MULTILINE)
    if match is None:
        raise SystemExit(f"resmon: constraints.txt does not pin {package}")
    return match[1]


def recall(memory: Path, inputs: str) -> Done:
    """Read what was done before; after a change of the inputs only the choice of torch still counts."""
    try:
        found = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return Done()
    done = Done(inputs=found["inputs"], torch=found["torch"], extras=tuple(found["extras"]))
    return done if done.inputs == inputs else Done(torch=done.torch)


def pip(*arguments: str, quiet: bool = False) -> bool:
    """Run pip; tell whether it worked."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "-qq"]
    return subprocess.run(command, check=False, cwd=ROOT, stderr=subprocess.DEVNULL if quiet else None).returncode == 0


def pip_install(*arguments: str, quiet: bool = False) -> bool:
    """Install under the constraints; tell whether it worked."""
    return pip("install", "--constraint", str(ROOT / "constraints.txt"), *arguments, quiet=quiet)


def install_torch(choice: str) -> None:
    """Install the chosen build, first from what pip is set up with, then from PyTorch's own index."""
    version = pinned("torch", (ROOT / "constraints.txt").read_text("utf-8"))
    attempts = pip_attempts(choice, version, platform.system())
    if not attempts:
        return
    print(f"resmon: installing torch {version} ({choice})", flush=True)
    if choice == "cpu" and shutil.which("nvidia-smi"):
        print("resmon: this machine has an NVIDIA driver: TORCH=cu130 installs a torch that uses the GPU", flush=True)
    if not any(pip_install(*a, quiet=a is not attempts[-1]) for a in attempts):
        raise SystemExit(f"resmon: torch {version} ({choice}) could not be installed; TORCH= can be {CHOICES}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("purpose", choices=sorted(EXTRAS))
    parser.add_argument("--torch", default="", help=f"{CHOICES} (cpu the first time, later what was chosen before)")
    asked = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        raise SystemExit("resmon: run this with the Python of a virtual environment (make does)")

    inputs = inputs_digest(ROOT)
    done = recall(MEMORY, inputs)
    choice = asked.torch or done.torch or "cpu"
    try:
        pip_attempts(choice, "0", platform.system())
    except ValueError as error:
        raise SystemExit(f"resmon: {error}") from None

    try:
        bundle.ensure(ROOT)
    except bundle.BundleError as error:
        raise SystemExit(f"resmon: {error}") from None

    extras = set(EXTRAS[asked.purpose]) | ({"train"} if choice != "none" and asked.purpose != "docs" else set())
    if choice != done.torch or not extras <= set(done.extras):
        if done.torch not in ("", choice):
            pip("uninstall", "--yes", "torch")  # every build satisfies torch==X, so pip would keep the old one
        if "train" in extras:
            install_torch(choice)
        wanted = sorted((extras | set(done.extras)) - ({"train"} if choice == "none" else set()))
        what = f"[{','.join(wanted)}]"
        print(f"resmon: installing resmon{what}", flush=True)
        if not pip_install("--editable", f".{what}"):
            raise SystemExit("resmon: the packages could not be installed (see above)")
        memory = asdict(Done(inputs=inputs, torch=choice, extras=tuple(wanted)))
        MEMORY.write_text(json.dumps(memory), "utf-8")
    if asked.purpose == "test" and (code := browser.main()):
        raise SystemExit(code)


if __name__ == "__main__":
    main()
