"""Small files of every format and variant, written by other libraries than the code under test.

``make_tree`` and ``make_bad_tree`` are used by the tests of the batch and of the command line as well.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from tests.images.compare import assert_same_kind, exif_of

__all__ = ["assert_same_kind", "exif_of", "make_bad_tree", "make_tree", "picture"]

HEIGHT, WIDTH = 48, 61

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
TAKEN = "2024:11:20 21:30:00"

Array = NDArray[Any]


def picture(dtype: str = "u1", channels: int = 1, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """A smooth picture with noise, (H, W) or (H, W, C), over most of the range of its type."""
    kind = np.dtype(dtype)
    random = np.random.default_rng([seed, channels])
    rows, columns = np.mgrid[:height, :width]
    waves = [0.5 + 0.3 * np.sin(rows / (9 + 3 * c)) * np.cos(columns / (11 + 2 * c)) for c in range(channels)]
    values = np.stack(waves, axis=-1) + random.normal(0, 0.05, (height, width, channels))
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        span = float(limits.max) - float(limits.min)
        values = np.clip(np.rint(limits.min + values * span), limits.min, limits.max)
    pixels = values.astype(kind)
    return pixels[:, :, 0] if channels == 1 else pixels


def exif(orientation: int = 6) -> bytes:
    """EXIF with an orientation, dates, a camera and a position."""
    block = Image.Exif()
    block[0x010F] = "Example"
    block[0x0112] = orientation
    block[0x0132] = TAKEN
    block[0x8298] = "CC0"
    inner = block.get_ifd(0x8769)
    inner[0x9003] = TAKEN
    inner[0x829A] = 0.004
    block.get_ifd(0x8825)[1] = "N"
    return block.tobytes()


Chunks = tuple[tuple[bytes, bytes], ...]


def png_bytes(header: tuple[int, int, int, int, int], rows: bytes, chunks: Chunks = ()) -> bytes:
    """A PNG of which Pillow cannot write the like. Header: width, height, depth, colour type, interlace."""
    width, height, depth, colour, interlace = header
    first = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    parts = [(b"IHDR", first), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _unfiltered(rows: Array) -> bytes:
    """Rows of bytes, each behind the mark of filter 0."""
    return b"".join(b"\0" + row.tobytes() for row in rows)


def _wide_png(dtype: str, channels: int, chunks: Chunks = ()) -> bytes:
    pixels = picture(dtype, channels)
    depth = 8 * pixels.dtype.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.reshape(HEIGHT, -1).astype(f">{dtype}")
    return png_bytes((WIDTH, HEIGHT, depth, colour, 0), _unfiltered(rows), chunks)


def _packed_png(bits: int, colour: int, chunks: Chunks = ()) -> bytes:
    samples = picture("u1") >> (8 - bits)
    return png_bytes((WIDTH, HEIGHT, bits, colour, 0), _unfiltered(_packed(samples, bits)), chunks)


def _packed(samples: Array, bits: int) -> Array:
    spread = np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - bits :].reshape(samples.shape[0], -1)
    return np.packbits(spread, axis=1)


def interlaced_png(bits: int, channels: int, chunks: Chunks = ()) -> bytes:
    """Gray of few bits or 8-bit colour in the seven passes of Adam7."""
    pixels = picture("u1", channels) >> (8 - bits)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [pixels[top::down, left::across] for top, left, down, across in passes]
    rows = b"".join(_unfiltered(_packed(part.reshape(part.shape[0], -1), bits)) for part in parts)
    return png_bytes((WIDTH, HEIGHT, bits, {1: 0, 3: 2}[channels], 1), rows, chunks)


def _pngs(folder: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ærø Åse")
    info.add_text("Comment", "noisy " * 40, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    extra = {"icc_profile": ICC, "exif": exif(), "dpi": (300, 300), "pnginfo": info}
    Image.fromarray(picture("u1", 3)).save(folder / "rgb.png", **extra)
    Image.fromarray(picture("u1")).save(folder / "gray.png", dpi=(72, 72))
    Image.fromarray(picture("u1", 4)).save(folder / "rgba.png")
    Image.fromarray(picture("u1", 2)).save(folder / "gray alpha.png")
    Image.fromarray(picture("u2")).save(folder / "gray16.png")
    colour = ((b"gAMA", struct.pack(">I", 45455)), (b"cHRM", struct.pack(">8I", *range(30000, 38000, 1000))))
    (folder / "rgb16.png").write_bytes(_wide_png("u2", 3, colour))
    (folder / "rgba16.png").write_bytes(_wide_png("u2", 4))
    (folder / "gray alpha16.png").write_bytes(_wide_png("u2", 2))
    (folder / "key colour.png").write_bytes(_wide_png("u1", 3, ((b"tRNS", struct.pack(">3H", 120, 130, 140)),)))
    for bits in (1, 2, 4):
        (folder / f"gray{bits}.png").write_bytes(_packed_png(bits, 0))
        (folder / f"palette{bits}.png").write_bytes(_packed_png(bits, 3, ((b"PLTE", _palette(1 << bits)),)))
    half = ((b"PLTE", _palette(16)), (b"tRNS", bytes(range(0, 160, 16))))
    (folder / "palette transparent.png").write_bytes(_packed_png(4, 3, half))
    Image.fromarray(picture("u1", 3)).quantize(200).save(folder / "palette8.png")
    (folder / "interlaced.png").write_bytes(interlaced_png(8, 3))


def _palette(entries: int) -> bytes:
    return bytes((37 * i + 11 * c) % 256 for i in range(entries) for c in range(3))


def _jpegs(folder: Path) -> None:
    comment = {"comment": b"by hand", "xmp": XMP}
    rgb = Image.fromarray(picture("u1", 3))
    rgb.save(folder / "camera.jpg", quality=83, subsampling=2, exif=exif(), icc_profile=ICC, dpi=(240, 240), **comment)
    rgb.save(folder / "progressive.jpeg", quality=92, subsampling=1, progressive=True)
    rgb.save(folder / "full chroma.jpg", quality=97, subsampling=0)
    rgb.save(folder / "stored rgb.jpg", quality=95, keep_rgb=True)
    Image.fromarray(picture("u1")).save(folder / "gray.jpg", quality=90)
    Image.fromarray(picture("u1", 4), "CMYK").save(folder / "cmyk.jpg", quality=90)


def _webps_and_bmps(folder: Path) -> None:
    rgb = Image.fromarray(picture("u1", 3))
    pixels = picture("u1", 4)
    pixels[:9, :9, 3] = 0  # colours below full transparency are kept, too
    rgba = Image.fromarray(pixels)
    rgb.save(folder / "lossy.webp", quality=88, icc_profile=ICC, exif=exif(), xmp=XMP)
    rgb.save(folder / "lossless.webp", lossless=True)
    rgba.save(folder / "lossy alpha.webp", quality=88)
    rgba.save(folder / "lossless alpha.webp", lossless=True, exact=True)
    rgb.save(folder / "rgb.bmp", dpi=(150, 150))
    Image.fromarray(picture("u1")).save(folder / "gray.bmp")
    rgb.quantize(16).save(folder / "palette.bmp")
    Image.fromarray(picture("u1") > 127).save(folder / "bilevel.bmp")


def _plain_tiffs(folder: Path) -> None:
    for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"):
        tifffile.imwrite(folder / f"gray {dtype}.tif", picture(dtype), metadata=None, description=f"of {dtype}")
    rgb16 = picture("u2", 3)
    note = {"description": "a café".encode(), "software": "Scanner 1.0", "datetime": TAKEN, "resolution": (300, 300)}
    tifffile.imwrite(
        folder / "scan.tif", rgb16, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=7,
        metadata=None, iccprofile=ICC, extratags=[(700, 1, len(XMP), XMP, True), (274, 3, 1, 8, True)], **note,
    )  # fmt: skip
    for name in ("deflate", "zstd", "packbits", "lzma"):
        tifffile.imwrite(folder / f"{name}.tif", rgb16, photometric="rgb", compression=name, rowsperstrip=16)
    tifffile.imwrite(folder / "tiled.tif", rgb16, photometric="rgb", compression="zlib", predictor=True, tile=(16, 32))
    tifffile.imwrite(folder / "tiled plain.tif", rgb16, photometric="rgb", tile=(32, 16))
    planes = np.moveaxis(rgb16, 2, 0)
    tifffile.imwrite(folder / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(
        folder / "planar tiled.tif", planes, photometric="rgb", planarconfig="separate", tile=(16, 16),
        compression="zlib", predictor=True,
    )  # fmt: skip
    tifffile.imwrite(folder / "float.tif", picture("f4"), compression="zlib", predictor=True, rowsperstrip=10)
    tifffile.imwrite(folder / "big endian.tif", rgb16, photometric="rgb", byteorder=">", compression="zlib")
    tifffile.imwrite(folder / "big endian plain.tif", picture("i2"), byteorder=">", rowsperstrip=5)
    tifffile.imwrite(folder / "bigtiff.tif", rgb16, photometric="rgb", bigtiff=True)
    tifffile.imwrite(folder / "white is zero.tif", picture("u1"), photometric="miniswhite", compression="zlib")


def _coloured_tiffs(folder: Path) -> None:
    rgb, rgba = picture("u1", 3), picture("u1", 4)
    tifffile.imwrite(folder / "jpeg.tif", rgb, photometric="rgb", compression="jpeg", rowsperstrip=16)
    tifffile.imwrite(
        folder / "jpeg tiled.tif", rgb, photometric="rgb", compression="jpeg", tile=(32, 32), subsampling=(1, 1)
    )
    tifffile.imwrite(folder / "jpeg gray.tif", picture("u1"), compression="jpeg", compressionargs={"level": 92})
    tifffile.imwrite(folder / "alpha.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    tifffile.imwrite(folder / "premultiplied.tif", picture("u2", 4), photometric="rgb", extrasamples=["assocalpha"])
    gray_alpha = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(folder / "gray alpha.tif", picture("u2", 2), **gray_alpha)
    bands = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(folder / "five bands.tif", picture("u2", 5), **bands)
    tifffile.imwrite(folder / "cmyk.tif", rgba, photometric="separated", compression="lzw")
    table = np.array([[257 * ((i * step) % 256) for i in range(256)] for step in (1, 3, 7)], "u2")
    tifffile.imwrite(folder / "palette.tif", picture("u1"), photometric="palette", colormap=table)
    bilevel = picture("u1") > 127
    tifffile.imwrite(folder / "bilevel.tif", bilevel, photometric="minisblack")
    tifffile.imwrite(folder / "bilevel white.tif", bilevel, photometric="miniswhite", compression="zlib")
    Image.fromarray(bilevel).save(folder / "fax.tif", compression="group4", dpi=(200, 200))
    Image.fromarray(rgb).save(folder / "camera.tif", exif=exif(), dpi=(240, 240))


def averaged(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half of a picture of even sides, (H, W, C): means of two by two pixels."""
    height, width, channels = pixels.shape
    means = pixels.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))
    return np.rint(means).astype(pixels.dtype) if pixels.dtype.kind in "iu" else means.astype(pixels.dtype)


