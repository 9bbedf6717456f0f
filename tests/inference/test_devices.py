"""Devices are found or refused, and containers' limits are heeded."""

from __future__ import annotations

import os

import pytest
import torch

from denoiser.errors import UnavailableError
from denoiser.inference import devices

CPU = torch.device("cpu")


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
