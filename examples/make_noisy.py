"""Make the pictures of ``examples/noisy`` from photographs that come with scikit-image.

    python examples/make_noisy.py [FOLDER]

All five photographs are free to use: the cat Chelsea, the coffee cup and the cameraman are CC0, the astronaut
and the rocket are NASA and SpaceX pictures in the public domain (CC0). Same versions, same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from denoiser import noise

SEED = 20


def noisy(clean: NDArray[np.uint8], spec: str) -> NDArray[np.float32]:
    """Add noise of a ``denoiser`` specification; (H, W[, C]) in 0..255, not clipped."""
    random = noise.NumpyRandom(np.random.default_rng(SEED))
    pictures = np.atleast_3d(clean)[None].astype(np.float32) / 255  # (1, H, W, C)
    return np.asarray(noise.parse(spec).apply(pictures, random)).reshape(clean.shape) * 255


def to_8_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def camera_exif() -> Image.Exif:
    """A small EXIF block such as a camera writes."""
    exif = Image.Exif()
    exif[0x010F] = "Example"  # Make
    exif[0x0110] = "Night camera"  # Model
    exif[0x0112] = 1  # Orientation
    exif[0x8298] = "CC0"  # Copyright
    exif.get_ifd(0x8769)[0x9003] = "2024:11:20 21:30:00"  # DateTimeOriginal
    return exif


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent / "noisy"
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="by default examples/noisy")
    folder = parser.parse_args().folder
    (folder / "evening").mkdir(parents=True, exist_ok=True)
    cat = data.chelsea()[20:276, 90:346]
    Image.fromarray(to_8_bit(noisy(cat, "gaussian:25"))).save(folder / "cat.png", optimize=True)
    camera = data.camera()[60:316, 130:386]
    Image.fromarray(to_8_bit(noisy(camera, "gaussian:30"))).save(folder / "camera gray.png", optimize=True)
    coffee = data.coffee()[60:360, 130:530]
    shot = to_8_bit(noisy(coffee, "poisson-gaussian:gain=0.012,read=8"))
    Image.fromarray(shot).save(folder / "evening" / "coffee.jpg", quality=92, exif=camera_exif(), dpi=(300, 300))
    astronaut = data.astronaut()[0:256, 96:352]
    Image.fromarray(to_8_bit(noisy(astronaut, "gaussian:20"))).save(folder / "evening" / "astronaut.jpg", quality=95)
    rocket = data.rocket()[60:252, 230:422]
    wide = np.clip(np.rint(noisy(rocket, "gaussian:15") * 257), 0, 65535).astype(np.uint16)  # 0..255 -> 0..65535
    tifffile.imwrite(
        folder / "rocket 16 bit.tif",
        wide,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        description="SpaceX rocket with noise of sigma 15",
        metadata=None,
        resolution=(300, 300),
        resolutionunit="INCH",
    )


if __name__ == "__main__":
    main()