def _stacks(folder: Path) -> None:
    stack = np.stack([picture("u2", seed=i) for i in range(6)])
    tifffile.imwrite(folder / "pages.tif", stack, photometric="minisblack", compression="zlib")
    with tifffile.TiffWriter(folder / "different pages.tif") as writer:
        writer.write(picture("u1", 3), photometric="rgb", metadata=None, description="first")
        writer.write(picture("f4", height=33, width=20), metadata=None, description="second", compression="zlib")
        writer.write(picture("u2", height=17, width=90), metadata=None)
    about = {"axes": "ZCYX", "spacing": 0.5, "unit": "um", "Labels": [f"plane {i}" for i in range(6)]}
    tifffile.imwrite(
        folder / "imagej.tif", stack.reshape(3, 2, HEIGHT, WIDTH), imagej=True, resolution=(2.5, 2.5), metadata=about
    )
    tifffile.imwrite(
        folder / "imagej one directory.tif", stack, imagej=True, truncate=True, metadata={"axes": "TYX", "fps": 5.0}
    )
    table = np.array([[257 * ((i * step) % 256) for i in range(256)] for step in (1, 3, 7)], "u2")
    tifffile.imwrite(folder / "imagej colours.tif", picture("u1"), imagej=True, colormap=table)
    channels = {"axes": "CZYX", "PhysicalSizeX": 0.29, "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["a", "b"]}}
    tifffile.imwrite(
        folder / "cells.ome.tif", stack.reshape(2, 3, HEIGHT, WIDTH), ome=True, compression="zlib", tile=(16, 16),
        metadata=channels,
    )  # fmt: skip
    with tifffile.TiffWriter(folder / "pyramid.ome.tif", ome=True, bigtiff=True) as writer:
        full = picture("u2", 3, height=96, width=128)
        options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}
        writer.write(full, subifds=2, metadata={"axes": "YXS"}, **options)
        half = averaged(full)
        writer.write(half, subfiletype=1, **options)
        writer.write(averaged(half), subfiletype=1, **options)


