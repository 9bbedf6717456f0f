"""``--report``: samples on the way, and the report as a document and as a page."""

from __future__ import annotations

import io
import json
import re
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiser.batch import FileResult, Report, RunOptions, Status, page, run
from denoiser.batch.items import Action, Item
from denoiser.batch.manifest import Stamp
from denoiser.batch.reading import Band
from denoiser.batch.samples import SIDE, VIEW, Sample, picture
from denoiser.errors import ExitCode, OutputError, UsageError
from denoiser.images import Header, Page, open_source
from tests.batch.fakes import FakeDenoiser, write_npy, write_png
from tests.batch.fakes import picture as pixels
from tests.pages import Tags, browser, drive

Runs = Callable[..., Report]

DRIVE = """
const found = {};
const first = document.querySelector(".sheet"), range = first.querySelector("input");
range.value = 20;
range.dispatchEvent(new Event("input"));
found.cut = first.querySelector(".slider").style.getPropertyValue("--cut");
const rows = () => [...document.querySelectorAll("#table tbody tr")];
found.statuses = rows().map(row => row.cells[1].textContent);
const heading = document.querySelectorAll("#table th")[4];
heading.firstElementChild.click();
found.descending = rows().map(row => row.cells[4].dataset.value);
heading.firstElementChild.click();
found.ascending = rows().map(row => row.cells[4].dataset.value);
find.value = "BROKEN";
find.dispatchEvent(new Event("input"));
found.left = rows().filter(row => !row.hidden).length;
const loaded = performance.getEntriesByType("resource").map(each => each.name);
found.fetched = loaded.filter(name => !name.startsWith("data:"));
found.unlabelled = [...document.querySelectorAll("input, button")].filter(
  each => !(each.getAttribute("aria-label") || each.textContent)).length;
await Promise.all([...document.images].map(image => image.decode()));
found.decoded = document.images.length;
return found;
"""


@pytest.fixture
def made(tmp_path: Path, runs: Runs) -> Path:
    """A page on four good files and a bad one, with names that would break a page that trusts them."""
    for index in range(3):
        write_png(tmp_path / "in" / "a&b" / f"<i>{index}.png", index, 40, 30)
    write_npy(tmp_path / "in" / "float.npy", pixels(7, 40, 30, 1, np.float32))
    whole = write_png(tmp_path / "in" / "broken.png", 9)
    whole.write_bytes(whole.read_bytes()[:-20])
    path = tmp_path / "deep" / "page.html"
    assert runs(report=path).exit_code is ExitCode.SOME_FAILED
    return path


def test_the_page_is_whole_and_needs_nothing_else(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert len(tags.sources) == 9 and all(source.startswith("data:") for source in tags.sources)
    assert not re.search(r"https?://|@import|url\(", text)
    for word in (
        "a&amp;b/&lt;i&gt;0.png",
        "cut short",
        "fake",
        "<b>4</b> done",
        "<b>1</b> failed",
        "range, or of floats in their own units",
    ):
        assert word in text
    assert text.index("broken.png") < text.index("float.npy"), "what needs a person comes first"
    assert [each.name for each in made.parent.iterdir()] == ["page.html"], "no temporary file is left"


@browser
def test_the_page_works_in_a_browser(made: Path, tmp_path: Path) -> None:
    found = drive(made, tmp_path, 1400, DRIVE)
    assert found["errors"] == [] and found["fetched"] == [] and found["unlabelled"] == 0
    assert (found["cut"], found["decoded"], found["left"]) == ("20%", 8, 1)
    assert found["statuses"] == ["failed"] + ["done"] * 4
    ascending = [float(value) for value in found["ascending"][:-1]]
    assert ascending == sorted(ascending) == [float(value) for value in found["descending"][:-1]][::-1]
    assert found["ascending"][-1] == found["descending"][-1] == "", "what is not known comes last"


def test_the_document_has_the_noise_of_each_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (300, 400, 3))
    write_npy(tmp_path / "in" / "a.npy", np.rint(128 + noise).astype(np.uint8))
    write_npy(tmp_path / "in" / "b.npy", ((128 + noise) * 257).astype(np.uint16))
    write_npy(tmp_path / "in" / "c.npy", (1000 + noise).astype(np.float32))
    network: Any = FakeDenoiser()
    report = run(tmp_path / "in", tmp_path / "out", RunOptions(report=tmp_path / "r.json"), denoiser=network)
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(report.to_json()))
    for file, unit in zip(document["files"], ("1/255", "1/255", "stored"), strict=True):
        assert file["noise"]["unit"] == unit
        assert file["noise"]["before"] == pytest.approx(20, rel=0.03)
        assert file["noise"]["after"] < 12.5  # a mean of three rows leaves 1/sqrt(3) of white noise: 11.5
    again = run(tmp_path / "in", tmp_path / "out", RunOptions(report=tmp_path / "r.json"), denoiser=network)
    assert again.totals()["skipped"] == 3
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["totals"]["skipped"] == 3


def test_a_report_changes_no_output_and_no_key(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 1)
    runs(output=tmp_path / "plain")
    report = runs(output=tmp_path / "plain", report=tmp_path / "r.html")
    assert report.totals()["skipped"] == 1
    runs(output=tmp_path / "out", report=tmp_path / "r.html")
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "plain" / "a.png").read_bytes()


