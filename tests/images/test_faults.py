"""Damaged, mislabelled and hostile files: one clear error each, quickly and without memory."""

from __future__ import annotations

import os
import socket
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from denoiser import images
from denoiser.errors import InputError
from tests.images.samples import make_bad_tree, make_tree, picture, png_bytes

REASONS = {
    "bomb.png": r"60000 x 60000 pixels take 10\.06 GiB decoded, above the limit of 1 GiB.*--max-memory",
    "broken link.png": "points to nothing",
    "cut.jpg": "cut short",
    "cut.png": "cut short",
    "cut.tif": "cut short",
    "empty.png": "is empty",
    "locked.png": "permissions",
    "loop.png": "symbolic links|Symlink|cannot be examined",
    "text.tif": "is a text file",
}


def read_all(path: Path) -> None:
    with images.open_source(path, 1 << 30) as source:
        for index, page in enumerate(source.header.pages):
            pixels = source.read(index, 0, page.height)
            assert pixels.shape == (page.height, page.width, page.channels)
            assert pixels.dtype == page.dtype


def test_every_bad_file_is_named_with_its_reason(tmp_path: Path) -> None:
    bad = make_bad_tree(tmp_path)
    assert {path.name for path in bad} >= REASONS.keys() - {"locked.png"}
    for path in bad:
        with pytest.raises(InputError, match=f"{path.name}: .*({REASONS[path.name]})"):
            read_all(path)


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_bytes((60000, 60000, 16, 6, 0), b""))
    tracemalloc.start()
    with pytest.raises(InputError):
        read_all(tmp_path / "bomb.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket may hold only about 100 bytes
        try:
            server.bind("socket.png")
        finally:
            os.chdir(here)
        for name, what in (("pipe", "pipe"), ("folder", "directory"), ("device", "device"), ("socket", "socket")):
            with pytest.raises(InputError, match=f"{name}.png: .*{what}"):
                images.open_source(tmp_path / f"{name}.png")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: there is no such file"):
        images.open_source(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GIF89a" + bytes(50), "a GIF"),
        (b"%PDF-1.7" + bytes(50), "a PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIF"),
        (bytes(50), "no known picture"),
        (b"BMW is a maker of cars, and this is a text about it", "text"),
    ],
)
def test_other_content_is_recognised(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        images.open_source(tmp_path / "a.png")
    assert images.signature(tmp_path / "a.png") is None


def test_animations_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture("u1", 3, seed=seed)) for seed in range(3)]
    for name in ("a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(InputError, match="animation"):
            images.open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), complex), "complex"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((2, 4, 4, 5), np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.array([[None]]), "Python objects"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=f"a.npy: .*({reason})"):
        images.open_source(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("photometric", "reason"), [("cielab", "L\\*a\\*b"), ("cfa", "develop"), ("logl", "logarithmic")]
)
def test_tiffs_whose_numbers_are_no_light(tmp_path: Path, photometric: str, reason: str) -> None:
    pixels = picture("u1") if photometric in ("cfa", "logl") else picture("u1", 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric)
    with pytest.raises(InputError, match=reason):
        images.open_source(tmp_path / "a.tif")


def test_a_wrong_checksum_is_found(tmp_path: Path) -> None:
    data = bytearray(png_bytes((2, 1, 8, 0, 0), b"\0\1\2", ((b"gAMA", struct.pack(">I", 45455)),)))
    data[45] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="gAMA fails its checksum"):
        images.open_source(tmp_path / "a.png")


def test_a_broken_profile_does_not_cost_the_picture(tmp_path: Path) -> None:
    chunk = (b"iCCP", b"sRGB\0\0this is not deflated")
    (tmp_path / "a.png").write_bytes(png_bytes((2, 1, 8, 0, 0), b"\0\1\2", (chunk,)))
    read_all(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:.*EXIF.*", "ignore:.*Tag data.*", "ignore:Possibly corrupt.*")
def test_a_field_that_is_no_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture("u1"), metadata=None, extratags=[(34664, 4, 1, 1000, True)])
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        place = tif.pages.first.tags[34664].offset
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<H", data, place, 34665)
    (tmp_path / "a.tif").write_bytes(data)
    with images.open_source(tmp_path / "a.tif") as source:
        assert images.losses(source.header, "keep") == ("damaged EXIF",)
        images.save(tmp_path / "out.tif", source.header, [iter([source.read(0, 0, 48)])])
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.pages.first.imagelength == 48


def test_a_large_strip_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((5000, 5000, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=5000)
    with images.open_source(tmp_path / "a.tif") as source:
        assert not source.header.streams
    with pytest.raises(InputError, match=r"strips or tiles take 71\.53 MiB.*--max-memory"):
        images.open_source(tmp_path / "a.tif", 1 << 20)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in make_tree(tmp_path_factory.mktemp("tree"))]


@given(data=st.data())
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_input_error_or_harmless(
    contents: list[tuple[str, bytes]], tmp_path: Path, data: st.DataObject
) -> None:
    name, whole = data.draw(st.sampled_from(contents))
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(damaged)
    try:
        with images.open_source(path, 1 << 26) as source:
            if source.header.megapixels < 5:
                for index, page in enumerate(source.header.pages):
                    source.read(index, 0, page.height)
    except InputError as error:
        assert str(path) in str(error)
