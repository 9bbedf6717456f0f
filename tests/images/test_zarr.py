"""OME-Zarr stores, written by the zarr package: nothing is lost, levels show the result, damage is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from denoiser import images
from denoiser.errors import InputError
from denoiser.images import Page, Pixels, Target, zarr_read, zarr_write

Array = NDArray[Any]
DOCUMENTS = {".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"}


def stack(shape: tuple[int, ...], dtype: Any = "u2", seed: int = 0) -> Array:
    """Noise over all of the type's range, so that nothing equals by chance."""
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.normal(0, 100, shape).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, kind.newbyteorder("="), endpoint=True).astype(kind)


def write_store(
    path: Path, full: Array, version: int = 2, levels: int = 1, deep: bool = False, inside: str = "", **layout: Any
) -> Path:
    """A store of one picture with a pyramid, each level of every second pixel (and plane, if ``deep``)."""
    group = zarr.open_group(path / inside if inside else path, mode="w", zarr_format=version)
    names = "tczyx"[5 - full.ndim :]
    datasets = []
    for number in range(levels):
        own = {"chunks": (1,) * (full.ndim - 2) + (16, 16), **layout}
        array = group.create_array(str(number), shape=full.shape, dtype=full.dtype, **own)
        array[...] = full
        array.attrs["note"] = f"level {number}"
        scale = [1.0] * (full.ndim - 2) + [0.65 * 2**number] * 2
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        full = full[..., :: 2 if deep else 1, ::2, ::2] if full.ndim > 2 else full[::2, ::2]
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    multiscales = [{"axes": axes, "datasets": datasets, "name": "cells"}]
    description: dict[str, Any] = {"multiscales": multiscales, "omero": {"channels": [{"color": "00FF00"}]}}
    if version == 2:
        multiscales[0]["version"] = "0.4"
        group.attrs.update({**description, "lab": "12"})
    else:
        group.attrs.update({"ome": {"version": "0.5", **description}, "lab": "12"})
    return path


def read_level(path: Path, place: str = "0") -> Array:
    return np.asarray(zarr.open_array(path / place, mode="r")[...])


def bands(source: images.Source, index: int, change: Callable[[Pixels], Pixels], height: int) -> Iterator[Pixels]:
    page = source.header.pages[index]
    for start in range(0, page.height, height):
        yield change(source.read(index, start, min(start + height, page.height)))


def pass_through(
    source: Path,
    target: Path,
    change: Callable[[Pixels], Pixels] = lambda rows: rows,
    height: int = 7,
    form: str = "keep",
) -> images.Header:
    """Write what was read, band by band."""
    with images.open_source(source, 1 << 26) as opened:
        pages = (bands(opened, index, change, height) for index in range(len(opened.header.pages)))
        images.save(target, opened.header, pages, Target(form))
        return opened.header


def invert(rows: Pixels) -> Pixels:
    inverse: Pixels = -rows if rows.dtype.kind == "f" else ~rows
    return inverse


def documents(path: Path) -> dict[str, bytes]:
    """All that is no chunk."""
    found = (each for each in path.rglob("*") if each.name in DOCUMENTS or each.suffix in (".xml", ".csv"))
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in found}


def chunk_files(path: Path) -> list[Path]:
    found = (each for each in path.rglob("*") if each.is_file() and each.name not in DOCUMENTS)
    return sorted(found)


