"""What all tests share: the versions in the header, and no GPU tests where there is no GPU."""

from __future__ import annotations

import os
from importlib import metadata

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin take the processors from other tests' processes
for name in [name for name in os.environ if name.startswith("DENOISER_")]:
    del os.environ[name]  # a developer's own settings must not decide what is tested

pytest.register_assert_rewrite("tests.images.compare")  # failures inside are explained as those of the tests themselves
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

SHOWN = ("torch", "numpy", "pillow", "tifffile", "imagecodecs", "safetensors", "typer")


def pytest_report_header() -> str:
    return "versions: " + ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
