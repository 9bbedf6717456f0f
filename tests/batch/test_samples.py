"""The sample tree of every format, with bad files among the good ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from denoiser.batch import Report
from denoiser.errors import ExitCode
from tests.batch.fakes import FakeDenoiser, leftovers
from tests.images.compare import assert_same_kind
from tests.images.samples import make_bad_tree, make_tree


def test_every_format_comes_back_as_it_was_and_bad_files_are_named(tmp_path: Path, runs: Callable[..., Report]) -> None:
    good = make_tree(tmp_path / "in")
    bad = make_bad_tree(tmp_path / "in" / "bad ones")
    report = runs(FakeDenoiser(), max_memory=2_000_000)
    assert report.exit_code is ExitCode.SOME_FAILED
    assert {result.source for result in report.failures} == set(bad)
    assert all(result.reason for result in report.failures)
    assert report.totals()["done"] == len(good)
    for path in good:
        assert_same_kind(path, tmp_path / "out" / path.relative_to(tmp_path / "in"), pixels_equal=False)
    made = sum(len(names) for place, _, names in os.walk(tmp_path / "out") if not place.endswith(".denoiser"))
    assert made == len(good)
    assert leftovers(tmp_path) == []
    again = runs(FakeDenoiser())
    assert (again.totals()["skipped"], again.totals()["failed"]) == (len(good), len(bad))
