"""Every kind of file, read in bands and written again: what other readers find must be the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import images
from denoiser.images import Header, Source
from tests.images.samples import assert_same_kind, make_tree

LOSSY = {"jpeg": 1.0, "webp": 4.0, "tiff": 2.0}
"""Mean difference of 8-bit values after one more encoding; the noise in the samples has a deviation of 13."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    make_tree(root)
    return root


@pytest.fixture(scope="module")
def names(tree: Path) -> list[str]:
    return [str(path.relative_to(tree)) for path in sorted(tree.rglob("*")) if path.is_file()]


def bands(source: Source, height: int) -> Iterator[Iterator[images.Pixels]]:
    """All pages of a file in bands of so many rows."""
    for index, page in enumerate(source.header.pages):
        yield (source.read(index, top, min(top + height, page.height)) for top in range(0, page.height, height))


def rewrite(source: Path, target: Path, height: int = 13) -> Header:
    with images.open_source(source) as opened:
        images.save(target, opened.header, bands(opened, height))
        return opened.header


def test_every_file_keeps_its_kind(tree: Path, names: list[str], tmp_path: Path) -> None:
    assert len(names) > 80
    for number, name in enumerate(names):
        source, target = tree / name, tmp_path / f"{number}{Path(name).suffix}"
        if name.endswith(".ome.tif"):
            target = tmp_path / f"{number}.ome.tif"
        header = rewrite(source, target)
        try:
            assert_same_kind(source, target, pixels_equal=not header.metadata.lossy)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        if header.metadata.lossy:
            assert difference(source, target) <= LOSSY[header.format], name


def difference(first: Path, second: Path) -> float:
    with images.open_source(first) as one, images.open_source(second) as other:
        height = one.header.pages[0].height
        return float(np.abs(one.read(0, 0, height).astype(int) - other.read(0, 0, height)).mean())


@pytest.mark.parametrize("height", [1, 7, 48, 500])
def test_rows_do_not_depend_on_the_bands(tree: Path, names: list[str], height: int) -> None:
    for name in names:
        if name.endswith((".tif", ".npy")):
            with images.open_source(tree / name) as source:
                for index, (page, rows) in enumerate(zip(source.header.pages, bands(source, height), strict=True)):
                    whole = source.read(index, 0, page.height)
                    assert whole.shape == (page.height, page.width, page.channels), name
                    assert whole.dtype == page.dtype, name
                    assert np.array_equal(np.concatenate(list(rows)), whole, equal_nan=page.dtype.kind == "f"), name


def test_alpha_of_lossy_webp_is_exact(tree: Path, tmp_path: Path) -> None:
    source, target = tree / "web and old" / "lossy alpha.webp", tmp_path / "out.webp"
    rewrite(source, target)
    with Image.open(source) as first, Image.open(target) as second:
        assert np.array_equal(np.asarray(first)[..., 3], np.asarray(second)[..., 3])


def test_a_quality_replaces_the_tables(tree: Path, tmp_path: Path) -> None:
    source = tree / "photos" / "2024 août" / "camera.jpg"
    sizes = []
    for quality in (30, 95):
        target = tmp_path / f"{quality}.jpg"
        with images.open_source(source) as opened:
            images.save(target, opened.header, bands(opened, 48), images.Target(quality=quality))
        sizes.append(target.stat().st_size)
        with Image.open(target) as image:
            assert image.info["dpi"] == (240, 240)
    assert sizes[0] < sizes[1]


def test_content_wins_over_the_suffix(tree: Path, tmp_path: Path) -> None:
    mislabelled = tmp_path / "a.png"
    mislabelled.write_bytes((tree / "photos" / "2024 août" / "gray.jpg").read_bytes())
    header = rewrite(mislabelled, tmp_path / "out.png")
    assert header.format == "jpeg"
    with Image.open(tmp_path / "out.png") as image:
        assert image.format == "JPEG"