def averaged(full: Array, shape: tuple[int, ...]) -> Array:
    """Means over areas or volumes by the definition, value by value."""
    edges = [np.arange(small + 1) * large // small for small, large in zip(shape, full.shape, strict=True)]
    made = np.empty(shape)
    for index in np.ndindex(shape):
        part = full[tuple(slice(each[i], each[i + 1]) for i, each in zip(index, edges, strict=True))]
        known = part[np.isfinite(part)]
        made[index] = known.mean(dtype=np.float64) if known.size else np.nan
    return made


LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plane": ((50, 70), {}),
    "one chunk": ((3, 50, 70), {"chunks": (1, 50, 70)}),
    "tczyx": ((2, 2, 2, 20, 33), {"levels": 3}),
    "dots": ((2, 40, 33), {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
    "slashes": ((2, 40, 33), {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "big-endian": ((2, 40, 33), {"dtype": ">u2"}),
    "floats": ((40, 33), {"dtype": "f4", "fill_value": np.nan}),
    "doubles": ((40, 33), {"dtype": "f8"}),
    "halves": ((40, 33), {"dtype": "f2"}),
    "signed": ((40, 33), {"dtype": "i2", "fill_value": -5}),
    "wide integers": ((40, 33), {"dtype": "u4"}),
    "deep chunks": ((2, 7, 40, 33), {"chunks": (1, 3, 16, 16), "levels": 2, "deep": True}),
    "chunks over time": ((3, 2, 3, 20, 33), {"chunks": (2, 1, 3, 16, 32)}),
    "not compressed": ((2, 40, 33), {"compressors": None}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_comes_out_as_it_went_in(tmp_path: Path, layout: str) -> None:
    shape, options = LAYOUTS[layout]
    full = stack(shape, options.get("dtype", "u2"))
    options = {key: value for key, value in options.items() if key != "dtype"}
    source = write_store(tmp_path / "in.ome.zarr", full, **options)
    header = pass_through(source, tmp_path / "out.zarr", invert)
    assert header.format == "zarr" and len(header.pages) == np.prod(shape[:-2], dtype=int)
    assert header.pages[0] == Page(*shape[-2:], 1, full.dtype.newbyteorder("="))
    assert images.losses(header, "keep") == () and header.warnings == ()
    assert documents(tmp_path / "out.zarr") == documents(source)
    assert np.array_equal(read_level(tmp_path / "out.zarr"), invert(full))
    names = [
        [file.relative_to(root).as_posix() for file in chunk_files(root)] for root in (source, tmp_path / "out.zarr")
    ]
    assert names[0] == names[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ome.zarr", "out.zarr"]


SHARDS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "shards": ((2, 70, 50), {"chunks": (1, 32, 16), "shards": (1, 32, 48)}),
    "deep shards": ((3, 40, 50), {"chunks": (1, 16, 32), "shards": (2, 32, 32)}),
    "zstd": ((40, 50), {"compressors": zarr.codecs.ZstdCodec(level=7)}),
    "blosc": ((40, 50), {"compressors": zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")}),
    "big-endian": ((40, 50), {"serializer": zarr.codecs.BytesCodec(endian="big")}),
    "transposed": ((2, 40, 50), {"filters": zarr.codecs.TransposeCodec(order=(2, 1, 0))}),
}


@pytest.mark.parametrize("spool", [1, 32 << 20])
@pytest.mark.parametrize("layout", SHARDS)
def test_version_3(tmp_path: Path, layout: str, spool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where rows of chunks wait in a file because they are large."""
    monkeypatch.setattr(zarr_write, "SPOOL", spool)
    shape, options = SHARDS[layout]
    full = stack(shape)
    source = write_store(tmp_path / "in.zarr", full, version=3, **options)
    pass_through(source, tmp_path / "out.zarr", invert)
    assert documents(tmp_path / "out.zarr") == documents(source)
    assert np.array_equal(read_level(tmp_path / "out.zarr"), invert(full))
    assert len(chunk_files(tmp_path / "out.zarr")) == len(chunk_files(source))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr", "out.zarr"]


@pytest.mark.parametrize("version", [2, 3])
def test_levels_are_averages_of_the_result(tmp_path: Path, version: int) -> None:
    full = stack((2, 5, 45, 41), "u2")
    source = write_store(tmp_path / "in.zarr", full, version, levels=3, deep=True, chunks=(1, 2, 16, 16))
    pass_through(source, tmp_path / "out.zarr", invert)
    assert read_level(source, "2").shape == (2, 2, 12, 11)
    expected = invert(full)
    for place in "12":
        level = read_level(tmp_path / "out.zarr", place)
        expected = np.rint(averaged(expected, level.shape))
        assert np.array_equal(level, expected)


def test_missing_values_do_not_darken_a_level(tmp_path: Path) -> None:
    full = stack((40, 60), "f4")
    full[:9, 20:33] = np.nan
    full[20, 5] = np.inf
    source = write_store(tmp_path / "in.zarr", full, levels=2)
    pass_through(source, tmp_path / "out.zarr")
    level = read_level(tmp_path / "out.zarr", "1")
    np.testing.assert_allclose(level, averaged(full, (20, 30)), rtol=1e-6)
    assert np.isnan(level[:4, 10:16]).all() and np.isfinite(level[10, 2])


def test_what_is_no_pixel_is_copied(tmp_path: Path) -> None:
    source = write_store(tmp_path / "in.zarr", stack((20, 30)), levels=2)
    labels = zarr.open_group(source / "labels", mode="w", zarr_format=2)
    labels.attrs["labels"] = ["cells"]
    cells = labels.create_array("cells/0", data=stack((20, 30), "i4"))
    (source / "OME").mkdir()
    (source / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    zarr.consolidate_metadata(source)
    header = pass_through(source, tmp_path / "out.zarr", invert)
    assert documents(tmp_path / "out.zarr") == documents(source)
    assert {"OME/METADATA.ome.xml", ".zmetadata"} <= documents(source).keys()
    assert np.array_equal(read_level(tmp_path / "out.zarr", "labels/cells/0"), cells[...])
    assert set(images.losses(header, "tiff")) == {"reduced versions", "OME-NGFF metadata", "labels"}


def test_several_pictures_as_bioformats2raw_writes_them(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "in.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    pictures = {str(number): stack((2, 20 + number, 30), seed=number) for number in (0, 2, 10)}
    for name, full in pictures.items():
        write_store(tmp_path / "in.zarr", full, inside=name, levels=2)
    header = pass_through(tmp_path / "in.zarr", tmp_path / "out.zarr", invert)
    assert [page.height for page in header.pages] == [20, 20, 22, 22, 30, 30]
    assert documents(tmp_path / "out.zarr") == documents(tmp_path / "in.zarr")
    for name, full in pictures.items():
        assert np.array_equal(read_level(tmp_path / "out.zarr", f"{name}/0"), invert(full))


def test_pages_to_other_formats(tmp_path: Path) -> None:
    full = stack((2, 3, 40, 33))
    source = write_store(tmp_path / "in.zarr", full, levels=2)
    header = pass_through(source, tmp_path / "out.tif", form="tiff")
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif", key=range(6)), full.reshape(6, 40, 33))
    pass_through(source, tmp_path / "out.npy", form="npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), full.reshape(6, 40, 33))
    assert images.losses(header, "npy") == ("reduced versions", "OME-NGFF metadata")
    assert "6" in (images.refusal(header, "png") or "")
    with images.open_source(tmp_path / "out.tif") as other:
        assert "not written as OME-Zarr" in (images.refusal(other.header, "zarr") or "")


def test_rows_in_any_order(tmp_path: Path) -> None:
    full = stack((2, 5, 50, 20))
    for chunks in ((1, 1, 16, 16), (1, 3, 16, 16)):
        source = write_store(tmp_path / "in.zarr", full, chunks=chunks)
        with images.open_source(source) as opened:
            random = np.random.default_rng(0)
            for page in random.integers(10, size=60):
                start, stop = sorted(random.integers(51, size=2))
                rows = opened.read(int(page), int(start), int(stop))
                assert np.array_equal(rows[:, :, 0], full.reshape(10, 50, 20)[page, start:stop])


def test_deep_chunks_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or for each plane where all planes of a chunk do not fit: then memory counts."""
    source = write_store(tmp_path / "in.zarr", stack((8, 64, 64)), chunks=(4, 64, 64))
    decoded: list[Any] = []
    before = zarr_read.ZarrSource._values
    monkeypatch.setattr(zarr_read.ZarrSource, "_values", lambda *call: decoded.append(call[2]) or before(*call))
    for limit, calls in ((1 << 20, 2), (100_000, 8)):
        decoded.clear()
        with images.open_source(source, limit) as opened:
            for page in range(8):
                opened.read(page, 0, 64)
            assert len(decoded) == calls
            assert (opened.header.held > 4 * 64 * 64 * 2) is True


def damage(path: Path, content: bytes | None) -> str:
    file = chunk_files(path / "0")[1]
    file.unlink() if content is None else file.write_bytes(content)
    return file.relative_to(path).as_posix()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("content", [b"", b"damaged", b"\0" * 1000])
def test_a_damaged_chunk_is_named(tmp_path: Path, version: int, content: bytes) -> None:
    layout: dict[str, Any] = {"shards": (1, 32, 32)} if version == 3 else {}
    source = write_store(tmp_path / "in.zarr", stack((2, 40, 33)), version, **layout)
    name = damage(source, content)
    with images.open_source(source) as opened, pytest.raises(InputError, match=f"in.zarr: its chunk {name} is .*copy"):
        opened.read(0, 0, 40)


def test_a_missing_chunk_counts_as_the_fill_value(tmp_path: Path) -> None:
    full = stack((2, 40, 33))
    source = write_store(tmp_path / "in.zarr", full, fill_value=9)
    name = damage(source, None)
    header = pass_through(source, tmp_path / "out.zarr")
    assert header.warnings == (
        f"1 of 18 chunks of 0 are not there, the first is {name}; they count as 9, as Zarr has it",
    )
    full[0, :16, 16:32] = 9
    assert np.array_equal(read_level(tmp_path / "out.zarr"), full)
    assert len(chunk_files(tmp_path / "out.zarr")) == 17, "and is left out again"
    full[0] = 9
    pass_through(write_store(tmp_path / "all.zarr", full), tmp_path / "all out.zarr", lambda rows: rows * 0)
    assert len(chunk_files(tmp_path / "all out.zarr")) == 18, "where none is missing all are written"


def described(path: Path, **description: Any) -> Path:
    """A store whose attributes say something else."""
    write_store(path, stack((2, 20, 30)), levels=2)
    attributes = json.loads((path / ".zattrs").read_text())
    first = attributes["multiscales"][0]
    first.update({key: value for key, value in description.items() if key in first})
    attributes.update({key: value for key, value in description.items() if key not in first})
    (path / ".zattrs").write_text(json.dumps(attributes))
    return path


def no_group(path: Path) -> None:
    path.mkdir()
    (path / "a.png").touch()


def bare(path: Path) -> None:
    zarr.create_array(path, data=stack((20, 30)))


def without_chunks(path: Path) -> None:
    for file in chunk_files(write_store(path, stack((20, 30))) / "0"):
        file.unlink()


def level_gone(path: Path) -> None:
    shutil.rmtree(write_store(path, stack((20, 30)), levels=2) / "1")


def odd_level(path: Path) -> None:
    write_store(path, stack((20, 30)), levels=2)
    zarr.create_array(path / "1", data=stack((40, 30)), zarr_format=2, overwrite=True)


def unknown_codec(path: Path) -> None:
    file = write_store(path, stack((20, 30))) / "0" / ".zarray"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "compressor": {"id": "secret"}}))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "plate": (lambda path: described(path, plate={"wells": []}), r"plate.*copy"),
    "axes": (lambda path: described(path, axes=[{"name": "angle"}, {"name": "y"}, {"name": "x"}]), "axes angle, y, x"),
    "order": (lambda path: described(path, axes=["y", "x", "c"]), "axes y, x, c"),
    "few axes": (lambda path: described(path, axes=["y", "x"]), r"shape \(2, 20, 30\).* 2 axes"),
    "two": (lambda path: described(path, multiscales=[{}, {}]), "2 multiscales"),
    "none": (lambda path: described(path, multiscales=[]), "no multiscales.*OME-Zarr 0.4 or 0.5"),
    "nonsense": (lambda path: described(path, datasets=[{"place": 0}]), "not as OME-NGFF has them"),
    "booleans": (lambda path: write_store(path, stack((20, 30)) > 9), "type bool.*convert"),
    "long integers": (lambda path: write_store(path, stack((20, 30), "u8")), "type uint64.*convert"),
    "no group": (no_group, "no group of Zarr arrays.*rename"),
    "bare array": (bare, "array"),
    "without chunks": (without_chunks, "0 holds no chunk.*copy"),
    "level gone": (level_gone, "array 1 is missing.*copy"),
    "odd level": (odd_level, r"level 1 .*no smaller version of 0.*anew"),
    "unknown codec": (unknown_codec, "secret"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    make, reason = REFUSED[case]
    make(tmp_path / "in.zarr")
    with pytest.raises(InputError, match=f"in.zarr.*{reason}"):
        images.open_source(tmp_path / "in.zarr")


def test_large_chunks_are_held_against_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_read, "_LARGEST_UNIT", 1000)
    source = write_store(tmp_path / "in.zarr", stack((100, 400)), chunks=(100, 400))
    with images.open_source(source, 100_000) as opened:
        assert not opened.header.streams
    with pytest.raises(InputError, match=r"chunks or shards take 78\.12 KiB.*--max-memory"):
        images.open_source(source, 50_000)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_store(tmp_path / "in.zarr", stack((20, 30)))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install 'image-denoiser\[zarr\]'"):
        images.open_source(source)


def test_the_package_is_imported_for_stores_alone(tmp_path: Path) -> None:
    look = "import sys; from denoiser import images; from denoiser.cli import main; print('zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "False\n"


def test_names_of_stores(tmp_path: Path) -> None:
    source = write_store(tmp_path / "in.ZARR", stack((20, 30)))
    assert images.is_store(source) and images.is_picture(source) and images.signature(source) == "zarr"
    (source / "thumbnail.png").touch()
    assert not images.is_picture(source / "thumbnail.png")
    (tmp_path / "zip.zarr").write_bytes(b"PK\x03\x04" + b"\0" * 40)
    assert not images.is_store(tmp_path / "zip.zarr") and images.is_picture(tmp_path / "zip.zarr")
    with pytest.raises(InputError, match="zip archive"):
        images.open_source(tmp_path / "zip.zarr")
