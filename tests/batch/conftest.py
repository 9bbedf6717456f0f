from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from denoiser.batch import Report, RunOptions, run
from tests.batch.fakes import FakeDenoiser

Runs = Callable[..., Report]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Run from ``in`` to ``out`` below the test's directory with a network that averages rows."""

    def call(denoiser: FakeDenoiser | None = None, **values: Any) -> Report:
        progress, stop = values.pop("progress", None), values.pop("stop", None)
        output = values.pop("output", tmp_path / "out")
        options = RunOptions(**{"jobs": 3, "max_memory": 1 << 28, **values})
        network: Any = denoiser or FakeDenoiser()
        return run(tmp_path / "in", output, options, progress, network, stop)

    return call


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One cluster for all tests that need one: starting it takes seconds."""
    pytest.importorskip("distributed")
    from tests.batch.clusters import Cluster

    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()
