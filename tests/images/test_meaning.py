"""What pixels and fields mean when they go from one format to another: polarity, alpha, text, profiles."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiser import images
from denoiser.errors import InputError
from denoiser.images import Target, losses
from tests.images.samples import picture
from tests.images.test_formats import transfer

AUTHOR = "Jürgen Groß".encode()


def pixels_of(path: Path) -> np.ndarray:
    with images.open_source(path) as source:
        return source.read(0, 0, source.header.pages[0].height)


@pytest.mark.parametrize(("dtype", "format"), [("u1", "png"), ("u2", "png"), ("u1", "jpeg"), ("u2", "webp")])
def test_white_as_zero_is_seen_the_same_in_formats_that_have_it_not(tmp_path: Path, dtype: str, format: str) -> None:
    gray = picture(dtype)
    tifffile.imwrite(tmp_path / "in.tif", gray, photometric="miniswhite")
    lost = transfer(tmp_path / "in.tif", tmp_path / f"out.{format}", format)
    assert "white as zero" not in lost
    got = pixels_of(tmp_path / f"out.{format}")[:, :, 0].astype(float)
    wanted = (
        (np.iinfo(dtype).max - gray).astype(float)
        / np.iinfo(dtype).max
        * np.iinfo(pixels_of(tmp_path / f"out.{format}").dtype).max
    )
    assert np.abs(got - wanted).mean() < (8 if format == "jpeg" else 0.51)


def test_white_as_zero_stays_in_tiff_and_is_named_for_arrays(tmp_path: Path) -> None:
    gray = np.stack([picture("u1"), picture("u1")[::-1]], axis=2)
    tifffile.imwrite(tmp_path / "in.tif", gray, photometric="miniswhite", extrasamples=["unassalpha"])
    assert transfer(tmp_path / "in.tif", tmp_path / "out.tif", "keep") == ()
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.pages[0].photometric == 0 and np.array_equal(tif.asarray(), gray)
    assert "white as zero" in transfer(tmp_path / "in.tif", tmp_path / "out.npy", "npy")
    assert np.array_equal(np.load(tmp_path / "out.npy"), gray)
    transfer(tmp_path / "in.tif", tmp_path / "out.png", "png")
    with Image.open(tmp_path / "out.png") as shown:  # alpha is not turned round
        assert np.array_equal(np.array(shown), np.stack([255 - gray[:, :, 0], gray[:, :, 1]], axis=2))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_premultiplied_alpha_is_divided_out(tmp_path: Path, dtype: str) -> None:
    most = int(np.iinfo(dtype).max)
    straight = picture(dtype, 4)
    straight[:4, :, 3] = most
    straight[4:6, :, 3] = 0
    held = straight.astype(float)
    held[:, :, :3] = np.rint(held[:, :, :3] * held[:, :, 3:] / most)
    held = held.astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", held, photometric="rgb", extrasamples=["assocalpha"])
    transfer(tmp_path / "in.tif", tmp_path / "out.png", "png")
    got = pixels_of(tmp_path / "out.png")
    assert np.array_equal(got[:, :, 3], straight[:, :, 3]) and np.array_equal(got[:4], straight[:4])
    again = np.rint(got[:, :, :3].astype(float) * got[:, :, 3:] / most)  # what a viewer shows is what it showed
    assert np.array_equal(again, held[:, :, :3])
    assert transfer(tmp_path / "in.tif", tmp_path / "out.tif", "keep") == ()
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), held)
    assert "premultiplied alpha" in transfer(tmp_path / "in.tif", tmp_path / "out.npy", "npy")


def test_ycbcr_without_jpeg_is_refused_and_with_it_read(tmp_path: Path) -> None:
    colours = picture("u1", 3)
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "in.tif", colours, photometric="ycbcr", compression=compression)
        with pytest.raises(InputError, match=r"in.tif: is in YCbCr .* convert it to RGB"):
            images.open_source(tmp_path / "in.tif")
    tifffile.imwrite(tmp_path / "in.tif", colours, photometric="ycbcr", compression="jpeg")
    images.open_source(tmp_path / "in.tif").close()


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_predictor_without_compression_says_nothing(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    gray = picture("u2")
    tifffile.imwrite(tmp_path / "in.tif", gray, tile=tile, extratags=[(316, 3, 1, 2, True)])
    with tifffile.TiffFile(tmp_path / "in.tif") as tif:  # which does not write the field as such
        at, mark = tif.pages[0].tags[316].offset, tif.byteorder
    data = bytearray((tmp_path / "in.tif").read_bytes())
    data[at : at + 2] = struct.pack(f"{mark}H", 317)
    (tmp_path / "in.tif").write_bytes(data)
    with Image.open(tmp_path / "in.tif") as other:
        assert other.tag_v2[317] == 2
    assert np.array_equal(pixels_of(tmp_path / "in.tif")[:, :, 0], gray)


def block(entries: dict[int, Any]) -> bytes:
    """EXIF with bytes that are no ASCII, laid out by hand: Artist, and LensModel in the EXIF directory."""
    text = entries["text"] + b"\0"
    root = struct.pack("<H", 2) + struct.pack("<HHII", 315, 2, len(text), 38)
    root += struct.pack("<HHII", 34665, 4, 1, 38 + len(text) + len(text) % 2) + bytes(4)
    body = text + bytes(len(text) % 2)
    at = 38 + len(body)
    below = struct.pack("<H", 1) + struct.pack("<HHII", 42036, 2, len(text), at + 18) + bytes(4) + text
    return b"II*\0\x08\0\0\0" + root + body + below


@pytest.fixture
def german(tmp_path: Path) -> Path:
    path = tmp_path / "german.jpg"
    Image.fromarray(picture("u1", 3)).save(path, quality=95, exif=b"Exif\0\0" + block({"text": AUTHOR}))
    return path


def texts(path: Path) -> tuple[bytes, bytes]:
    """Artist and LensModel as bytes."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        handle = tif.filehandle
        tag = page.tags[315]
        handle.seek(tag.valueoffset)
        artist = handle.read(tag.valuebytecount)
    with Image.open(path) as image:
        return artist, image.getexif().get_ifd(34665)[42036].encode("latin-1")


