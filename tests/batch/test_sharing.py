"""A large picture that the workers of a cluster share equals that of one machine, also when one of them is killed."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from denoiser import corrupt
from denoiser.batch import Report, RunOptions, Status, Stop, run, sharing, units
from denoiser.batch.items import Action, Item
from denoiser.batch.manifest import Stamp
from denoiser.batch.runner import RunSession
from denoiser.batch.units import Units
from denoiser.errors import ExitCode
from tests.batch.clusters import Cluster
from tests.batch.fakes import FakeDenoiser, leftovers, picture, tree, two_fakes, write_npy, write_png

TASKS = 12
"""Bands of the large picture, about."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    pixels = picture(0, 1200, 400, 1, np.uint16)[..., 0]
    (root / "in").mkdir()
    tifffile.imwrite(root / "in" / "a.tif", pixels, tile=(64, 64), compression="zlib")
    stack = picture(1, 2 * 240, 300, 4, np.float32).reshape(2, 240, 300, 4)
    stack[1, 7, 9] = np.nan
    tifffile.imwrite(root / "in" / "b.tif", stack, photometric="rgb", extrasamples=["unassalpha"])
    write_npy(root / "in" / "c.npy", picture(2, 400, 500, 1, np.uint8)[..., 0])
    write_png(root / "in" / "d.png", 3)
    network: Any = FakeDenoiser()
    options = RunOptions(jobs=2, max_memory=1 << 28, save_residual=root / "whole-residual", detail=0.5)
    assert run(root / "in", root / "whole", options, denoiser=network).exit_code is ExitCode.OK
    return root


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files of any size are shared; how many pieces each task has."""
    monkeypatch.setattr(units, "LARGE_BYTES", 20_000)
    monkeypatch.setattr(units, "LARGE_SHARE", 0.0)
    monkeypatch.setattr(sharing, "BAND_PIXELS", 1200 * 400 // TASKS)
    told: list[int] = []
    submit = sharing.Sharing._submit

    def counted(self: sharing.Sharing, rows: Any) -> Any:
        told.append(len(rows))
        return submit(self, rows)

    monkeypatch.setattr(sharing.Sharing, "_submit", counted)
    return told


def there(root: Path, out: str, machines: Cluster, stop: Stop | None = None, **values: Any) -> Report:
    common: dict[str, Any] = {"jobs": 2, "max_memory": 1 << 28, "backend": "dask", "precision": "fp32", "detail": 0.5}
    common |= {"model": "unet", "scheduler": machines.address, "save_residual": root / f"{out}-residual"}
    options = RunOptions(**common | values)
    return run(root / "in", root / out, options, stop=stop)


def check(root: Path, out: str, report: Report) -> None:
    assert report.exit_code is ExitCode.OK, [result.reason for result in report.failures]
    assert report.count(Status.DONE) == len(report.files) == 4
    assert tree(root / out) == tree(root / "whole")
    assert tree(root / f"{out}-residual") == tree(root / "whole-residual")
    assert leftovers(root / out) == []


def test_what_workers_share_has_the_bytes_of_one_machine(machines: Cluster, folder: Path, tasks: list[int]) -> None:
    machines.have(2)
    report = there(folder, "shared", machines)
    check(folder, "shared", report)
    assert len(tasks) > TASKS
    assert report.engine["model"] == "fake"
    assert report.megapixels == pytest.approx(sum(result.megapixels for result in report.files))


def test_the_rows_of_a_shared_file_go_to_the_network_that_its_noise_chose(
    machines: Cluster, tmp_path: Path, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("white.tif", "gaussian:15"), ("smooth.tif", "correlated:sigma=15,length=1")):
        pixels = corrupt(np.full((1200, 400, 3), 128, np.uint8), kind, seed=3)
        (tmp_path / "in").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "in" / name, pixels, photometric="rgb")
    monkeypatch.setattr(RunSession, "_build", lambda session, precision: two_fakes())
    options = RunOptions(model="auto", jobs=2, max_memory=1 << 28, precision="fp32", detail=0.5)
    whole = run(tmp_path / "in", tmp_path / "whole", options)
    machines.have(2)
    report = there(tmp_path, "shared", machines, model="auto", save_residual=None)
    assert report.exit_code is whole.exit_code is ExitCode.OK
    assert len(tasks) > TASKS
    assert tree(tmp_path / "shared") == tree(tmp_path / "whole")
    expected = {"smooth.tif": "unet-photo", "white.tif": "unet"}
    for made in (whole, report):
        assert {result.source.name: result.choice["model"] for result in made.files} == expected


def test_the_bands_of_a_killed_worker_are_computed_by_others(machines: Cluster, folder: Path, tasks: list[int]) -> None:
    machines.have(2)

    def kill() -> None:
        deadline = time.monotonic() + 60
        while len(tasks) < TASKS // 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        machines.workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report = there(folder, "killed", machines)
    killer.join()
    assert machines.workers[0].wait() == -signal.SIGKILL
    check(folder, "killed", report)


def test_a_wish_to_stop_leaves_no_trace_of_a_shared_file(machines: Cluster, folder: Path, tasks: list[int]) -> None:
    machines.have(2)
    stop, deadline = Stop(), time.monotonic() + 60

    def ask() -> None:
        while len(tasks) < TASKS // 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        stop.request(ExitCode.TERMINATED)

    asker = threading.Thread(target=ask)
    asker.start()
    report = there(folder, "stopped", machines, stop)
    asker.join()
    assert report.exit_code is ExitCode.TERMINATED
    assert leftovers(folder / "stopped") == [] and tree(folder / "stopped").items() <= tree(folder / "whole").items()


def item(name: str, size: int) -> Item:
    return Item(Path("/in", name), name, Path("/out", name), Action.PROCESS, Stamp(size, 0))


def test_a_file_is_shared_where_one_worker_would_need_longer_than_all() -> None:
    huge, small = item("a.tif", 1 << 30), [item(f"{number}.tif", 1 << 26) for number in range(20)]
    assert Units([huge]).large(1) is None
    assert Units([huge]).large(2) == huge
    assert Units([huge, *small]).large(2) is None
    work = Units([huge, *small])
    assert work.large(4) == huge
    assert work.next(4)[0] == small[0]
    assert Units([item("a.png", 1 << 30)]).large(2) is None
    assert Units([item("a.tif", 1 << 20)]).large(2) is None
