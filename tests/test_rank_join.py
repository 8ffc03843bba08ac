"""Ranks of unchanged scripts, started by real launchers: with the variable set, and nothing else, they report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
import zmq

from resmon.distributed.joining import program_of
from tests.kernels import kernel
from tests.ranks import ROOT, environment, listening, run, until

TRAIN = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group("gloo")
net = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
loader = torch.utils.data.DataLoader(torch.ones(40, 8), batch_size=1, num_workers=1)
for batch in loader:
    time.sleep(0.02)
    optimizer.zero_grad()
    net(batch).square().mean().backward()
    optimizer.step()
dist.destroy_process_group()
if len(sys.argv) > 1 and os.environ["RANK"] == "1":
    raise ValueError("no more")
"""

ACCELERATED = """
import time
import venv
import torch
from accelerate import Accelerator
accelerator = Accelerator()
net, data = torch.nn.Linear(8, 1), torch.utils.data.DataLoader(torch.ones(40, 8), batch_size=1)
net, optimizer, data = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.01), data)
for batch in data:
    time.sleep(0.02)
    optimizer.zero_grad()
    accelerator.backward(net(batch).square().mean())
    optimizer.step()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


def shell(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """What a person types into a terminal. The ranks find resmon where it is installed, as theirs would."""
    env = environment(**more)
    path = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
    return subprocess.run(
        [str(word) for word in command],
        env={**env, "PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


ACCELERATE = ("--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0")
LAUNCHERS = {
    "torchrun": ("torchrun", "--standalone", "--nproc_per_node=2"),
    "torchrun as a module": (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
    "accelerate": ("accelerate", "launch", "--multi_gpu", "--num_processes=2", *ACCELERATE),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_unchanged_script_reports_under_its_launcher(launcher: str, script: Path) -> None:
    with listening(2) as receiver:
        done = shell(*LAUNCHERS[launcher], script, RESMON_CONNECTION=str(receiver.connection_file))
        assert done.returncode == 0, done.stderr
        assert "resmon" not in done.stderr, done.stderr
        until(lambda: receiver.board.all_ended)
        uses = receiver.board.uses(0.0, time.monotonic())
        assert [(use.steps, use.outcome) for use in uses] == [(40, "done"), (40, "done")]
        assert receiver.notices == (), "neither the launcher nor the loaders' workers said they were ranks"


@pytest.mark.slow
def test_torchrun_under_slurm_is_no_rank_and_its_ranks_are(script: Path) -> None:
    slurm = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}
    with listening(2) as receiver:
        done = shell(*LAUNCHERS["torchrun"], script, "fail", RESMON_CONNECTION=str(receiver.connection_file), **slurm)
        assert done.returncode == 1
        until(lambda: receiver.board.rows()[1].outcome)
        uses = receiver.board.uses(0.0, time.monotonic())
        assert [use.steps for use in uses] == [40, 40]
        assert uses[1].outcome == "failed: ValueError: no more"
        assert receiver.notices == ()


@pytest.mark.slow
def test_accelerate_with_one_process_is_one_rank(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(ACCELERATED)
    with listening(1) as receiver:
        command = ("accelerate", "launch", "--cpu", "--num_processes=1", *ACCELERATE)
        done = shell(*command, script, RESMON_CONNECTION=str(receiver.connection_file))
        assert done.returncode == 0, done.stderr
        until(lambda: receiver.board.all_ended)
        (use,) = receiver.board.uses(0.0, time.monotonic())
        assert (use.steps, use.outcome) == (40, "done")
        assert receiver.notices == ()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun here")
def test_mpirun_gives_its_processes_their_ranks(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text("import time, resmon\nfor _ in range(50): time.sleep(0.02); resmon.distributed.step(items=4)")
    rooted = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with listening(2) as receiver:
        connection = str(receiver.connection_file)
        command = ("mpirun", "--oversubscribe", "-n", "2", sys.executable, script)
        done = shell(*command, RESMON_CONNECTION=connection, **rooted)
        assert (done.returncode, done.stderr) == (0, "")
        until(lambda: receiver.board.all_ended)
        uses = receiver.board.uses(0.0, time.monotonic())
        assert [(use.steps, use.items, use.outcome) for use in uses] == [(50, 200, "done")] * 2


STARTED = """
import json, os, subprocess, sys, threading
names = [thread.name for thread in threading.enumerate()]
loaded = [name for name in sys.modules if name.startswith("resmon")]
print(json.dumps(["resmon-rank" in names, loaded, os.environ.get("RESMON_RANK_PID") == str(os.getpid())]))
"""


TOLD = """
import sys, time
from resmon.distributed import sender, step
step(items=3)
while not sender._own.reporter.sent:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("variables", "reports"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, True),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, True),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, False),  # the batch script's own: srun starts the ranks
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "4294967290"}, False),  # salloc's shell
        ({}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, False),  # run by -c, as multiprocessing's helpers are
        ({"RANK": "0", "WORLD_SIZE": "2", "RESMON_JOIN": "0"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2", "RESMON_RANK_PID": "1"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2", "RESMON_RUN": "/nowhere"}, False),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "RESMON_IN_LAUNCHER": "1"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2", "RESMON_IN_LAUNCHER": "1"}, True),
    ],
)
def test_who_joins_unasked(variables: dict[str, str], reports: bool) -> None:
    with listening(2) as receiver:
        done = run(STARTED, RESMON_CONNECTION=str(receiver.connection_file), **variables)
    assert (done.returncode, done.stderr) == (0, "")
    thread, _, marked = json.loads(done.stdout)
    assert (thread, marked) == (reports, reports)


