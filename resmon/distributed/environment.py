"""Which rank this process is, as the launchers say it in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

MAX_RANKS = 65_536
REPORTS = "RESMON_RANK_PID"
"""Set in the environment of a rank that reports, or could not: what it starts (loader workers) inherits RANK, and is no
rank."""

_LAUNCHERS = (
    ("torch", "RANK", "WORLD_SIZE", "LOCAL_RANK", ("TORCHELASTIC_RUN_ID", "MASTER_PORT")),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", ("PMIX_NAMESPACE",)),
    ("PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", ("PMI_JOBID",)),
    ("Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
)
"""Whose variables: rank, number of ranks, rank on this node, what tells one job from another. The first that is set
counts: torchrun under Slurm has its own."""

_ACCELERATE = "ACCELERATE_MIXED_PRECISION"
"""Set for every process of ``accelerate launch``; several have torch's or Open MPI's variables too, one alone none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rank among its run. ``job`` tells one job from another."""

    rank: int
    world_size: int | None = None
    local_rank: int | None = None
    launcher: str = ""
    job: str = ""


def find_place(environ: Mapping[str, str] | None = None) -> Place:
    """The rank that a launcher gave this process; rank 0 of 1 where none did, ``accelerate launch`` of one among them.

    ValueError names a variable that is no number, or a rank that is not among its ranks.
    """
    environ = os.environ if environ is None else environ
    for launcher, rank_name, size_name, local_name, job_names in _LAUNCHERS:
        if environ.get(rank_name) is None:
            continue
        rank = _whole(environ, rank_name)
        assert rank is not None
        world_size = _whole(environ, size_name)
        if world_size is not None and not rank < world_size:
            raise ValueError(f"{rank_name}={rank} is not among the {world_size} ranks of {size_name}")
        job = " ".join(environ[name] for name in job_names if environ.get(name))[:100]
        return Place(
            rank=rank, world_size=world_size, local_rank=_whole(environ, local_name), launcher=launcher, job=job
        )
    return Place(rank=0, world_size=1, local_rank=0, launcher="accelerate" if _ACCELERATE in environ else "")


def started_by_rank() -> bool:
    """Whether a rank that reports started this process: what a loader's worker inherits does not make it a rank."""
    pid = str(os.getpid())
    return os.environ.get(REPORTS, pid) != pid


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) < MAX_RANKS + 1):
        raise ValueError(f"{name}={text!r} is no whole number from 0 to {MAX_RANKS}")
    return int(text)
