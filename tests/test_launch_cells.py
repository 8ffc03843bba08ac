"""``%%resmon --ranks`` in a real kernel: a cell that runs on every rank."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kernels import Kernel, kernel
from tests.launches import RUN_S, assert_nothing_is_left, below, left, wait_for_output

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with the extension."""
    with kernel({**os.environ, "RESMON_RECORD_DIR": str(tmp_path_factory.mktemp("records"))}) as started:
        started.run("%load_ext resmon")
        started.run("import os, time, signal, threading, torch\nscale = 3\nmodel = torch.nn.Linear(2, 1)\nsecret = 0")
        yield started


def test_a_cell_runs_on_every_rank(loaded: Kernel) -> None:
    loaded.run("def helper():\n    return type(model).__name__\nlock = threading.Lock()")
    code = """%%resmon both -o done --ranks 2 --output all
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group()
model = DistributedDataParallel(model)
for lock in range(9):
    if lock == 3: break
    scale += lock
secret = 1
print("printed by", dist.get_rank())
dist.get_rank(), scale, helper()"""
    before = left(loaded)
    ran = loaded.run(code, timeout_s=RUN_S)
    assert_nothing_is_left(loaded, before)
    assert [data["text/plain"] for data in (c["data"] for c in ran.of("execute_result"))] == [
        "[(0, 6, 'DistributedDataParallel'), (1, 6, 'DistributedDataParallel')]"
    ]
    for rank in (0, 1):
        assert f"[rank {rank}] printed by {rank}\n" in ran.text
    assert "both, done in" in ran.text
    assert loaded.json("[type(done).__name__, done.world_size, done.name]") == ["Run", 2, "both"]
    assert loaded.json("[scale, secret, type(model).__name__]") == [3, 0, "Linear"], "what it assigns stays there"
    assert loaded.json("[name for name in globals() if name.startswith('__resmon_cell')]") == []


def test_a_failing_cell_shows_one_traceback_and_stops_what_follows(loaded: Kernel) -> None:
    code = """%%resmon --ranks 2 -o failed
if os.environ["RANK"] == "0":
    raise KeyError("gone wrong")
time.sleep(100)"""
    request = loaded.send(code)
    after = loaded.send("reached = True")
    ran = loaded.result(request, RUN_S)
    assert ran.status == "error"
    assert ran.kinds.count("error") == 1
    assert '    raise KeyError("gone wrong")' in ran.text
    assert "line 3, in __resmon_cell__" in ran.text
    assert "LaunchError: In [" in ran.text
    assert "rank 0 of 2 failed: KeyError: 'gone wrong'" in ran.text
    assert loaded.result(after).status == "aborted"
    assert loaded.json("'reached' in globals()") is False
    assert loaded.json("failed.outcomes") == ["failed: KeyError: 'gone wrong'", "ended because rank 0 failed"]
    assert below(loaded.pid) == []


def test_a_cell_on_ranks_may_await_and_be_interrupted(loaded: Kernel) -> None:
    code = """%%resmon --ranks 1 --quiet
import asyncio
print("begun", flush=True)
await asyncio.sleep(1000)"""
    request = loaded.send(code)
    wait_for_output(loaded, "begun")
    loaded.manager.interrupt_kernel()
    assert loaded.result(request, RUN_S).reply["ename"] == "KeyboardInterrupt"
    assert below(loaded.pid) == []


def test_a_global_that_does_not_pickle_is_named(loaded: Kernel) -> None:
    loaded.run("held = threading.Lock()")
    ran = loaded.run("%%resmon --ranks 2\nwith held:\n    pass", fails=True)
    assert "cannot be sent to its ranks: its global 'held', of type _thread.lock, does not pickle" in ran.text
    assert ran.kinds.count("error") == 1


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("from math import *", "from math import * does not say what it brings"),
        ("from __future__ import annotations", "import annotations belongs into a cell of its own, before this one"),
    ],
)
def test_what_a_cell_on_ranks_may_not_begin_with_is_named(loaded: Kernel, first: str, words: str) -> None:
    ran = loaded.run(f"%%resmon --ranks 2\n{first}\nsin(0)", fails=True)
    assert words in ran.text
    assert "SyntaxError" not in ran.text
