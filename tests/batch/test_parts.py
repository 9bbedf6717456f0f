"""What a process does for a run that another one has planned, without any other process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from denoiser.batch import Destination, FileResult, Item, RunOptions, Status, Stop, make_plan
from denoiser.batch.manifest import Manifest
from denoiser.batch.parts import Delegation, Part, Setup
from denoiser.batch.runner import RunSession
from denoiser.batch.shared import Shared
from denoiser.errors import UnavailableError
from denoiser.progress import Silent
from tests.batch.fakes import FakeDenoiser, tree, write_png


class Planned:
    """A run that has planned its work and holds its manifest open."""

    def __init__(self, root: Path, **values: Any) -> None:
        options = RunOptions(**{"jobs": 2, "max_memory": 1 << 28, **values})
        session = RunSession([root / "in"], Destination(root / "out"), options, Silent(), None, Stop())
        self.manifest = session._own_manifest()
        plan = make_plan([root / "in"], session.destination, options, session.key, self.manifest)
        self.manifest.open()
        self.results: list[FileResult] = []
        self.shared: Shared = replace(session._shared("all"), record=self.results.append)
        self.work: tuple[Item, ...] = plan.work
        self.delegation = Delegation(self.shared, self.work)
        self.setup = Setup.of(self.shared, self.work)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[FakeDenoiser]:
    """Every network that a part builds."""
    made: list[FakeDenoiser] = []

    def build(part: Part, precision: str) -> Any:
        made.append(FakeDenoiser())
        return made[-1]

    monkeypatch.setattr(Part, "_build", build)
    return made


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    monkeypatch.chdir(tmp_path)
    for index in range(6):
        write_png(tmp_path / "in" / f"{index % 2}" / f"{index}.png", index)
    return Planned(Path())


def test_a_part_loads_its_network_once_and_tells_of_every_file(planned: Planned, networks: list[FakeDenoiser]) -> None:
    with planned.setup.announced():
        part = Part(planned.setup, Silent())
        for half in (planned.delegation.work[:3], planned.delegation.work[3:]):
            assert part.do(half, planned.delegation.record) is None
    planned.delegation.settle(planned.setup)
    planned.manifest.close()
    assert len(networks) == 1
    assert sorted(result.source for result in planned.results) == sorted(item.source for item in planned.work)
    assert {result.status for result in planned.results} == {Status.DONE}
    assert {result.target for result in planned.results} == {item.target for item in planned.work}
    assert len(tree(Path("out"))) == 6
    assert sorted(path.name for path in Path("out/.denoiser").iterdir()) == ["manifest.jsonl"]


def test_what_a_dead_process_has_finished_is_told_and_not_done_again(
    planned: Planned, networks: list[FakeDenoiser]
) -> None:
    with planned.setup.announced():
        Part(planned.setup, Silent()).do(planned.delegation.work[:4], lambda result: None)  # it dies before it tells
        Part(planned.setup, Silent()).do(planned.delegation.work, planned.delegation.record)
    planned.delegation.settle(planned.setup)
    planned.manifest.close()
    assert [len(network.heights) for network in networks] == [4, 2]
    assert [result.status for result in planned.results] == [Status.DONE] * 6
    assert all(result.megapixels > 0 and result.pages == 1 for result in planned.results)
    lines = Path("out/.denoiser/manifest.jsonl").read_bytes().splitlines()
    assert len(lines) == 6
    assert set(Manifest(Path("out")).entries) == {item.place for item in planned.work}


def test_a_file_from_elsewhere_is_not_taken_for_a_finished_one(planned: Planned, networks: list[FakeDenoiser]) -> None:
    stranger = planned.delegation.work[0].target
    assert stranger is not None
    write_png(stranger, 99)
    with planned.setup.announced():
        Part(planned.setup, Silent()).do(planned.delegation.work, planned.delegation.record)
    failed = [result for result in planned.results if result.status is Status.FAILED]
    assert [result.target for result in failed] == [planned.work[0].target]
    assert "from elsewhere" in failed[0].reason


def test_a_result_that_is_told_twice_counts_once(planned: Planned) -> None:
    result = FileResult(planned.delegation.work[0].source, planned.delegation.work[0].target, Status.DONE)
    planned.delegation.record(replace(result, status=Status.LEFT))
    for _ in range(2):
        planned.delegation.record(result)
    assert [(told.source, told.status) for told in planned.results] == [(planned.work[0].source, Status.DONE)]


def test_who_cannot_take_part_says_why(planned: Planned, tmp_path: Path) -> None:
    with planned.setup.announced():
        planned.setup.check()
        with pytest.raises(UnavailableError, match=r"this is 0\.0; install the same"):
            Part(replace(planned.setup, version="0.0"), Silent())
        with pytest.raises(UnavailableError, match=r"does not see .*elsewhere.* as it is here; give paths"):
            Part(replace(planned.setup, root=tmp_path / "elsewhere"), Silent())
        with pytest.raises(UnavailableError, match=r"does not see .*nowhere; give paths"):
            Part(replace(planned.setup, folder=tmp_path / "nowhere"), Silent())
        with pytest.raises(UnavailableError, match="another file for the model 'auto'"):
            Part(replace(planned.setup, key="other"), Silent())
    with pytest.raises(UnavailableError, match="does not see"):
        planned.setup.check()


def test_others_get_absolute_paths_and_no_limits_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "in" / "a.png", 0)
    planned = Planned(
        Path(), save_residual="res", events="e.jsonl", max_files=3, max_runtime=60.0, shard=(0, 1), backend="dask"
    )
    options = planned.setup.options
    assert options.save_residual == tmp_path / "res"
    assert (options.events, options.max_files, options.max_runtime, options.shard) == (None, None, None, None)
    assert (options.backend, options.scheduler) == ("local", None)
    assert planned.setup.deadline is not None
    assert [item.residual for item in planned.delegation.work] == [tmp_path / "res" / "a.png.tif"]
    assert planned.delegation.work[0].source == tmp_path / "in" / "a.png"


def test_memory_and_threads_are_divided_among_the_processes_of_a_machine(planned: Planned) -> None:
    with planned.setup.announced():
        setup = replace(planned.setup, processes=4, options=replace(planned.setup.options, jobs="auto"))
        part = Part(setup, Silent())
    assert part._memory() == (1 << 28) // 4
    assert 2 <= part.options.threads <= 8


def test_manifests_of_dead_runs_are_taken_over_when_they_are_old(planned: Planned) -> None:
    folder = planned.manifest.folder
    young, old = folder / "manifest-part-0000-1.jsonl", folder / "manifest-part-0000-2.jsonl"
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    proof, dead = folder / "part-0000", folder / "part-1111"
    for path in (proof, dead):
        path.write_text("proof")
    os.utime(dead, (1, 1))
    planned.setup.fold(planned.manifest)
    assert young.exists() and not old.exists()
    assert proof.exists() and not dead.exists()
