"""What people write for sizes, times and shares, and that the command offers exactly what the core takes."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from denoiser.batch.options import RunOptions
from denoiser.cli import options as o
from denoiser.cli.run import run


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("500MB", 500_000_000),
        ("1.5g", 1_500_000_000),
        ("2 KiB", 2048),
        ("1024", 1024),
        ("7B", 7),
        ("auto", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert o.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "4 bananas", "4iB", "1e9", "4GiB2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a size"):
        o.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("45min", 2700),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5d", 129600),
        ("10", 10),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert o.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "2 weeks", "1h30x", "s1", "1:30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        o.parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert o.parse_duration(f"{hours}h {minutes}m {seconds}s") == hours * 3600 + minutes * 60 + seconds


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_shares(index: int, count: int) -> None:
    if index < count:
        assert o.parse_shard(f"{index}/{count}") == (index, count)
    else:
        with pytest.raises(typer.BadParameter):
            o.parse_shard(f"{index}/{count}")


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({"RANK": "0", "WORLD_SIZE": "4"}, (0, 4)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (2, 3)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_NPROCS": "6"}, (2, 3)),
        ({"SLURM_PROCID": "2", "SLURM_NPROCS": "6"}, (2, 6)),
        ({"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "5"}, (4, 5)),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}, (2, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "20",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_STEP": "10",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            (2, 3),
        ),
    ],
)
def test_share_of_a_launcher(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], share: tuple[int, int]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert o.parse_shard("auto") == share


def test_share_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(typer.BadParameter, match="torchrun, SLURM or Kubernetes"):
        o.parse_shard("auto")


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"SLURM_PROCID": "1"}, "SLURM_NTASKS, which is not set"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2(x3)"}, "SLURM_NTASKS, and '2\\(x3\\)' is no number"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN, which"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0"}, "SLURM_ARRAY_TASK_COUNT, which"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK, and 'first'"),
    ],
)
def test_a_launcher_that_tells_half(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], missing: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(typer.BadParameter, match=f"auto needs {missing}"):
        o.parse_shard("auto")


def test_a_kubernetes_job_must_say_how_many_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    monkeypatch.delenv("JOB_COMPLETIONS", raising=False)
    with pytest.raises(typer.BadParameter, match="set JOB_COMPLETIONS"):
        o.parse_shard("auto")


def test_the_command_offers_every_option_of_the_core_with_its_default() -> None:
    parameters = inspect.signature(run).parameters
    renamed = {"lock": ("no_lock", False)}  # a switch is off by default
    written = {"max_memory": "auto", "min_age": "0", "include": [], "exclude": []}
    for field in fields(RunOptions):
        name, default = renamed.get(field.name, (field.name, written.get(field.name, field.default)))
        assert name in parameters, f"the command lacks --{field.name}"
        assert parameters[name].default == default, field.name
