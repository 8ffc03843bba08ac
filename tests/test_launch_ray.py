"""Ranks on a real Ray cluster of two nodes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import resmon
from resmon.errors import LaunchError
from tests.ranks import NO_CLUSTER, environment

pytest.importorskip("ray", reason="needs resmon[ray]")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["a_run", "an_interrupt", "a_lost_node", "a_gpu_for_each"])
def test_ranks_on_ray(name: str, tmp_path: Path) -> None:
    """The asserts are in ``tests/ray_runs.py``. On a busy machine Ray itself may need a second start."""
    # Ray's sockets stay where their paths are short.
    places = {"TMPDIR": str(tmp_path), "RAY_TMPDIR": tempfile.gettempdir()}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "tests.ray_runs", name],
            env=environment(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", **places),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if done.returncode != NO_CLUSTER:
            break
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def test_what_is_no_place_is_named() -> None:
    with pytest.raises(TypeError, match="on=3 is no place for ranks"):
        resmon.launch(print, on=3)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_an_address_without_a_cluster_is_named_and_changes_nothing(address: str) -> None:
    program = f"""
import signal
import resmon
try:
    resmon.launch(print, on={address!r})
except resmon.ResmonError as error:
    print(type(error).__name__, error)
resmon.get_monitor().stop()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert LaunchError.__name__ in done.stdout, done.stdout + done.stderr[-3000:]
    assert f"no Ray cluster at on={address!r}" in done.stdout
    assert done.stdout.endswith("True\n"), "Ray's handler of SIGTERM stayed"
