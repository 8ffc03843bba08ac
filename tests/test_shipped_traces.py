"""The traces that ship with resmon: found by name, the same every time, checked by a script that knows no resmon."""

from __future__ import annotations

import getpass
import gzip
import json
import math
import platform
import re
from pathlib import Path
from typing import Any

import pytest

import resmon
from resmon.errors import RecordError
from resmon.playback import SHIPPED, SYNTHETIC
from resmon.results import Measurement
from resmon.views import summary
from scripts.traces import NAMES, gives_away

SHIPPED_NAMES = sorted(name.removesuffix(".ndjson.gz") for name in NAMES.values())


def lines(name: str) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress((SHIPPED / f"{name}.ndjson.gz").read_bytes()).splitlines()]


def test_there_is_one_of_a_cpu_and_one_of_gpus() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(NAMES.values())
    assert [lines(name)[0].get("synthetic", False) for name in SHIPPED_NAMES] == [False, True]


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_playing_twice_gives_the_same_to_the_letter(name: str) -> None:
    said = []
    for _ in range(2):
        replayed = resmon.replay(name)
        said.append([replayed.play().to_dict(), *(cell.to_dict() for cell in replayed.cells)])
    assert said[0] == said[1]
    assert [cell["name"] for cell in said[0][1:]] == ["In [1]", "In [2]", "In [3]"]
    assert 60 < said[0][0]["duration_s"] < 120
    assert all(cell["error"] is None for cell in said[0])
    json.dumps(said[0], allow_nan=False)


def recomputed(name: str) -> dict[str, float]:
    """The joules of each source over the whole trace, from the raw lines alone, as ``docs/trace.md`` explains them."""
    first, *rest = lines(name)
    place = {f"{c['device_id']}.{c['quantity']}": i for i, c in enumerate(first["channels"], 1)}
    rows = [line for line in rest if isinstance(line, list)]
    totals = {}
    for source in first["facts"]["sources"]:
        start = first["facts"]["origins"][source["id"]]["meter"]
        total, (last_s, last) = start[0], start[5:7]
        begin = None
        for row in rows:
            value = row[place[source["channel"]]]
            if value is not None:
                if last_s is not None:
                    total += value - last if source["method"] == "counter" else (row[0] - last_s) * value
                last_s, last = row[0], value
            begin = total if begin is None else begin
        assert begin is not None
        totals[source["label"]] = total - begin
    return totals


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_a_total_is_recomputed_from_the_lines_to_the_last_digit(name: str) -> None:
    whole = resmon.replay(name).play()
    assert {part.device: part.energy_j for part in whole.energy.components} == recomputed(name)


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_the_totals_of_the_recorded_rows_are_those_of_the_replay(name: str) -> None:
    first, *rest = lines(name)
    rows = [line for line in rest if isinstance(line, list)]
    replayed = resmon.replay(name)
    replayed.play()
    history = replayed.history()
    found = 0
    for i, channel in enumerate(first["channels"], 1):
        channel_id = f"{channel['device_id']}.{channel['quantity']}"
        if channel["device_id"] == "energy" and channel["code"] == "d":
            assert list(history.raw(channel_id)) == [row[i] for row in rows]
            found += 1
    assert found >= 3


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_no_private_word_and_no_code_is_in_them(name: str) -> None:
    path = SHIPPED / f"{name}.ndjson.gz"
    assert gives_away(path) == []
    text = gzip.decompress(path.read_bytes()).decode()
    assert path.stat().st_size < 150_000
    assert not re.search(r"/(home|root|Users|tmp|usr|work)\b|import |\.py\b|@", text)
    told = {key for line in lines(name) if isinstance(line, dict) and "event" in line for key in line["event"]}
    assert told <= {"at_s", "cell", "id", "number", "error", "instant", "interval_s", "process_cpu_s"}


def test_a_private_word_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson.gz"
    for word in (platform.node(), getpass.getuser(), str(Path.home())):
        path.write_bytes(gzip.compress(json.dumps({"note": f"on {word}"}).encode()))
        assert word in gives_away(path)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(RecordError, match=f"shipped traces: {', '.join(SHIPPED_NAMES)}"):
        resmon.replay("gpu-trainng")


def test_the_synthetic_one_says_so_wherever_it_is_shown() -> None:
    replayed = resmon.replay("gpu-training-synthetic")
    whole = replayed.play()
    shown: list[Measurement] = [whole, *replayed.cells]
    assert all(SYNTHETIC in m.notes for m in shown)
    for m in shown:
        bundle = summary.mimebundle(m)
        assert all(SYNTHETIC in bundle[mime] for mime in ("text/plain", "text/html"))
    assert "synthetic: no device was measured" in repr(replayed)
    assert SYNTHETIC in str(replayed.sensors[0])
    assert {gpu.name for gpu in replayed.gpu_devices()} == {"synthetic GPU"}
    assert replayed.synthetic
    assert not resmon.replay("cpu-training").synthetic


def test_windows_of_the_synthetic_gpus_lie_about_what_was_scripted() -> None:
    """640 W for 0.75 s and 260 W for 0.25 s, and 250 W in the mean; gains of 1.02 and 0.97.

    The load begins within two seconds of the cell.
    """
    replayed = resmon.replay("gpu-training-synthetic")
    replayed.play()
    training = replayed.cells[1]
    joules = {part.device: part.energy_j for part in training.energy.components}
    assert joules["GPU 1"] == pytest.approx(0.97 * 250 * training.duration_s, rel=0.05)
    assert joules["GPU 0"] == pytest.approx(1.02 * 545 * training.duration_s, rel=0.06)
    assert math.isclose(sum(joules.values()), training.energy.total_j or 0.0)