def _arrays(folder: Path) -> None:
    for dtype in ("u1", "u2", "i2", "f4", "f8"):
        np.save(folder / f"gray {dtype}.npy", picture(dtype))
    np.save(folder / "rgb.npy", picture("u2", 3))
    np.save(folder / "rgba.npy", picture("u1", 4))
    np.save(folder / "stack.npy", np.stack([picture("f4", seed=i) for i in range(3)]))
    np.save(folder / "colour stack.npy", np.stack([picture("u1", 3, seed=i) for i in range(3)]))
    np.save(folder / "fortran.npy", np.asfortranarray(picture("u2")))
    np.save(folder / "big endian.npy", picture("u2").astype(">u2"))


_FOLDERS: dict[str, Callable[[Path], None]] = {
    "PNG files": _pngs,
    "photos/2024 août": _jpegs,
    "web and old": _webps_and_bmps,
    "scans": _plain_tiffs,
    "scans/colour": _coloured_tiffs,
    "microscope/日本 stacks": _stacks,
    "arrays": _arrays,
}


def make_tree(root: Path) -> list[Path]:
    """Write a file of every kind that is supported into nested folders.

    Parameters
    ----------
    root : Path
        Made if it is not there.

    Returns
    -------
    list of Path
        The files, sorted. All of them are good.
    """
    for name, write in _FOLDERS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        write(folder)
    return sorted(path for path in root.rglob("*") if path.is_file())


def make_bad_tree(root: Path) -> list[Path]:
    """Write what must each fail by itself: nothing here can be read as a picture.

    Returns
    -------
    list of Path
        The bad entries, sorted: damaged, empty, mislabelled and oversized files, a broken symbolic link and a loop. An
        unreadable file is among them unless the tests run as root, who may read everything.
    """
    root.mkdir(parents=True, exist_ok=True)
    whole = root / "cut.jpg"
    Image.fromarray(picture("u1", 3)).save(whole, quality=90)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "text.tif").write_text("not a picture at all\n")
    (root / "bomb.png").write_bytes(png_bytes((60000, 60000, 8, 2, 0), b""))
    cut = root / "cut.tif"
    tifffile.imwrite(cut, picture("u2", 3), photometric="rgb")
    cut.write_bytes(cut.read_bytes()[:-1000])
    cut = root / "cut.png"
    Image.fromarray(picture("u1", 3)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-500])
    (root / "broken link.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        locked = root / "locked.png"
        Image.fromarray(picture("u1")).save(locked)
        locked.chmod(0)
    return sorted(root.iterdir())
