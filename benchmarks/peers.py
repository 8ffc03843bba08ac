"""The same scripted devices through resmon and through Zeus's and CodeCarbon's own code, side by side.

Each tool measures through its own public API, in a process and an environment of its own, over the same scripted driver
library (``tests/driver``), whose true energy is known. The work in a window is a sleep; what a tool says is held
against the joules between the instants at which that sleep began and ended. Zeus and CodeCarbon come from PyPI at the
versions of ``peer_env.py``. A tool that cannot be installed has a line that says why.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, quantile
from benchmarks.peer_env import VERSIONS, PeerMissing, python_of
from benchmarks.report import Row, Text
from tests.driver import Constant, Gpu, Profile, Script, Square, environment, gpu_uuid

TOOLS = ("resmon", "zeus", "codecarbon")
TITLES = {"resmon": "resmon", "zeus": f"Zeus {VERSIONS['zeus']}", "codecarbon": f"CodeCarbon {VERSIONS['codecarbon']}"}
TAUS_S = (0.023, 0.1)
JITTER = 0.05
LENGTHS_S = (0.3, 1.0, 2.0)
DRAWN = 0.2
"""Every second window is longer or shorter by up to this share. The others are whole periods of the counter that moves
every 100 ms, and of most duty cycles: what a difference of two reads misses at one end it then gains at the other.
"""
KINDS = {False: "exactly", True: "about"}
TRAINING_S = 8.0
TIMEOUT_S = 600.0

TRAINING = """
import sys, time
import torch
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
inputs, labels = torch.randn(256, 64), torch.randint(0, 10, (256,))
until_s = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until_s:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(inputs), labels).backward()
    optimizer.step()
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A scripted device: what its power does, and how often its counter moves.

    Each is a board of its own: resmon keeps what it learned of a board, by its UUID, and no board has two periods.
    """

    name: str
    power_w: Profile
    tau_s: float
    number: int = 0

    def __str__(self) -> str:
        return f"{self.name}, τ {self.tau_s * 1000:.0f} ms"


def devices() -> list[Asked]:
    """Constant, on a duty cycle at and beside the counter's period, in bursts shorter than it."""
    found = []
    for tau_s in TAUS_S:
        found += [
            Asked("constant 200 W", Constant(200.0), tau_s),
            Asked("25/75 of 700/100 W, cycle of 4 τ", Square(100, 700, 4 * tau_s, 0.25), tau_s),
            Asked("25/75 of 700/100 W, cycle of 1.1 τ", Square(100, 700, 1.1 * tau_s, 0.25), tau_s),
            Asked("25/75 of 700/100 W, cycle of 1 τ", Square(100, 700, tau_s, 0.25), tau_s),
            Asked("25/75 of 700/100 W, cycle of 0.5 s", Square(100, 700, 0.5, 0.25), tau_s),
            Asked("bursts of 0.4 τ, 600 W over 90 W", Square(90, 600, 3.7 * tau_s, 0.4 / 3.7), tau_s),
        ]
    return [replace(asked, number=i) for i, asked in enumerate(found)]


def run(*, quick: bool) -> list[Row | Text]:
    repeats = 2 if quick else 8
    if shutil.which("gcc") is None:
        return [Text(["gcc, which compiles the scripted driver, is not on the PATH: nothing was compared"])]
    pythons, missing = _pythons()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _stub(place)
        found = {str(asked): _device(asked, place, pythons, repeats) for asked in devices()}
        training = _training(place, pythons)
    lines = [f"{TITLES[tool]}: not compared, {reason}" for tool, reason in missing.items()]
    return [*_rows(found, pythons), Text([*lines, *_table(found, pythons), "", *training])]


def _pythons() -> tuple[dict[str, Path], dict[str, str]]:
    pythons, missing = {"resmon": Path(sys.executable)}, {}
    for tool in VERSIONS:
        try:
            pythons[tool] = python_of(tool)
        except PeerMissing as error:
            missing[tool] = str(error)
    return pythons, missing


def _stub(place: Path) -> None:
    """CodeCarbon takes it that there is an NVIDIA GPU where ``nvidia-smi`` can be run."""
    stub = place / "nvidia-smi"
    stub.write_text("#!/bin/sh\nexit 0\n")
    stub.chmod(0o755)


def _environment(tool: str, place: Path, script: Path | None) -> dict[str, str]:
    own = {
        "HOME": str(place),
        "XDG_CACHE_HOME": str(place / "cache"),
        "RESMON_RECORD_DIR": str(place / "records"),
        "PYTHONPATH": str(ROOT) if tool == "resmon" else "",
    }
    if script is None:
        return {**os.environ, **own}
    return environment(script, **own, PATH=f"{place}:{os.environ['PATH']}")


def _start(tool: str, python: Path, env: Mapping[str, str], **asked: Any) -> subprocess.Popen[str]:
    command = [str(python), str(Path(__file__).parent / "peer_runs.py"), tool, json.dumps(asked)]
    return subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    if process.returncode != 0:
        raise RuntimeError(f"{process.args!r} failed:\n{out}\n{err}")
    windows: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
    return windows


