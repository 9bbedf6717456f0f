"""A Dask cluster whose workers have the fake network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from denoiser.tuning import TORCH_SETTINGS

distributed = pytest.importorskip("distributed")

REPOSITORY = Path(__file__).resolve().parents[2]


class Workers:
    """Worker processes that can be killed; a context manager."""

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        self.preload = folder / "preload.py"
        self.preload.write_text("from tests.batch.elsewhere import install\ninstall()\n")
        self.workers: list[subprocess.Popen[bytes]] = []

    def have(self, count: int) -> None:
        """So many workers, new ones for those that are dead."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        options = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--preload", str(self.preload)]
        while len(self.workers) < count:
            command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, *options]
            inherited = {name: value for name, value in os.environ.items() if name not in TORCH_SETTINGS}
            environment = {**inherited, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
            self.workers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment))
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Cluster(Workers):
    """A scheduler in this process, and its workers."""

    def __init__(self, folder: Path) -> None:
        self.scheduler = distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1")
        super().__init__(folder, self.scheduler.scheduler_address)

    def close(self) -> None:
        super().close()
        self.scheduler.close()
