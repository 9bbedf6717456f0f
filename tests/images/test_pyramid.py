"""Reduced versions of pages are recognised, and made anew of what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from denoiser import images
from denoiser.images import Page
from denoiser.images.pyramid import is_reduced
from tests.images.samples import averaged, picture
from tests.images.test_tiff import bands


def negate(source: Path, target: Path, height: int = 7) -> None:
    """Write the negative, band by band."""
    with images.open_source(source) as opened:
        pages = ((-band for band in bands(opened, index, height)) for index in range(len(opened.header.pages)))
        images.save(target, opened.header, pages)


def means(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Area averages by the definition, pixel by pixel; only finite values count."""
    rows = np.arange(height + 1) * pixels.shape[0] // height
    columns = np.arange(width + 1) * pixels.shape[1] // width
    made = np.full((height, width), np.nan)
    for y in range(height):
        for x in range(width):
            block = pixels[rows[y] : rows[y + 1], columns[x] : columns[x + 1]]
            if np.isfinite(block).any():
                made[y, x] = block[np.isfinite(block)].mean(dtype=np.float64)
    return made


@pytest.mark.parametrize("spool", [1, 1 << 20])
def test_levels_in_subifds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: int) -> None:
    monkeypatch.setattr("denoiser.images.pyramid._SPOOL", spool)
    full = picture("u2", 3, height=96, width=128)
    layout: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}
    with tifffile.TiffWriter(tmp_path / "in.tif", bigtiff=True) as writer:
        for page in (full, full[::-1]):
            writer.write(page, subifds=2, metadata=None, **layout)
            writer.write(page[::2, ::2], subfiletype=1, metadata=None, **layout)
            writer.write(page[::4, ::4], subfiletype=1, metadata=None, **layout)
    with images.open_source(tmp_path / "in.tif") as source:
        assert [(page.height, page.width) for page in source.header.pages] == [(96, 128)] * 2
        assert images.losses(source.header, "tiff") == ()
        assert "reduced versions" in images.losses(source.header, "npy")
    negate(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert len(written.pages) == 2
        for page, expected in zip(written.pages, (-full, -full[::-1]), strict=True):
            levels = [sub.aspage() for sub in page.pages]
            assert np.array_equal(page.asarray(), expected)
            half = averaged(expected)
            assert np.array_equal(levels[0].asarray(), half)
            assert np.array_equal(levels[1].asarray(), averaged(half))
            assert all(each.tile == (32, 32) and each.compression == 8 and each.subfiletype == 1 for each in levels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif"]


def test_levels_behind_the_page(tmp_path: Path) -> None:
    """As GDAL writes them: directories of their own, sides rounded up."""
    full = picture("f4", height=101, width=77)
    full[40:60, 10:30] = np.nan
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(full, tile=(16, 16), metadata=None)
        for factor in (2, 4):
            writer.write(full[::factor, ::factor], subfiletype=1, tile=(16, 16), metadata=None)
        writer.write(picture("u1"), metadata=None)
    with images.open_source(tmp_path / "in.tif") as source:
        assert [page.height for page in source.header.pages] == [101, 48]
    negate(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert [page.shape for page in written.pages] == [(101, 77), (51, 39), (26, 20), (48, 61)]
        half = means(-full, 51, 39).astype(np.float32)
        np.testing.assert_allclose(written.pages[1].asarray(), half, rtol=1e-6)
        np.testing.assert_allclose(written.pages[2].asarray(), means(half, 26, 20), rtol=1e-6)
        assert np.isnan(written.pages[2].asarray()).any()


def test_missing_pixels_do_not_darken_a_level(tmp_path: Path) -> None:
    full = np.full((32, 32), 7, np.int16)
    full[:16, :17] = -999
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(full, metadata=None, extratags=[(42113, 2, 0, "-999", True)])
        writer.write(full[::2, ::2], subfiletype=1, metadata=None)
    with images.open_source(tmp_path / "in.tif") as source:
        images.save(tmp_path / "out.tif", source.header, [bands(source, 0, 5)])
    level = tifffile.imread(tmp_path / "out.tif", key=1)
    assert (level[:8, :8] == -999).all()
    assert (level[:, 8:] == 7).all() and (level[8:] == 7).all()


@pytest.mark.parametrize(
    ("changes", "reduced"),
    [
        ({"height": 50, "width": 40}, True),
        ({"height": 25, "width": 20}, True),
        ({"height": 51, "width": 40}, True),
        ({"height": 100, "width": 80}, False),
        ({"height": 40, "width": 40}, False),
        ({"height": 200, "width": 160}, False),
        ({"height": 50, "width": 40, "dtype": np.dtype("u2")}, False),
        ({"height": 50, "width": 40, "channels": 3}, False),
    ],
)
def test_what_counts_as_reduced(changes: dict[str, Any], reduced: bool) -> None:
    full = {"height": 100, "width": 80, "channels": 1, "dtype": np.dtype("u1")}
    assert is_reduced(Page(**full), Page(**{**full, **changes})) is reduced


def test_other_pictures_in_subifds_stay_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(picture("u1", height=64, width=64), subifds=2, metadata=None)
        writer.write(picture("u1", height=32, width=32), subfiletype=1, metadata=None)
        writer.write(picture("u2", height=20, width=50), metadata=None)
    with images.open_source(tmp_path / "in.tif") as source:
        assert [page.height for page in source.header.pages] == [64, 32, 20]
    negate(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as first, tifffile.TiffFile(tmp_path / "in.tif") as second:
        (written,), (read,) = first.pages, second.pages
        for own, other in zip((written, *written.pages), (read, *read.pages), strict=True):
            assert np.array_equal(own.asarray(), -other.asarray())