def test_text_that_is_no_ascii_keeps_its_bytes(german: Path, tmp_path: Path) -> None:
    assert transfer(german, tmp_path / "a.tif", "tiff") == ()
    assert texts(tmp_path / "a.tif") == (AUTHOR + b"\0", AUTHOR)
    assert transfer(tmp_path / "a.tif", tmp_path / "b.tif", "keep") == ()
    assert texts(tmp_path / "b.tif") == (AUTHOR + b"\0", AUTHOR)
    transfer(tmp_path / "b.tif", tmp_path / "c.jpg", "jpeg")
    with Image.open(tmp_path / "c.jpg") as image:
        exif = image.getexif()
        assert exif[315].encode("latin-1") == exif.get_ifd(34665)[42036].encode("latin-1") == AUTHOR


@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [(0, 4, False), (4, 8, False), (8, 10, True), (30, 34, True)],
    ids=["byte order", "first directory", "number of fields", "pointer"],
)
def test_damaged_exif_is_named_and_the_picture_written(
    german: Path, tmp_path: Path, start: int, stop: int, kept: bool
) -> None:
    data = bytearray(german.read_bytes())
    at = data.index(b"II*\0") + start
    data[at : at + stop - start] = b"\xf0" * (stop - start)
    (tmp_path / "in.jpg").write_bytes(data)
    assert "damaged EXIF" in transfer(tmp_path / "in.jpg", tmp_path / "out.tif", "tiff")
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.pages[0].shape == picture("u1", 3).shape and (315 in tif.pages[0].tags) is kept
    assert "damaged EXIF" not in transfer(tmp_path / "in.jpg", tmp_path / "out.jpg", "keep")


def test_what_belongs_to_jpeg_alone_is_named(tmp_path: Path) -> None:
    segments = {
        "Photoshop resources (IPTC)": (13, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0"),
        "extended XMP": (1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)),
        "content credentials (JUMBF)": (11, b"JP" + bytes(20)),
        "JPEG segments of kind APP12": (12, b"Ducky" + bytes(5)),
    }
    extra = b"".join(struct.pack(">HH", 0xFFE0 + n, len(data) + 2) + data for n, data in segments.values())
    Image.fromarray(picture("u1", 3)).save(tmp_path / "in.jpg", extra=extra)
    assert set(transfer(tmp_path / "in.jpg", tmp_path / "out.png", "png")) == set(segments)
    assert transfer(tmp_path / "in.jpg", tmp_path / "out.jpg", "keep") == ()
    assert (tmp_path / "out.jpg").read_bytes().count(b"8BIM") == 1


