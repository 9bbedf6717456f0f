"""``--shard auto``: which share is this process's, by what the launcher of a cluster tells its processes."""

from __future__ import annotations

import os

import typer


def share() -> tuple[int, int]:
    """This process's share by the variables of torchrun, a SLURM array, a SLURM step or a Kubernetes indexed job.

    Kubernetes tells a pod its index alone; the manifest has to say the number of completions once more, as
    ``JOB_COMPLETIONS``.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        index, count = _number("RANK"), _number("WORLD_SIZE")
    elif "SLURM_ARRAY_TASK_ID" in os.environ:
        step = _number("SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in os.environ else 1
        index = (_number("SLURM_ARRAY_TASK_ID") - _number("SLURM_ARRAY_TASK_MIN")) // step
        count = _number("SLURM_ARRAY_TASK_COUNT")
    elif "SLURM_PROCID" in os.environ:
        index, count = _number("SLURM_PROCID"), _number("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_NPROCS")
    elif "JOB_COMPLETION_INDEX" in os.environ:
        index, count = _number("JOB_COMPLETION_INDEX"), _completions()
    else:
        raise typer.BadParameter("auto needs the variables of torchrun, SLURM or Kubernetes: there are none; write i/n")
    if not 0 <= index < count:
        raise typer.BadParameter(f"task {index} of {count} makes no share (an array with gaps?); write i/n")
    return index, count


def _number(*names: str) -> int:
    """The first of these variables of the environment that is set."""
    name = next((name for name in names if name in os.environ), names[0])
    try:
        return int(os.environ[name])
    except KeyError as error:
        raise typer.BadParameter(f"auto needs {name}, which is not set; write i/n") from error
    except ValueError as error:
        raise typer.BadParameter(f"auto needs {name}, and {os.environ[name]!r} is no number; write i/n") from error


def _completions() -> int:
    try:
        return int(os.environ["JOB_COMPLETIONS"])
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(
            "a Kubernetes job does not tell its pods how many they are; set JOB_COMPLETIONS to its completions, as a "
            "variable of the container"
        ) from error