def test_a_notebook_below_a_launcher_is_no_rank_and_what_it_launches_is() -> None:
    slurm = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"}
    with listening(1) as receiver, kernel(environment(RESMON_CONNECTION=str(receiver.connection_file), **slurm)) as own:
        assert own.json("'RESMON_RANK_PID' in __import__('os').environ") is False
        assert receiver.received == 0
        own.run(f"%%bash\nRANK=0 WORLD_SIZE=1 {sys.executable} -c '{TOLD}'")
        until(lambda: receiver.board.all_ended)
        (use,) = receiver.board.uses(0.0, time.monotonic())
        assert (use.items, use.outcome) == (3, "done")


def test_a_process_that_is_no_rank_loads_next_to_nothing() -> None:
    with listening(2) as receiver:
        done = run(STARTED, RESMON_CONNECTION=str(receiver.connection_file))
    loaded = set(json.loads(done.stdout)[1])
    assert loaded <= {"resmon", "resmon.distributed", "resmon.distributed.joining", "resmon.distributed.environment"}


def test_a_rank_that_reports_has_loaded_no_more_than_it_needs() -> None:
    with listening(2) as receiver:
        done = run(
            TOLD + "print(*sys.modules)", RESMON_CONNECTION=str(receiver.connection_file), RANK="0", WORLD_SIZE="2"
        )
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(done.stdout.split())
    assert "zmq" in loaded
    assert loaded.isdisjoint({"asyncio", "torch", "psutil", "numpy", "pynvml", "resmon.energy", "resmon.monitor"})


def test_without_the_variable_a_python_starts_without_resmon() -> None:
    done = run(STARTED, RANK="0", WORLD_SIZE="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[1] == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "seven"}, "RANK='seven' is no whole number"),
        ({"RANK": "0", "RESMON_CONNECTION": "/nowhere/c.json"}, "/nowhere/c.json cannot be read"),
    ],
)
def test_what_is_wrong_is_said_once_and_the_script_runs(variables: dict[str, str], said: str) -> None:
    trains = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass']); print('trained')"
    with listening() as receiver:
        done = run(trains, **{"RESMON_CONNECTION": str(receiver.connection_file), **variables})
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("python train.py torchrun", "train.py"),
        ("python -u /venv/bin/torchrun train.py", "torchrun"),
        (r"python -X dev -Wd -u -m torch.distributed.run train.py", "torch.distributed.run"),
        ("python -um accelerate.commands.launch", "accelerate.commands.launch"),
        ("python -mtorch.distributed.run", "torch.distributed.run"),
        ("python -W error -Xfrozen_modules=off train.py", "train.py"),
        ("python --check-hash-based-pycs always x.py", "x.py"),
        ("python -c pass torchrun", "-c"),
        ("python -m", ""),
        ("python", ""),
    ],
)
def test_the_program_of_a_command_line(words: str, program: str) -> None:
    assert program_of(words.split()) == program


def test_a_rank_waits_for_the_paths_that_come_after_it(tmp_path: Path) -> None:
    """``.pth`` files are read in the order of their names: what adds the path to ZeroMQ may be read last."""
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = (tmp_path / "env").rglob("site-packages")
    (packages / "a-resmon.pth").write_text(str(ROOT))
    shutil.copy(ROOT / "scripts" / "resmon-join.pth", packages)
    slow = "import time; time.sleep(0.5)"
    (packages / "z-zeromq.pth").write_text(f"{slow}\n{Path(zmq.__file__).parent.parent}\n")
    with listening(2) as receiver:
        env = {**environment(RESMON_CONNECTION=str(receiver.connection_file), RANK="0", WORLD_SIZE="2")}
        env.pop("PYTHONPATH")
        command = [str(python), "-c", "import time; time.sleep(1.5)"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        until(lambda: receiver.board.rows()[0].outcome == "done")