def test_what_belongs_to_tiff_alone_is_named(tmp_path: Path) -> None:
    tags = [(33550, 12, 3, (1.0, 1.0, 0.0), True), (42112, 2, 0, "<GDALMetadata/>", True), (269, 2, 0, "survey", True)]
    tifffile.imwrite(tmp_path / "in.tif", picture("u1"), metadata=None, extratags=tags, software=False)
    lost = transfer(tmp_path / "in.tif", tmp_path / "out.png", "png")
    assert set(lost) == {"georeference (GeoTIFF)", "GDAL metadata", "TIFF field 269 (DocumentName)"}
    assert transfer(tmp_path / "in.tif", tmp_path / "out.tif", "keep") == ()


@pytest.mark.parametrize(
    ("kind", "data", "name"),
    [
        (b"gAMA", struct.pack(">I", 100000), "gamma"),
        (b"gAMA", struct.pack(">I", 45455), None),
        (b"cICP", bytes((9, 16, 0, 1)), "coding-independent code points (cICP)"),
        (b"cICP", bytes((1, 13, 0, 1)), None),
    ],
)
def test_colours_that_png_alone_states_are_named_unless_usual(
    tmp_path: Path, kind: bytes, data: bytes, name: str | None
) -> None:
    Image.fromarray(picture("u1", 3)).save(tmp_path / "in.png")
    whole = (tmp_path / "in.png").read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "in.png").write_bytes(whole[:33] + chunk + whole[33:])
    assert transfer(tmp_path / "in.png", tmp_path / "out.tif", "tiff") == ((name,) if name else ())


def test_unknown_chunks_of_webp_are_named(tmp_path: Path) -> None:
    Image.fromarray(picture("u1", 3)).save(tmp_path / "in.webp", lossless=True, xmp=b"<x/>")
    data = bytearray((tmp_path / "in.webp").read_bytes()) + b"C2PA\x04\0\0\0\1\2\3\4"
    data[4:8] = struct.pack("<I", len(data) - 8)
    (tmp_path / "in.webp").write_bytes(data)
    assert transfer(tmp_path / "in.webp", tmp_path / "out.webp", "keep") == ("chunk C2PA",)


def test_a_gray_profile_does_not_go_with_rgb(tmp_path: Path) -> None:
    profile = bytearray(200)
    profile[12:20] = b"mntrGRAY"
    Image.fromarray(picture("u1")).save(tmp_path / "in.png", icc_profile=bytes(profile))
    assert "ICC profile" in transfer(tmp_path / "in.png", tmp_path / "out.webp", "webp")
    with Image.open(tmp_path / "out.webp") as image:
        assert not image.info.get("icc_profile")
    assert transfer(tmp_path / "in.png", tmp_path / "out.tif", "tiff") == ()


def test_a_profile_in_a_bitmap_is_named(tmp_path: Path) -> None:
    pixels = picture("u1", 3)
    height, width, _ = pixels.shape
    rows = [bytes(row[:, ::-1]) + bytes(-3 * width % 4) for row in pixels[::-1]]
    data = b"".join(rows)
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(data), 0, 0, 0, 0)
    head += bytes(16) + b"DEBM" + bytes(124 - 60)
    (tmp_path / "in.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 138 + len(data), 0, 0, 138) + head + data)
    with images.open_source(tmp_path / "in.bmp") as source:
        assert losses(source.header, "keep") == ("ICC profile",)
        assert np.array_equal(source.read(0, 0, height), pixels)
        images.save(tmp_path / "out.bmp", source.header, [iter([pixels])], Target())


def test_intact_files_of_unknown_kinds_are_not_called_damaged(tmp_path: Path) -> None:
    masks = struct.pack("<III", 0x3FF00000, 0xFFC00, 0x3FF)
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 32, 3, 64, 0, 0, 0, 0) + masks
    (tmp_path / "a.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", 14 + len(head) + 64, 0, 0, 14 + len(head)) + head + bytes(64)
    )
    tifffile.imwrite(tmp_path / "b.tif", picture("u1", 3), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+") as tif:
        tif.pages[0].tags[258].overwrite((5, 6, 5))
    for name, reason in (("a.bmp", "cannot be read .*bitfields"), ("b.tif", "samples of 5, 6, 5 bits")):
        with pytest.raises(InputError, match=f"{name}: .*{reason}.*convert") as caught:
            images.open_source(tmp_path / name)
        assert "damaged" not in str(caught.value)
