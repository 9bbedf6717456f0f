"""The two small mechanisms of our own: PNG chunks put back around another encoder's output, and regrouped bands."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from denoiser import images
from denoiser.errors import InputError
from denoiser.images import Page, Target
from denoiser.images.bands import gather, regroup
from tests.images.samples import interlaced_png, picture, png_bytes


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """All chunks, their checksums tested."""
    found, position = [], 8
    while position < len(data):
        size, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + size]
        assert struct.unpack(">I", data[position + 8 + size : position + 12 + size])[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        position += 12 + size
    return found


def rewrite(source: Path, target: Path, options: Target | None = None) -> list[tuple[bytes, bytes]]:
    with images.open_source(source) as opened:
        page = opened.header.pages[0]
        images.save(target, opened.header, [iter([opened.read(0, 0, page.height)])], options)
    return chunks_of(target.read_bytes())


def test_chunks_that_stay_true_are_copied(tmp_path: Path) -> None:
    kept = (
        (b"gAMA", struct.pack(">I", 45455)),
        (b"sRGB", b"\1"),
        (b"cICP", bytes((9, 16, 0, 1))),
        (b"sBIT", bytes((7, 7, 7))),
        (b"pHYs", struct.pack(">IIB", 3, 2, 0)),
        (b"tIME", bytes(7)),
        (b"tEXt", b"Title\0Caf\xe9"),
        (b"saFe", b"safe to copy by its name"),
    )
    gone = ((b"noNE", b"critical for the pixels"), (b"hIST", bytes(2)))
    rows = b"".join(b"\0" + row.tobytes() for row in picture("u1", 3))
    (tmp_path / "in.png").write_bytes(png_bytes((61, 48, 8, 2, 0), rows, (*kept, *gone)))
    found = rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert found[0][0] == b"IHDR" and found[-1] == (b"IEND", b"")
    assert tuple(found[1 : 1 + len(kept)]) == kept
    assert {kind for kind, _ in found[1 + len(kept) : -1]} == {b"IDAT"}


def test_chunks_in_units_of_samples_go_with_the_samples(tmp_path: Path) -> None:
    chunks = ((b"PLTE", bytes(range(12))), (b"sBIT", bytes((5, 5, 5))), (b"bKGD", b"\2"))
    (tmp_path / "in.png").write_bytes(png_bytes((4, 1, 2, 3, 0), b"\0\x1b", chunks))
    found = rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert [kind for kind, _ in found] == [b"IHDR", b"IDAT", b"IEND"]


def test_chunks_behind_the_pixels_are_kept(tmp_path: Path) -> None:
    whole = png_bytes((2, 1, 8, 0, 0), b"\0\1\2")
    body = b"Comment\0late"
    late = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    (tmp_path / "in.png").write_bytes(whole[:-12] + late + whole[-12:])
    assert (b"tEXt", body) in rewrite(tmp_path / "in.png", tmp_path / "out.png")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_gray_that_is_transparent_is_found_in_interlaced_files(tmp_path: Path, bits: int) -> None:
    samples = picture("u1") >> (8 - bits)
    key = int(samples[7, 9])
    (tmp_path / "in.png").write_bytes(interlaced_png(bits, 1, ((b"tRNS", struct.pack(">H", key)),)))
    with images.open_source(tmp_path / "in.png") as opened:
        gray, alpha = np.moveaxis(opened.read(0, 0, samples.shape[0]), 2, 0)
    np.testing.assert_array_equal(gray, samples * (255 // (2**bits - 1)))
    np.testing.assert_array_equal(alpha, np.where(samples == key, 0, 255))


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    body = b"Comment\0\0" + zlib.compress(bytes(1 << 27), 9)
    (tmp_path / "in.png").write_bytes(png_bytes((2, 1, 8, 0, 0), b"\0\1\2", ((b"zTXt", body),)))
    with pytest.raises(InputError, match="unpacks to more than 64 MiB"):
        images.open_source(tmp_path / "in.png")


@given(st.sampled_from(["u1", "u2"]), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_any_png_comes_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, channels: int, height: int, width: int, level: int
) -> None:
    folder = tmp_path_factory.mktemp("png")
    pixels = picture(dtype, channels, height=height, width=width)
    (folder / "in.png").write_bytes(imagecodecs.png_encode(pixels))
    rewrite(folder / "in.png", folder / "out.png", Target(compress_level=level))
    assert np.array_equal(imagecodecs.png_decode((folder / "out.png").read_bytes()), pixels)


def test_fast_encoding_is_about_as_small_as_pillows_default(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:400, :500]
    smooth = 128 + 90 * np.sin(rows / 40) * np.cos(columns / 55)
    noise = np.random.default_rng(0).normal(0, 1.5, (400, 500, 3))  # of a denoised photograph
    pixels = np.rint(smooth[:, :, None] + noise).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size < 1.05 * (tmp_path / "in.png").stat().st_size


def test_international_text_survives(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Titel", "Überschrift 日本", lang="de", tkey="Título", zip=True)
    Image.fromarray(picture("u1")).save(tmp_path / "in.png", pnginfo=info)
    rewrite(tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        text = image.text["Titel"]
        assert (text, text.lang, text.tkey) == ("Überschrift 日本", "de", "Título")


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 30))
def test_regrouped_bands_are_the_same_rows(heights: list[int], rows: int) -> None:
    total = sum(heights)
    whole = np.arange(total * 6, dtype=np.uint16).reshape(total, 3, 2)
    page = Page(total, 3, 2, whole.dtype)
    cuts = np.cumsum([0, *heights])
    pieces = [whole[top:bottom] for top, bottom in pairwise(cuts)]
    groups = list(regroup(iter(pieces), page, rows))
    assert [len(group) for group in groups[:-1]] == [rows] * (len(groups) - 1)
    assert 0 < len(groups[-1]) <= rows
    assert np.array_equal(np.concatenate(groups), whole)
    assert np.array_equal(gather(iter(pieces), page), whole)


@pytest.mark.parametrize("heights", [[3], [4, 3], []])
def test_bands_that_do_not_make_a_page(heights: list[int]) -> None:
    page = Page(5, 3, 2, np.dtype(np.uint8))
    pieces = [np.zeros((height, 3, 2), np.uint8) for height in heights]
    with pytest.raises(ValueError, match=r"rows|broadcast"):
        gather(iter(pieces), page)
    with pytest.raises(ValueError, match="rows"):
        list(regroup(iter(pieces), page, 2))


def test_bands_of_another_type_are_refused() -> None:
    page = Page(5, 3, 2, np.dtype(np.uint8))
    with pytest.raises(ValueError, match="does not belong"):
        gather(iter([np.zeros((5, 3, 2), np.uint16)]), page)
