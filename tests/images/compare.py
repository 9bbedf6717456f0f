"""Whether two files are of the same kind, in the eyes of readers other than the code under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image


def assert_same_kind(a: Path, b: Path, pixels_equal: bool) -> None:
    """Compare two files in everything but their pixels, and in those too if asked, through Pillow and tifffile.

    ``a`` is the input: what comes out expanded (palette, less than 8 bits) is expected so in ``b``.
    """
    same_format = {".npy": _same_array, ".tif": _same_tiff, ".tiff": _same_tiff}.get(a.suffix, _same_raster)
    same_format(a, b, pixels_equal)


def _same_array(a: Path, b: Path, pixels_equal: bool) -> None:
    first, second = np.load(a), np.load(b)
    assert (first.shape, first.dtype) == (second.shape, second.dtype)
    assert not pixels_equal or np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _expanded(image: Image.Image) -> Image.Image:
    """With its palette, colour key or few bits resolved, as the program does."""
    keyed = "transparency" in image.info
    modes = {"1": "L", "P": "RGBA" if keyed else "RGB"}
    modes |= {"RGB": "RGBA", "L": "LA"} if keyed else {}
    mode = modes.get(image.mode, image.mode)
    return image if mode == image.mode else image.convert(mode)


def _same_raster(a: Path, b: Path, pixels_equal: bool) -> None:
    with Image.open(a) as first, Image.open(b) as second:
        assert (first.format, first.size) == (second.format, second.size)
        assert _expanded(first).mode == second.mode
        for key in ("icc_profile", "xmp", "gamma", "chromaticity", "srgb", "comment", "progressive", "exif"):
            assert first.info.get(key) == second.info.get(key), key
        assert first.info.get("dpi", 0) == pytest.approx(second.info.get("dpi", 0), rel=1e-3)
        assert exif_of(first) == exif_of(second)
        assert getattr(first, "text", None) == getattr(second, "text", None)
        if first.format == "JPEG":
            assert [layer[1:3] for layer in first.layer] == [layer[1:3] for layer in second.layer]
            tables = [[image.quantization[layer[3]] for layer in image.layer] for image in (first, second)]
            assert tables[0] == tables[1]
        if pixels_equal:
            assert np.array_equal(np.asarray(_expanded(first)), np.asarray(second))
    if first.format == "PNG":
        _same_depth(a.read_bytes(), b.read_bytes(), pixels_equal)


def _same_depth(first: bytes, second: bytes, pixels_equal: bool) -> None:
    """Bit depth, and the low bytes of 16-bit colour, neither of which Pillow tells."""
    assert max(8, first[24]) == second[24]
    if pixels_equal and first[24] == 16:
        assert np.array_equal(imagecodecs.png_decode(first), imagecodecs.png_decode(second))


def exif_of(image: Image.Image) -> dict[int, Any]:
    """All EXIF of a picture, directories below it included."""
    block = image.getexif()
    found = {tag: value for tag, value in block.items() if tag not in (0x8769, 0x8825)}
    return found | {directory: dict(block.get_ifd(directory)) for directory in (0x8769, 0x8825)}


# Layout that changes with the kind of pixels, or by its nature from file to file.
_LOCAL_TAGS = {258, 262, 273, 277, 278, 279, 284, 320, 324, 325, 330, 338, 339, 347, 530, 532, 34665, 34853}


def _same_tiff(a: Path, b: Path, pixels_equal: bool) -> None:
    with tifffile.TiffFile(a) as first, tifffile.TiffFile(b) as second:
        assert (first.byteorder, first.is_bigtiff) == (second.byteorder, second.is_bigtiff)
        for flag in ("is_imagej", "is_ome", "is_shaped"):
            assert getattr(first, flag) == getattr(second, flag) or first.pages.first.photometric == 3
        assert first.imagej_metadata == second.imagej_metadata
        assert first.ome_metadata == second.ome_metadata
        expanded = first.pages.first.photometric == 3 and not first.is_imagej
        for one, other in zip(first.series, second.series, strict=True):
            assert one.shape == other.shape[: len(one.shape)] and (one.axes == other.axes or expanded)
            assert len(one.levels) == len(other.levels)
        if len(first.pages) > 1 or len(second.pages) == 1:
            for one, other in zip(first.pages, second.pages, strict=True):
                _same_page(one.aspage(), other.aspage())
        if pixels_equal:
            _same_tiff_pixels(first, second)


def _same_page(one: tifffile.TiffPage, other: tifffile.TiffPage) -> None:
    expanded = one.bitspersample < 8 or other.photometric != one.photometric
    wanted = {code: one.tags[code].value for code in (tag.code for tag in one.tags) if code not in _LOCAL_TAGS}
    got = {tag.code: other.tags[tag.code].value for tag in other.tags}
    if wanted[259] in (2, 3, 4):
        wanted[259] = 8  # fax compressions hold 1 bit; the output has 8
    if one.photometric == 3 and expanded and one.description.startswith('{"shape"'):
        del wanted[270]  # tells the shape of the indices, which are colours now
    else:
        assert _descriptions(one) == _descriptions(other)
    assert {code: got.get(code) for code in wanted} == wanted
    for code in (34665, 34853):
        assert other.tags.valueof(code) == one.tags.valueof(code)
    assert (one.imagelength, one.imagewidth, one.is_tiled) == (other.imagelength, other.imagewidth, other.is_tiled)
    if not expanded:
        names = ["dtype", "photometric", "planarconfig", "samplesperpixel", "extrasamples", "rowsperstrip"]
        names.append("subsampling")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    assert len(one.pages or ()) == len(other.pages or ())
    for below, counterpart in zip(one.pages or (), other.pages or (), strict=True):
        _same_page(below.aspage(), counterpart.aspage())


def _descriptions(page: tifffile.TiffPage) -> list[str]:
    """All of them: tifffile itself writes two."""
    return [tag.value for tag in page.tags.getall(270) or ()]


def _same_tiff_pixels(first: tifffile.TiffFile, second: tifffile.TiffFile) -> None:
    for one, other in zip(first.series, second.series, strict=True):
        for level, counterpart in zip(one.levels, other.levels, strict=True):
            wanted, got = level.asarray(), counterpart.asarray()
            page = one.keyframe
            if wanted.dtype == bool:
                wanted = np.where(wanted != (page.photometric == 0), 255, 0)
            elif page.photometric == 3 and not first.is_imagej:
                wanted = np.moveaxis(page.colormap >> 8, 0, -1)[wanted]
            assert wanted.dtype == got.dtype or wanted.dtype.kind in "bi" or got.dtype == np.uint8
            assert np.array_equal(wanted, got, equal_nan=wanted.dtype.kind == "f")
