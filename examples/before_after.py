"""Put pictures before and after denoising side by side.

    python examples/before_after.py NOISY_FOLDER CLEAN_FOLDER SHEET.png

One row per picture, before on the left, after on the right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from denoiser.images import SUFFIXES, open_source

GAP = 4
"""White pixels between the pictures."""


def thumbnail(path: Path) -> Image.Image:
    """First page of a picture as 8-bit RGB, for looking at."""
    with open_source(path) as source:
        page = source.header.pages[0]
        pixels = source.read(0, 0, page.height)[..., : 3 if page.channels >= 3 else 1]
    if pixels.dtype != np.uint8:
        low, high = np.nanpercentile(pixels, (0.5, 99.5))
        pixels = np.nan_to_num((pixels - low) / max(high - low, 1e-12) * 255).clip(0, 255)
    return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("noisy", type=Path, help="folder of pictures before denoising")
    parser.add_argument("clean", type=Path, help="folder of the same pictures after it")
    parser.add_argument("sheet", type=Path, help="picture to write")
    given = parser.parse_args()
    noisy, clean, sheet = given.noisy, given.clean, given.sheet
    names = sorted(path.relative_to(noisy) for path in noisy.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not names:
        parser.error(f"{noisy}: no picture in it")
    for name in names:
        if not (clean / name).is_file():
            parser.error(f"{clean / name}: no such file")
    rows = [(thumbnail(noisy / name), thumbnail(clean / name)) for name in names]
    width = 2 * max(before.width for before, _ in rows) + 3 * GAP
    canvas = Image.new("RGB", (width, sum(before.height + GAP for before, _ in rows) + GAP), "white")
    top = GAP
    for before, after in rows:
        canvas.paste(before, (GAP, top))
        canvas.paste(after, (width // 2 + GAP // 2, top))
        top += before.height + GAP
    canvas.save(sheet)
    print(f"{len(rows)} pictures of {noisy} are denoised in {clean}: same names, formats, bit depths and metadata.")
    print(f"Look at {sheet}: before on the left, after on the right.")


if __name__ == "__main__":
    main()
