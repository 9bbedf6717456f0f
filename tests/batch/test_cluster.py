"""A Dask cluster makes what one machine makes, also when a worker is killed. Workers have the fake network."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from denoiser.batch import Report, RunOptions, Status, Stop, cluster, run
from denoiser.batch.items import Action, Item
from denoiser.batch.manifest import Stamp
from denoiser.batch.report import FileResult
from denoiser.batch.units import MOST_FILES, Units
from denoiser.batch.worker import Outcome
from denoiser.errors import ExitCode, UnavailableError, UsageError
from denoiser.tuning import TORCH_SETTINGS
from tests.batch.clusters import Cluster, Workers, distributed
from tests.batch.fakes import FakeDenoiser, leftovers, picture, tree, write_npy, write_png

FILES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for index in range(FILES - 2):
        write_png(root / "in" / f"d{index % 3}" / f"{index:02}.png", index, 24 + index)
    write_npy(root / "in" / "floats.npy", picture(1, 40, 30, 1, "float32"))
    (root / "in" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert here(root, "whole").exit_code is ExitCode.SOME_FAILED
    return root


def here(root: Path, out: str) -> Report:
    network: Any = FakeDenoiser()
    return run(root / "in", root / out, RunOptions(jobs=2, max_memory=1 << 28), denoiser=network)


def there(inputs: Path | str, out: Path | str, address: str, stop: Stop | None = None, **values: Any) -> Report:
    common = {"model": "unet", "jobs": 2, "max_memory": 1 << 28, "precision": "fp32"}
    options = RunOptions(**{**common, "backend": "dask", "scheduler": address, **values})
    return run(inputs, out, options, stop=stop)


def lines(out: Path) -> list[str]:
    """The targets of all manifest lines."""
    found = [line for path in (out / ".denoiser").glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["target"] for line in found)


def check(report: Report, root: Path, out: str) -> None:
    """Everything is there once, as one machine makes it."""
    whole = tree(root / "whole")
    assert len({result.source for result in report.files}) == len(report.files) == FILES
    assert (report.count(Status.DONE), report.count(Status.FAILED)) == (FILES - 1, 1)
    assert report.exit_code is ExitCode.SOME_FAILED
    assert tree(root / out) == whole
    assert lines(root / out) == sorted(whole)
    assert leftovers(root / out) == []


def test_two_workers_make_the_bytes_of_one_machine(
    machines: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.have(2)
    monkeypatch.chdir(folder)  # the workers have another working directory
    report = there("in", "two", machines.address)
    check(report, folder, "two")
    assert report.failures[0].source == Path("in/torn.png")
    assert report.engine["workers"] == 2
    assert report.engine["precision"] == "fp32"
    with distributed.Client(machines.address, set_as_default=False) as client:
        tuned = client.run(lambda: {name: os.environ.get(name) for name in TORCH_SETTINGS})
    assert list(tuned.values()) == [TORCH_SETTINGS] * 2
    again = there("in", "two", machines.address)
    assert (again.count(Status.SKIPPED), again.count(Status.FAILED)) == (FILES - 1, 1)


def test_a_killed_worker_costs_nothing_but_time(machines: Cluster, folder: Path) -> None:
    machines.have(2)
    out = folder / "killed"
    there_then = []

    def kill() -> None:
        deadline = time.monotonic() + 30
        while len(list(out.rglob("d*/*.png"))) < FILES // 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        machines.workers[0].send_signal(signal.SIGKILL)
        there_then.append(len(list(out.rglob("d*/*.png"))))

    killer = threading.Thread(target=kill)
    killer.start()
    report = there(folder / "in", out, machines.address)
    killer.join()
    assert machines.workers[0].wait() == -signal.SIGKILL
    assert there_then[0] < FILES - 2  # some were left to do
    check(report, folder, "killed")


def test_limits_and_a_wish_to_stop_hold_for_the_cluster(machines: Cluster, folder: Path) -> None:
    machines.have(1)
    out = folder / "stopped"
    report = there(folder / "in", out, machines.address, max_runtime=0.0)
    assert (report.exit_code, report.count(Status.LEFT)) == (ExitCode.STOPPED, FILES)
    report = there(folder / "in", out, machines.address, max_files=5)
    assert (report.exit_code, report.count(Status.DONE)) == (ExitCode.STOPPED, 5)
    stop = Stop()
    timer = threading.Timer(0.6, stop.request, [ExitCode.TERMINATED])
    timer.start()
    began = time.monotonic()
    report = there(folder / "in", out, machines.address, stop)
    assert time.monotonic() - began < 5
    timer.cancel()
    assert report.exit_code is ExitCode.TERMINATED
    assert report.count(Status.LEFT) > 0
    assert leftovers(out) == []
    rest = there(folder / "in", out, machines.address)
    assert rest.exit_code is ExitCode.SOME_FAILED
    assert tree(out) == tree(folder / "whole")


def test_a_scheduler_that_is_gone_ends_the_run(folder: Path, tmp_path: Path) -> None:
    told = tmp_path / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    alone = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def kill() -> None:
        while not any((tmp_path / "alone").rglob("*.png")):
            time.sleep(0.01)
        alone.kill()

    try:
        while not told.is_file():
            time.sleep(0.05)
        with Workers(tmp_path, json.loads(told.read_text())["address"]) as workers:
            workers.have(1)
            threading.Thread(target=kill).start()
            began = time.monotonic()
            report = there(folder / "in", tmp_path / "alone", str(told))
            assert time.monotonic() - began < 30
    finally:
        alone.kill()
        alone.wait()
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert "scheduler is gone" in report.message
    assert tree(tmp_path / "alone").items() <= tree(folder / "whole").items()


def test_shares_may_each_have_the_cluster(machines: Cluster, folder: Path) -> None:
    machines.have(1)
    counts = [
        there(folder / "in", folder / "shares", machines.address, shard=(index, 2), max_files=None).count(Status.DONE)
        for index in range(2)
    ]
    assert sum(counts) == FILES - 1
    assert min(counts) > FILES // 3
    assert tree(folder / "shares") == tree(folder / "whole")
    assert lines(folder / "shares") == sorted(tree(folder / "whole"))


def test_a_result_that_dies_with_its_worker_is_waited_for() -> None:
    class Future:
        """Dask has told of a result, and takes that back; the worker that does it again has other news."""

        def __init__(self) -> None:
            self.asked = 0

        def exception(self, timeout: float) -> None:
            self.asked += 1
            if self.asked < 3:
                raise TimeoutError

        def cancelled(self) -> bool:
            return False

        def result(self, timeout: float) -> Outcome:
            if self.asked < 4:
                self.asked += 1
                raise TimeoutError
            return Outcome(notes=(("hello", "info"),))

    future: Any = Future()
    waiter = cluster._Run.__new__(cluster._Run)
    waiter.error, waiter._pending, waiter._done = None, {future: [item(1)]}, queue.SimpleQueue()
    told: list[Outcome] = []
    waiter._tell = told.append  # type: ignore[method-assign]
    waiter._take(future)
    while not told:
        waiter._take(waiter._done.get_nowait())
    assert (waiter.error, waiter._pending, future.asked) == (None, {}, 5)


@pytest.mark.slow
def test_workers_of_this_machine_with_the_real_network(tmp_path: Path) -> None:
    for index in range(6):
        write_png(tmp_path / "in" / f"{index}.png", index, 96 + 8 * index, 128)
    common: dict[str, Any] = {"max_memory": 1 << 31, "device": "cpu"}
    run(tmp_path / "in", tmp_path / "one", RunOptions(**common))
    report = run(tmp_path / "in", tmp_path / "dask", RunOptions(backend="dask", **common))
    assert report.exit_code is ExitCode.OK
    assert len(tree(tmp_path / "one")) == 6
    assert tree(tmp_path / "dask") == tree(tmp_path / "one")


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "in" / "a.png", 0)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(UnavailableError, match="no Dask scheduler answers there"):
        there(tmp_path / "in", tmp_path / "out", "tcp://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="no such scheduler file"):
        there(tmp_path / "in", tmp_path / "out", str(tmp_path / "missing.json"))
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as alone,
        pytest.raises(UnavailableError, match="no workers; start some: dask worker tcp://"),
    ):
        there(tmp_path / "in", tmp_path / "out", alone.scheduler_address)
    assert tree(tmp_path / "out") == {}


def test_a_file_that_kills_its_workers_fails_and_the_others_are_done() -> None:
    class Silent:
        told: list[FileResult] = []  # noqa: RUF012 - one test

        def advance(self, files: int = 0, megapixels: float = 0.0) -> None:
            pass

    victim = cluster._Run.__new__(cluster._Run)
    victim.error, victim._units = None, Units([])
    victim.delegation = type("Told", (), {"record": Silent.told.append})()  # type: ignore[assignment]
    victim.shared = type("Shared", (), {"progress": Silent()})()  # type: ignore[assignment]
    unit = [item(1), item(2)]
    death = distributed.KilledWorker("unit", None, 3)
    victim._failed(unit, death)
    assert (victim._units.next(4), victim._units.next(4), victim._units.next(4)) == ([unit[0]], [unit[1]], [])
    victim._failed(unit[:1], death)
    assert [(result.status, "died" in result.reason) for result in Silent.told] == [(Status.FAILED, True)]
    assert victim.error is None
    victim._failed(unit, ModuleNotFoundError("No module named 'denoiser'", name="denoiser"))
    assert "install image-denoiser[dask]" in str(victim.error)


def item(number: int, size: int = 1000) -> Item:
    path = Path(f"/in/{number}.png")
    return Item(path, path.name, Path("/out", path.name), Action.PROCESS, Stamp(size, 0))


def test_units_are_all_the_work_in_order_and_become_smaller() -> None:
    work = [item(number, 100_000) for number in range(1000)]
    units = Units(work)
    cut = []
    while unit := units.next(4):
        cut.append(unit)
        units.measure(10**9, 1, 1.0)
    assert [each for unit in cut for each in unit] == work
    assert max(map(len, cut)) <= MOST_FILES
    assert 20 < len(cut) < 150
    assert len(cut[-1]) == 1
    assert Units([item(1, 10**12), item(2)]).next(4) == [item(1, 10**12)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "spark"}, "--backend"),
        ({"scheduler": "tcp://a:1"}, "belongs to --backend dask"),
        ({"backend": "dask", "device": "cuda:all"}, "one device"),
        ({"backend": "dask", "device": "cuda:0,cuda:1"}, "one device"),
    ],
)
def test_usage(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunOptions(**values)


def test_a_loaded_model_stays_where_it_is(tmp_path: Path) -> None:
    network: Any = FakeDenoiser()
    for values in ({"backend": "dask"}, {"device": "cpu,cpu"}):
        with pytest.raises(UsageError, match="stays in its process"):
            run(tmp_path, tmp_path / "out", RunOptions(**values), denoiser=network)
