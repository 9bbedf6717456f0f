"""TIFF as a stream: only what is asked for is decoded, only a band is held, and structures survive."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoiser import images
from denoiser.errors import InputError
from denoiser.images import Source, Target
from tests.images.samples import picture


def bands(source: Source, index: int, height: int) -> Iterator[images.Pixels]:
    page = source.header.pages[index]
    return (source.read(index, top, min(top + height, page.height)) for top in range(0, page.height, height))


def rewrite(source: Path, target: Path, height: int = 64) -> None:
    with images.open_source(source) as opened:
        pages = (bands(opened, index, height) for index in range(len(opened.header.pages)))
        images.save(target, opened.header, pages)


def peak_of(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LAYOUTS = {
    "plain": {},
    "strips": {"compression": "zlib", "predictor": True, "rowsperstrip": 8},
    "tiles": {"compression": "zlib", "tile": (64, 64)},
    "planar": {"planarconfig": "separate", "compression": "zstd", "rowsperstrip": 16},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_follows_the_band(tmp_path: Path, layout: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (3000, 2000, 3), np.uint16)  # 36 MB
    planar = layout == "planar"
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, np.moveaxis(pixels, 2, 0) if planar else pixels, photometric="rgb", **LAYOUTS[layout])
    peak = peak_of(lambda: rewrite(source, tmp_path / "out.tif"))
    # Kept rows, a band, a few strips or tiles, and for planes what is spooled in memory before it goes to disk.
    assert peak < 14e6 + 34e6 * planar
    with tifffile.TiffFile(tmp_path / "out.tif") as first, tifffile.TiffFile(source) as second:
        assert np.array_equal(first.asarray(), second.asarray())


def test_planes_are_spooled_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoiser.images.tiff_write._SPOOL", 1 << 10)
    planes = np.moveaxis(picture("u2", 3), 2, 0)
    tifffile.imwrite(tmp_path / "in.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib")
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif", height=5)
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), planes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif"]


def test_overlapping_bands_decode_each_strip_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "in.tif", picture("u2", height=2000), compression="zlib", rowsperstrip=10)
    decoded = []
    with images.open_source(tmp_path / "in.tif") as source:
        segment = source._segment
        monkeypatch.setattr(source, "_segment", lambda page, index: (decoded.append(index), segment(page, index))[1])
        source.read(0, 900, 910)
        assert decoded == [90]
        decoded.clear()
        for top in range(0, 2000, 400):
            source.read(0, max(0, top - 96), min(2000, top + 496))
    assert sorted(set(decoded)) == list(range(200))
    assert len(decoded) == 200


def test_stacks_are_read_page_by_page(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4096, (120, 256, 256), np.uint16)  # 16 MB
    tifffile.imwrite(tmp_path / "in.tif", stack, photometric="minisblack", compression="zlib")
    assert peak_of(lambda: rewrite(tmp_path / "in.tif", tmp_path / "out.tif", height=256)) < 5e6
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), stack)


def test_npy_is_streamed(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.random.default_rng(0).random((40, 300, 400)))  # 38 MB
    assert peak_of(lambda: rewrite(tmp_path / "in.npy", tmp_path / "out.npy")) < 3e6
    assert (tmp_path / "in.npy").read_bytes() == (tmp_path / "out.npy").read_bytes()


def test_a_stack_with_one_directory_stays_contiguous(tmp_path: Path) -> None:
    stack = np.stack([picture("u2", seed=seed) for seed in range(4)])
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    with images.open_source(tmp_path / "in.tif") as source:
        assert len(source.header.pages) == 4
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif", height=11)
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert written.series[0].axes == "ZYX" and written.series[0].dataoffset is not None
        assert np.array_equal(written.asarray(), stack)


def test_sparse_tiles_hold_the_no_data_value(tmp_path: Path) -> None:
    tile = np.full((32, 32), 7, np.int16)
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(
            iter([tile, None, None, tile]), shape=(64, 64), dtype="i2", tile=(32, 32), photometric="minisblack",
            extratags=[(42113, 2, 0, "-9999", True)],
        )  # fmt: skip
    with images.open_source(tmp_path / "in.tif") as source:
        pixels = source.read(0, 0, 64)
        assert source.header.pages[0].nodata == -9999
    assert (pixels[:32, 32:] == -9999).all() and (pixels[:32, :32] == 7).all()
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), pixels[..., 0])


def test_the_shape_of_indices_is_not_that_of_colours(tmp_path: Path) -> None:
    table = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", picture("u1"), photometric="palette", colormap=table)
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "in.tif") as first, tifffile.TiffFile(tmp_path / "out.tif") as second:
        assert first.is_shaped and not second.is_shaped
        assert second.series[0].shape == (48, 61, 3)


def test_masks_and_layers_are_named_as_lost(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        layers = (37724, 7, 12, b"Adobe layers", True)
        writer.write(picture("u1", 3), photometric="rgb", metadata=None, extratags=[layers])
        writer.write(picture("u1") > 9, subfiletype=4, metadata=None)
    with images.open_source(tmp_path / "in.tif") as source:
        assert len(source.header.pages) == 1
        assert images.losses(source.header, "keep") == ("Photoshop layers", "transparency masks")


def test_compression_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", picture("u2"), compression="jpegxr")
    with images.open_source(tmp_path / "in.tif") as source:
        assert images.losses(source.header, "tiff") == ("JPEGXR compression",)


def test_packed_samples_keep_their_values_and_the_wider_container_is_named(tmp_path: Path) -> None:
    pixels = picture("u2") >> 4
    tifffile.imwrite(tmp_path / "in.tif", pixels, bitspersample=12)
    with images.open_source(tmp_path / "in.tif") as source:
        assert np.array_equal(np.squeeze(source.read(0, 0, len(pixels))), np.squeeze(pixels))
        assert images.losses(source.header, "keep") == ("samples of 12 bits (they take 16)",)


@pytest.mark.parametrize("compression", ["png", "webp", "jpegxl", "jpeg2000", "lerc", "lzma"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_rare_compressions_are_kept_without_loss(tmp_path: Path, compression: str, tile: tuple[int, int]) -> None:
    layout = {"tile": tile} if tile else {"rowsperstrip": 16}
    tifffile.imwrite(tmp_path / "in.tif", picture("u1", 3), photometric="rgb", compression=compression, **layout)
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "in.tif") as first, tifffile.TiffFile(tmp_path / "out.tif") as second:
        assert first.pages.first.compression == second.pages.first.compression
        assert np.array_equal(first.asarray(), second.asarray())


def test_several_threads_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "in.tif", picture("u2", 3, height=500), photometric="rgb", compression="zlib")
    rewrite(tmp_path / "in.tif", tmp_path / "one.tif")
    monkeypatch.setattr("denoiser.images.tiff_write._PARALLEL", 0)
    monkeypatch.setattr(tifffile.TIFF, "MAXWORKERS", 3)
    rewrite(tmp_path / "in.tif", tmp_path / "three.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "three.tif").read_bytes()


def test_what_is_too_large_for_32_bits_becomes_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoiser.images.tiff_write._CLASSIC_LIMIT", 1000)
    tifffile.imwrite(tmp_path / "in.tif", picture("u2"), metadata=None)
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert written.is_bigtiff
        assert np.array_equal(written.asarray(), picture("u2"))


def test_a_wrong_number_of_rows_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", picture("u2"), compression="zlib", rowsperstrip=16)
    with images.open_source(tmp_path / "in.tif") as source:
        whole = source.read(0, 0, 48)
        for rows in (whole[:40], np.concatenate([whole, whole[:1]])):
            with pytest.raises(ValueError, match="rows"):
                images.save(tmp_path / "out.tif", source.header, [iter([rows])])


def test_quality_of_jpeg_inside_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", picture("u1", 3), photometric="rgb", compression="jpeg")
    sizes = []
    for quality in (20, 90):
        with images.open_source(tmp_path / "in.tif") as source:
            images.save(tmp_path / "out.tif", source.header, [bands(source, 0, 48)], Target(quality=quality))
        sizes.append((tmp_path / "out.tif").stat().st_size)
    assert sizes[0] < sizes[1]


def test_rows_of_wide_tiles_are_counted_and_not_hoarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (1600, 9000), np.uint16)  # 29 MB; a row of tiles 9.2 MB
    tifffile.imwrite(tmp_path / "in.tif", pixels, tile=(512, 512))
    with images.open_source(tmp_path / "in.tif") as source:
        row_of_tiles = 512 * 9000 * 2
        assert source.header.streams and source.header.held == 2 * row_of_tiles
    monkeypatch.setattr("denoiser.images.tiff._KEPT_BYTES", 1 << 20)
    peak = peak_of(lambda: rewrite(tmp_path / "in.tif", tmp_path / "out.tif", height=100))
    assert peak < 2 * row_of_tiles + 6e6  # and two bands and a few tiles
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), pixels)


def test_large_strips_and_tiles_stream_where_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("tiff", "tiff_listing"):
        monkeypatch.setattr(f"denoiser.images.{room}.LARGEST_SEGMENT", 1000)
    for tile, streams in ((16, True), (48, False)):
        tifffile.imwrite(tmp_path / "in.tif", picture("u2", height=200), tile=(tile, 64))
        with images.open_source(tmp_path / "in.tif", 1 << 20) as source:
            assert source.header.streams is streams
    with pytest.raises(InputError, match="its strips or tiles take 6 KiB decoded"):
        images.open_source(tmp_path / "in.tif", 5000)


def test_npy_does_not_stay_mapped_into_memory(tmp_path: Path) -> None:
    array = np.arange(6 * 5 * 4 * 3, dtype=">u2").reshape(6, 5, 4, 3)
    np.save(tmp_path / "in.npy", array)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(array))
    for name in ("in.npy", "fortran.npy"):
        with images.open_source(tmp_path / name) as source:
            assert np.array_equal(source.read(4, 1, 4), array[4, 1:4])
    with images.open_source(tmp_path / "in.npy") as source:
        (tmp_path / "in.npy").write_bytes((tmp_path / "in.npy").read_bytes()[:-2])
        with pytest.raises(InputError, match="cut short"):
            source.read(5, 2, 5)
