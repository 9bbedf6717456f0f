"""Draw the pictures of ``docs/controls.md``, and print its table: what ``luma``, ``chroma`` and ``detail`` do.

    python examples/make_controls.py [FOLDER]

The photograph is the cat Chelsea of scikit-image (CC0), with the noise of a sensor added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data

import denoiser
from denoiser.controls import LUMINANCE

NOISE, SEED = "poisson-gaussian:gain=0.012,read=8", 20

SETTINGS: dict[str, dict[str, float]] = {
    "plain result": {},
    "--luma 0.5": {"luma": 0.5},
    "--luma 0": {"luma": 0.0},
    "--chroma 0.5": {"chroma": 0.5},
    "--chroma 0": {"chroma": 0.0},
    "--detail 0.3": {"detail": 0.3},
    "--detail 0.6": {"detail": 0.6},
}

SHEETS = {"luma_chroma": ("input", *list(SETTINGS)[:5]), "detail": ("plain result", *list(SETTINGS)[5:])}

PART = (slice(80, 180), slice(132, 232))
"""Rows and columns of the photograph that are shown."""

ENLARGED, LABEL, GAP = 2, 20, 6
"""How often a pixel is repeated; pixels of a label's height and between two views."""


def errors(picture: NDArray[np.uint8], clean: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Root mean square errors of luminance and of colours in 1/255, and the PSNR in dB."""
    error = picture.astype(np.float64) - clean
    gray = (error @ np.array(LUMINANCE))[..., None]
    psnr = 10 * np.log10(255**2 / np.mean(error**2))
    return float(np.sqrt(np.mean(gray**2))), float(np.sqrt(np.mean((error - gray) ** 2))), float(psnr)


def draw(pictures: dict[str, NDArray[np.uint8]]) -> Image.Image:
    """Labelled views, three in a row."""
    side = (PART[0].stop - PART[0].start) * ENLARGED
    rows = -(-len(pictures) // 3)
    sheet = Image.new("RGB", (3 * side + 2 * GAP, rows * (side + LABEL + GAP) - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (label, picture) in enumerate(pictures.items()):
        left, top = number % 3 * (side + GAP), number // 3 * (side + LABEL + GAP)
        pen.text((left + 2, top + 2), label, fill="black", font_size=14)
        view = picture[PART].repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        sheet.paste(Image.fromarray(view), (left, top + LABEL))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[1] / "docs" / "pictures"
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="by default docs/pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    clean = data.chelsea()
    noisy = denoiser.corrupt(clean, NOISE, seed=SEED)
    model = denoiser.load("unet", device="cpu", precision="fp32")
    pictures = {"input": noisy}
    pictures |= {name: model.denoise(noisy, **values) for name, values in SETTINGS.items()}
    for name, shown in SHEETS.items():
        draw({label: pictures[label] for label in shown}).save(folder / f"{name}.webp", lossless=True, method=6)
    print("| | luminance | colours | PSNR (dB) |\n|---|---|---|---|")
    for label, picture in pictures.items():
        print(f"| {label} | " + " | ".join(f"{figure:.2f}" for figure in errors(picture, clean)) + " |")


if __name__ == "__main__":
    main()