def _device(asked: Asked, place: Path, pythons: Mapping[str, Path], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """What each tool said of each window, with the true joules beside it. One tool after another."""
    gpu = Gpu(uuid=gpu_uuid(asked.number), power_w=asked.power_w, tau_s=asked.tau_s, jitter_s=JITTER * asked.tau_s)
    script = Script(gpus=(gpu,))
    path = script.write(place / "gpus")
    found = {}
    for seed, (tool, python) in enumerate(pythons.items()):
        env = _environment(tool, place, path)
        found[tool] = _said(_start(tool, python, env, lengths_s=LENGTHS_S, repeats=repeats, seed=seed, drawn=DRAWN))
    for windows in found.values():
        for window in windows:
            window["true_j"] = gpu.energy_j(window["start_s"] - script.epoch_s, window["end_s"] - script.epoch_s)
    return found


def _errors(windows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [math.inf if w["gpu_j"] is None else abs(w["gpu_j"] / w["true_j"] - 1) for w in windows]


def _of(windows: Sequence[dict[str, Any]], length_s: float, *, drawn: bool) -> list[dict[str, Any]]:
    return [w for w in windows if w["length_s"] == length_s and w["drawn"] == drawn]


def _rows(found: Mapping[str, Mapping[str, list[dict[str, Any]]]], pythons: Mapping[str, Path]) -> list[Row]:
    """Over all devices: the errors by length of window, and how often resmon's interval held."""
    rows = []
    for drawn, length_s in itertools.product((True, False), LENGTHS_S):
        by_tool = {
            tool: _errors([w for said in found.values() for w in _of(said[tool], length_s, drawn=drawn)])
            for tool in pythons
        }
        for tool, (name, q) in itertools.product(pythons, (("median", 0.5), ("p95", 0.95))):
            reference: dict[str, Any] = {}
            if tool != "resmon":
                reference = {"reference": f"resmon, {name}", "reference_value": 100 * quantile(by_tool["resmon"], q)}
            what = f"{TITLES[tool]}, windows of {KINDS[drawn]} {length_s:g} s, {name} error"
            rows.append(Row(name=what, value=100 * quantile(by_tool[tool], q), unit="%", **reference))
    held = [w["low_j"] <= w["true_j"] <= w["high_j"] for said in found.values() for w in said["resmon"]]
    rows.append(Row(name="true joules outside of resmon's interval", value=100 * (1 - statistics.mean(held)), unit="%",
                    limit=5.0))  # fmt: skip
    return rows


def _table(found: Mapping[str, Mapping[str, list[dict[str, Any]]]], pythons: Mapping[str, Path]) -> list[str]:
    """For each device and drawn length: a window of median error of each tool, and the errors over all of them."""
    head = ["device", "window"]
    for tool in pythons:
        head += [f"{TITLES[tool]}: said / true J", "error, median (worst)"]
    head.append("resmon's interval J: holds")
    lines = [head]
    for name, said in found.items():
        for length_s in LENGTHS_S:
            line = [name, f"about {length_s:g} s"]
            for tool in pythons:
                windows = _of(said[tool], length_s, drawn=True)
                errors = _errors(windows)
                typical = sorted(zip(errors, windows, strict=True), key=lambda pair: pair[0])[len(windows) // 2][1]
                joules = "none" if typical["gpu_j"] is None else f"{typical['gpu_j']:.1f}"
                line += [
                    f"{joules} / {typical['true_j']:.1f}",
                    f"{100 * statistics.median(errors):.1f} % ({100 * max(errors):.1f} %)",
                ]
                if tool == "resmon":
                    held = sum(w["low_j"] <= w["true_j"] <= w["high_j"] for w in windows)
                    interval = f"[{typical['low_j']:.1f}, {typical['high_j']:.1f}]: {held} of {len(windows)}"
            lines.append([*line, interval])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return [rows[0], "|---" * len(lines[0]) + "|", *rows[1:]]


def _training(place: Path, pythons: Mapping[str, Path]) -> list[str]:
    """One training on this CPU, without a GPU and perhaps without a counter: what each tool says, one after another."""
    program = place / "training.py"
    program.write_text(TRAINING)
    command = [sys.executable, str(program), str(TRAINING_S)]
    lines = [["a training on this machine's CPU", "seconds", "said J", "interval J"]]
    for tool, python in pythons.items():
        time.sleep(1.0)
        env = _environment(tool, place, None)
        (window,) = _said(
            _start(tool, python, env, lengths_s=[TRAINING_S], repeats=1, seed=0, drawn=0, command=command)
        )
        joules = window["all_j"]
        interval = "none given"
        if window.get("all_low_j") is not None:
            interval = f"[{window['all_low_j']:.0f}, {window['all_high_j']:.0f}]"
        said = "none" if joules is None else f"{joules:.0f}"
        lines.append([TITLES[tool], f"{window['end_s'] - window['start_s']:.1f}", said, interval])
    return _markdown(lines)
