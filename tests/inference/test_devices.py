"""Devices are found or refused, and containers' limits are heeded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from denoiser.errors import UnavailableError
from denoiser.inference import devices

CPU = torch.device("cpu")


def write(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


def test_cpu_is_always_there() -> None:
    assert devices.present()[-1] == "cpu"
    assert devices.resolve("cpu") == CPU
    assert str(devices.resolve("auto")) == devices.present()[0]


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "CPU0", "cuda:x"])
def test_missing_devices_are_errors_that_list_what_is_there(name: str) -> None:
    with pytest.raises(UnavailableError, match=r"is not available here; there are: .*cpu"):
        devices.resolve(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_no_silent_fall_back_to_the_cpu() -> None:
    with pytest.raises(UnavailableError, match="'cuda'"):
        devices.resolve("cuda")


def test_threads_follow_the_affinity_mask() -> None:
    assert 1 <= devices.threads() <= (os.cpu_count() or 1)


def test_free_memory_is_some_of_the_machines() -> None:
    assert 0 < devices.free_memory(CPU) < 2**50


def test_memory_limit_of_version_2(tmp_path: Path) -> None:
    write(tmp_path, {})
    write(tmp_path / "a", {"memory.max": "1000000\n", "memory.current": "600000\n"})
    write(tmp_path / "a/b", {"memory.max": "max\n", "memory.current": "500000\n"})
    write(tmp_path / "a", {"memory.stat": "anon 5\ninactive_file 100000\n"})
    assert devices._cgroup_memory(tmp_path, {"": "/a/b"}) == [500000]


def test_memory_limit_of_version_1(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "job"
    write(group, {"memory.limit_in_bytes": "5000000", "memory.usage_in_bytes": "1000000"})
    write(tmp_path / "memory", {"memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "7"})
    assert devices._cgroup_memory(tmp_path, {"memory": "/job"}) == [4000000]


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert devices._cgroup_memory(tmp_path, {}) == []
    assert devices._cgroup_memory(tmp_path, {"": "/gone", "memory": "/gone"}) == []
    assert devices._cgroup_paths(tmp_path / "absent") == {}


def test_processor_quota(tmp_path: Path) -> None:
    write(tmp_path / "x", {"cpu.max": "150000 100000"})
    write(tmp_path, {"cpu.max": "max 100000"})
    assert devices._cgroup_processors(tmp_path, {"": "/x"}) == [2]
    write(tmp_path / "cpu/y", {"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"})
    write(tmp_path / "cpu", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    assert devices._cgroup_processors(tmp_path, {"cpu": "/y"}) == [4]


def test_groups_of_this_process(tmp_path: Path) -> None:
    table = tmp_path / "cgroup"
    table.write_text("4:memory:/job\n3:cpu,cpuacct:/x\n0::/user.slice\n")
    assert devices._cgroup_paths(table) == {"memory": "/job", "cpu": "/x", "cpuacct": "/x", "": "/user.slice"}


def test_what_counts_as_out_of_memory() -> None:
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Invalid buffer size: 12.5 GiB"),
    ):
        assert devices.is_out_of_memory(error)
    assert not devices.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not devices.is_out_of_memory(ValueError("out of memory"))


@pytest.mark.gpu
def test_cuda_is_found() -> None:
    device = devices.resolve("cuda")
    assert devices.free_memory(device) > 0
    assert "cuda:0" in devices.title(device)


def test_the_title_tells_the_threads_that_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "threads", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert devices.title(torch.device("cpu")) == "cpu (3 threads)"
