"""Write a picture larger than memory, tile by tile: a noisy 16-bit gray BigTIFF of 40,000 x 30,000 pixels (2.4 GB).

    python examples/make_huge.py huge.tif [--width 40000] [--height 30000] [--tile 512] [--compression none]
    denoiser run huge.tif huge_clean.tif --max-memory 430MiB

It shows waves and edges, slow and fast ones, under the noise of a 12-bit camera in a 16-bit container. The same
arguments give the same bytes; less than 300 MB of memory are used, whatever the size.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

COMPRESSIONS = ("none", "zlib", "zstd", "lzw", "lzma", "packbits")
"""Those that lose nothing of 16 bit."""
SEED = 7
READ_NOISE = 400.0
"""Standard deviation in units of 1/65535 of the range, where it is dark."""
SHOT_NOISE = 1.2e4
"""Photons at full range: the variance grows with the signal divided by this."""


def make_tile(top: int, left: int, side: int) -> NDArray[np.uint16]:
    """The tile whose upper left corner lies there, (side, side)."""
    rows = np.arange(top, top + side, dtype=np.float32)[:, None]
    columns = np.arange(left, left + side, dtype=np.float32)[None, :]
    waves = np.sin(rows / 61) * np.sin(columns / 47) + 0.4 * np.sin((rows + columns) / 5)
    squares = ((rows // 190 + columns // 230) % 3).astype(np.float32)
    signal = 0.35 + 0.12 * waves + 0.12 * squares
    noise = np.random.default_rng((SEED, top, left)).standard_normal((side, side), dtype=np.float32)
    deviation = np.sqrt((READ_NOISE / 65535) ** 2 + signal / SHOT_NOISE)
    return np.rint(np.clip(signal + deviation * noise, 0, 1) * 65535).astype(np.uint16)


def tiles(height: int, width: int, side: int) -> Iterator[NDArray[np.uint16]]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield make_tile(top, left, side)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--width", type=int, default=40_000)
    parser.add_argument("--height", type=int, default=30_000)
    parser.add_argument("--tile", type=int, default=512, help="a multiple of 16")
    parser.add_argument("--compression", default="none", choices=COMPRESSIONS)
    chosen = parser.parse_args()
    if min(chosen.width, chosen.height) < 1:
        parser.error("width and height must be at least 1")
    if chosen.tile < 16 or chosen.tile % 16:
        parser.error(f"--tile {chosen.tile}: the sides of TIFF tiles are multiples of 16")
    with tifffile.TiffWriter(chosen.path, bigtiff=True) as writer:
        writer.write(
            tiles(chosen.height, chosen.width, chosen.tile),
            shape=(chosen.height, chosen.width),
            dtype=np.uint16,
            photometric="minisblack",
            tile=(chosen.tile, chosen.tile),
            compression=None if chosen.compression == "none" else chosen.compression,
            resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    print(f"{chosen.path}: {chosen.width} x {chosen.height} pixels, {chosen.path.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
