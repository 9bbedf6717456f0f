"""Denoise a 16-bit microscope stack, from Python and page by page.

    python examples/stack16.py [IN.tif OUT.tif]

Without arguments a small stack of blinking spots is made first, in the working directory. Stacks of any length
work: pages are read, denoised and written one after the other. The camera is a 12-bit one, so white is 4095 and not
the 65535 of the container.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import tifffile

import denoiser

WHITE = 4095
"""Largest value of a 12-bit camera."""


def make_stack(path: Path, pages: int = 5, side: int = 96) -> None:
    """Write an ImageJ stack of spots on a dark ground, with the noise of few photons."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:side, :side]
    frames = []
    for _ in range(pages):
        photons = np.full((side, side), 20.0)
        for row, column, height in rng.uniform((8, 8, 50), (side - 8, side - 8, 400), (6, 3)):
            photons += height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 30)
        frames.append(np.clip(rng.poisson(photons) * 8 + rng.normal(100, 6, photons.shape), 0, WHITE))
    stack = np.rint(frames).astype(np.uint16)
    tifffile.imwrite(path, stack, imagej=True, resolution=(9.2, 9.2), metadata={"axes": "TYX", "unit": "um"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="*", metavar="TIFF", help="the stack, and where to write the result")
    source, target = Path("stack.tif"), Path("stack_clean.tif")
    if given := parser.parse_args().paths:
        if len(given) != 2:
            parser.error("two names are needed, IN.tif and OUT.tif, or none")
        source, target = given
        if not source.is_file():
            parser.error(f"{source}: no such file")
    for path in (source, target):
        if path.suffix.lower() not in (".tif", ".tiff"):
            parser.error(f"{path}: not the name of a TIFF file")
    if not source.exists():
        make_stack(source)
    report = denoiser.run([str(source)], target, denoiser.RunOptions(white=WHITE, exists="overwrite"))
    for result in report.failures:
        print(f"{result.source}: {result.reason}", file=sys.stderr)
    if report.exit_code:
        sys.exit(report.exit_code)
    stacks = (tifffile.imread(path) for path in (source, target))
    before, after = (stack.reshape(-1, *stack.shape[-2:]) for stack in stacks)  # one page is a stack as well
    background = np.s_[:, :8, :8]
    print(f"{target}: {after.shape[0]} pages of {after.shape[1]} x {after.shape[2]}, {after.dtype}")
    print(f"spread of a dark corner: {before[background].std():.1f} before, {after[background].std():.1f} after")


if __name__ == "__main__":
    main()