def test_the_sample_does_not_depend_on_where_a_file_is_cut() -> None:
    before = np.arange(600 * 300, dtype=np.uint32).reshape(600, 300, 1)
    header = Header(Path("a.tif"), "tiff", (Page(1, 1, 1, before.dtype), Page(600, 300, 1, before.dtype)), streams=True)
    found = []
    for rows in (1, 7, 173, 600):
        sample = Sample.of(header, RunOptions())
        for start in range(0, 600, rows):
            part = before[start : start + rows]
            sample.add(Band(1, start, start + len(part), part, 1), part, part // 2)
        squares = [np.concatenate(each) for each in zip(*sample.parts, strict=True)]
        assert squares[0].shape == (SIDE, SIDE, 1)
        found.append(squares)
        views = sample.views()
        assert views is not None and Image.open(io.BytesIO(views[0])).size == (VIEW, VIEW)
    for squares in found:
        np.testing.assert_array_equal(squares[0], before[168:424, 16:272])
        np.testing.assert_array_equal(squares[1], before[168:424, 16:272] // 2)


@pytest.mark.parametrize("array", [np.full((9, 9, 1), np.nan), np.ones((1, 1, 3)), np.full((5, 1, 1), -3.0)])
def test_samples_without_noise_or_pixels_say_nothing(array: Any) -> None:
    height, width, channels = array.shape
    header = Header(Path("a.npy"), "npy", (Page(height, width, channels, array.dtype),), streams=True)
    sample = Sample.of(header, RunOptions())
    assert (sample.noise(), sample.views()) == ({}, None)
    sample.add(Band(0, 0, height, array, channels), array, array)
    assert sample.noise() == {"before": None, "after": None, "unit": "stored"}
    assert sample.views() is not None
    json.dumps(sample.noise(), allow_nan=False)


@pytest.mark.parametrize("kind", ["inks", "white as zero"])
def test_views_show_what_values_stand_for(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 200, 64 * 64).reshape(64, 64)
    light = np.stack([255 - ramp, 255 - ramp / 2, np.full_like(ramp, 255)], axis=2)
    if kind == "inks":
        path = tmp_path / "a.jpg"
        ink = np.concatenate([255 - light, np.zeros_like(light[..., :1])], axis=2)
        Image.fromarray(ink.astype(np.uint8), "CMYK").save(path, quality=100)
    else:
        path = tmp_path / "a.tif"
        light = light[..., :1]
        tifffile.imwrite(path, (255 - light[..., 0]).astype(np.uint8), photometric="miniswhite")
    with open_source(path) as source:
        sample = Sample.of(source.header, RunOptions())
        stored = source.read(0, 0, 64)
    sample.add(Band(0, 0, 64, stored, stored.shape[2]), stored, stored)
    views = sample.views()
    assert views is not None
    shown = np.asarray(Image.open(io.BytesIO(views[0])).convert("RGB")).astype(float)
    assert np.abs(shown - light).mean() < 4


def test_samples_do_not_pile_up(tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[weakref.ref[Sample]] = []
    alive = []
    make = Sample.of

    def remembered(*arguments: Any) -> Sample:
        sample = make(*arguments)
        taken.append(weakref.ref(sample))
        alive.append(sum(each() is not None for each in taken))
        return sample

    monkeypatch.setattr(Sample, "of", remembered)
    for index in range(30):
        write_png(tmp_path / "in" / f"{index}.png", index)
    assert runs(report=tmp_path / "r.html", jobs=2).exit_code is ExitCode.OK
    assert len(alive) == 30 and max(alive) <= 3


def test_few_files_have_views_and_they_are_spread() -> None:
    items = [Item(Path(f"{i}"), f"{i}", None, Action.PROCESS, Stamp(0, 0)) for i in range(1000)]
    chosen = [int(item.place) for item in picture(items, 5) if item.pictured]
    assert chosen == [0, 250, 500, 749, 999]
    assert [item.pictured for item in picture(items[:3], 5)] == [True] * 3
    assert picture([], 5) == []


def test_a_page_of_very_many_files_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "ROWS", 500)
    views = (b"a" * 10_000, b"b" * 5_000)
    checks = {"mean_before": 120.25, "mean_after": 119.5, "clipped_after": 0.01}
    noise = {"before": 12.5, "after": 1.1, "unit": "1/255"}
    files = [
        FileResult(
            source=Path("/archive", f"{index:06}.png"),
            target=None,
            status=Status.FAILED if index == 650 else Status.DONE,
            reason="broken" if index == 650 else "",
            checks=checks,
            noise=noise,
            views=views if index < page.PICTURES else None,
        )
        for index in range(700)
    ]
    report = Report(tuple(files), Path("out"), 700, 0, datetime(2024, 1, 1, tzinfo=UTC), 2.0, {}, {"model": "unet"})
    text = "".join(page.render(report))
    assert "200 more files are not shown" in text
    assert text.index("000650.png") < text.index("000000.png")
    table = text[text.index("<tbody>") :]
    assert table.count("<tr>") == 500 and "000650.png" in table[:500]
    assert len(table) < 500 * 300 + 5_000
    assert len(text) - len(table) < page.PICTURES * 21_000 + 20_000


@pytest.mark.parametrize(
    ("name", "error"), [("", UsageError), ("page.pdf", UsageError), ("file/page.html", OutputError)]
)
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    name: str, error: type[Exception], tmp_path: Path, runs: Runs
) -> None:
    write_png(tmp_path / "in" / "a.png", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(error):
        runs(report=tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_no_report(tmp_path: Path, runs: Runs) -> None:
    write_png(tmp_path / "in" / "a.png", 1)
    runs(report=tmp_path / "r" / "page.html", dry_run=True)
    assert not (tmp_path / "r").exists()
