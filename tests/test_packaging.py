"""What is shipped: the archives carry the panel, building needs npm only where it must, the pins agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import bundle, pins, setup_env
from scripts.torch_build import OFFICIAL_INDEX, pip_attempts

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PANEL = {"resmon/static/panel.js", "resmon/static/panel.css", "resmon/py.typed"}
TRACES = {f"resmon/traces/{name}.ndjson.gz" for name in ("cpu-training", "gpu-training-synthetic")}


def _run(*command: str | Path, cwd: Path, path: str | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PIP_CONSTRAINT"}}
    if path is not None:
        environment["PATH"] = path
    said = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, f"{command}\n{said.stdout}\n{said.stderr}"
    return said.stdout


def _build(kind: str, source: Path, to: Path, path: str | None = None) -> Path:
    _run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", to, source, cwd=source, path=path)
    return next(to.iterdir())


@pytest.fixture(scope="module")
def no_npm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a PATH on which there is nothing at all, npm least of all."""
    return str(tmp_path_factory.mktemp("empty-path"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, no_npm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source archive, where there is no npm."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    return _build("wheel", next(unpacked.iterdir()), tmp_path_factory.mktemp("wheel"), path=no_npm)


def test_the_source_archive_carries_the_panel_and_its_sources(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= PANEL | TRACES | {
        "resmon/static/sources.sha256",
        "widgets/package-lock.json",
        "hatch_build.py",
        "LICENSE",
    }
    assert not [name for name in names if "node_modules" in name or name.startswith(("tests/", ".venv"))]


def test_the_wheel_from_the_source_archive_is_the_package_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert names >= PANEL | TRACES | {"resmon-join.pth"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"resmon"}
    python = {f"resmon/{path.relative_to(ROOT / 'resmon').as_posix()}" for path in (ROOT / "resmon").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == python
    assert "License-Expression: BSD-3-Clause" in metadata
    assert {"dask", "docs", "lab", "ray", "test", "train"} == set(
        re.findall(r"^Provides-Extra: (\S+)$", metadata, re.MULTILINE)
    )


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    _run(python, "-m", "pip", "install", "-qq", "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    installed = _run(python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path)
    names = {canonicalize_name(line.split("==")[0]) for line in installed.splitlines()}
    assert names.isdisjoint({"torch", "pandas", "numpy", "jupyterlab", "notebook", "scikit-learn"})
    program = """
import importlib.resources, sys, resmon
from resmon.views.panel import Panel
assert "site-packages" in resmon.__file__, resmon.__file__
files = importlib.resources.files("resmon") / "static"
assert "render" in (files / "panel.js").read_text("utf-8")
assert str(Panel._esm) == (files / "panel.js").read_text("utf-8")
with resmon.measure("work") as window:
    sum(range(100_000))
for name in ("cpu-training", "gpu-training-synthetic"):
    assert resmon.replay(name).play().energy.total_j > 0
print(window.measurement.duration_s > 0)
"""
    assert _run(python, "-c", program, cwd=tmp_path).strip() == "True"
    rank = {**os.environ, "RANK": "0", "RESMON_CONNECTION": "/nowhere"}
    command = [str(python), "-c", "print(1)"]
    said = subprocess.run(command, env=rank, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"
    assert said.stderr.count("/nowhere cannot be read") == 1, "a rank of an unchanged script joins"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a small checkout: sources of a panel, and the bundle that was built from them."""
    for name, text in {
        "widgets/package.json": "{}",
        "widgets/package-lock.json": "{}",
        "widgets/src/index.ts": "export {}",
        "resmon/static/panel.js": "built",
        "resmon/static/panel.css": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "resmon/static" / bundle.STAMP).write_text(bundle.digest(tmp_path))
    return tmp_path


def test_a_current_bundle_is_left_alone(checkout: Path, no_npm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", no_npm)
    bundle.ensure(checkout)
    assert (checkout / "resmon/static/panel.js").read_text() == "built"


@pytest.mark.parametrize("change", ["widgets/src/index.ts", "widgets/src/new.ts", "widgets/package-lock.json"])
def test_a_stale_bundle_is_never_used(
    change: str, checkout: Path, no_npm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", no_npm)
    (checkout / change).write_text("changed")
    with pytest.raises(bundle.BundleError, match=r"npm, which builds the panel's bundle, is not on the PATH"):
        bundle.ensure(checkout)


def test_a_missing_bundle_without_sources_is_named(checkout: Path) -> None:
    shutil.rmtree(checkout / "widgets")
    (checkout / "resmon/static/panel.css").unlink()
    with pytest.raises(bundle.BundleError, match=r"widgets are missing: use a full checkout"):
        bundle.ensure(checkout)


def test_tests_and_packages_are_no_sources(checkout: Path) -> None:
    for name in ("node_modules/a/index.js", "test/format.test.ts", ".cache"):
        (checkout / "widgets" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "widgets" / name).write_text("any")
    assert bundle.is_current(checkout)


def test_the_bundle_here_is_current_and_loads_nothing_from_elsewhere() -> None:
    assert bundle.is_current(ROOT), "make test builds it"
    script = (ROOT / "resmon/static/panel.js").read_text("utf-8")
    style = (ROOT / "resmon/static/panel.css").read_text("utf-8")
    assert not re.search(r"""\bimport\s*\(?\s*["']|\bfrom\s*["']""", script)
    assert not re.search(r"@import|url\(\s*[\"']?(?!data:)", style)


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_what_is_pinned_is_what_is_needed() -> None:
    pinned = _pins()
    for need in pins.project_needs((*pins.CONDA_EXTRAS, "docs")):
        version = pinned[canonicalize_name(need.name)]
        assert need.specifier.contains(version), f"{need} against {version}"


def test_the_conda_environment_agrees() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    from_pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert f"python={PROJECT['requires-python'].removeprefix('>=')}" in conda
    assert {"--constraint constraints.txt", "--editable ."} <= set(from_pip)
    named = [Requirement(item) for item in from_pip if not item.startswith("--")]
    needed = {canonicalize_name(need.name) for need in pins.project_needs(pins.CONDA_EXTRAS)}
    pinned = _pins()
    assert {need.name: str(need.specifier) for need in named} == {name: f"=={pinned[name]}" for name in needed}


def test_ipykernel_7_0_is_excluded() -> None:
    need = next(Requirement(r) for r in PROJECT["optional-dependencies"]["lab"] if r.startswith("ipykernel"))
    assert not need.specifier.contains("7.0.1")
    assert need.specifier.contains("7.1.0")


@pytest.mark.parametrize(
    ("choice", "system", "attempts"),
    [
        ("none", "Linux", []),
        ("default", "Linux", [["torch==2.1"]]),
        ("cpu", "Darwin", [["torch==2.1"]]),
        ("cpu", "Windows", [["torch==2.1"]]),
        ("cpu", "Linux", [["torch==2.1+cpu"], ["torch==2.1+cpu", "--extra-index-url", f"{OFFICIAL_INDEX}cpu"]]),
        ("cu130", "Linux", [["torch==2.1+cu130"], ["torch==2.1+cu130", "--extra-index-url", f"{OFFICIAL_INDEX}cu130"]]),
    ],
)
def test_the_choice_of_torch(choice: str, system: str, attempts: list[list[str]]) -> None:
    assert pip_attempts(choice, "2.1", system) == attempts


@pytest.mark.parametrize("choice", ["gpu", "cu", "cpu/../x", "--index-url", "CPU"])
def test_an_unknown_torch_is_refused(choice: str) -> None:
    with pytest.raises(ValueError, match=r"TORCH=.* is not known; it can be cpu, cu130"):
        pip_attempts(choice, "2.1", "Linux")


def test_set_up_remembers_until_its_inputs_change(tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    assert setup_env.recall(memory, "a") == setup_env.Done()
    memory.write_text('{"inputs": "a", "torch": "cu130", "extras": ["lab"]}')
    assert setup_env.recall(memory, "a") == setup_env.Done(inputs="a", torch="cu130", extras=("lab",))
    assert setup_env.recall(memory, "b") == setup_env.Done(torch="cu130")
    memory.write_text("{torn")
    assert setup_env.recall(memory, "a") == setup_env.Done()


def test_a_pin_is_read_whole() -> None:
    assert setup_env.pinned("torch", "a-torch==1\ntorch==2.1\ntorchvision==3\n") == "2.1"
    with pytest.raises(SystemExit, match="does not pin numpy"):
        setup_env.pinned("numpy", "torch==2.1\n")
