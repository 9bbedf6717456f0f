"""The camera: noise of the sensor on its way through demosaicing, white balance, tone curve and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from denoiser.noise.base import Random, Range, extended, parameter
from denoiser.noise.camera_colour import drawn_gains, drawn_matrices, exposed, linear, through, toned
from denoiser.noise.camera_jpeg import MCU, recoded
from denoiser.noise.camera_sensor import (
    REACH,
    SOFT_REACH,
    cell_noise,
    mosaic_noise,
    offsets,
    read_variance,
    saturated,
    smoothed,
)


@dataclass(frozen=True)
class Camera:
    """A photograph as a camera saves it: noise made before demosaicing, white balance, tone curve and JPEG, 8 bit.

    The picture is taken back to what the sensor saw (Brooks et al. 2019, "Unprocessing images for learned raw
    denoising"): tone curve, sRGB curve, colour matrix, white balance. A photosite that saw s, 1 being white, gets noise
    of variance a s + b, a = iso / (100 electrons), log b ~ N(2.18 log a + 1.20, 0.26). The noise goes through the
    camera, is added to the clean light, and the sum is clipped, toned, compressed and rounded to 1/255.

    Three channels have a Bayer mosaic and colour; any other number are monochrome sensors. ``jpeg=0`` leaves the
    compression out.
    """

    name: ClassVar[str] = "camera"
    iso: Range = parameter(Range(100, 25600, logarithmic=True), "sensitivity as set on the camera", 0, 1e7)
    electrons: Range = parameter(
        Range(15000, 80000, logarithmic=True),
        "photoelectrons of a photosite at white at ISO 100; small in phones, large in system cameras",
        1,
    )
    bands: Range = parameter(
        Range(0, 0.25), "offsets of rows, and half as large of columns, as a share of the read noise", 0, 10
    )
    exposure: Range = parameter(Range(1.1, 1.4), "brightening after the sensor", 1, 64)
    red: Range = parameter(Range(1.3, 2.4), "white balance of red; low in lamp light, high in daylight", 1, 16)
    blue: Range = parameter(Range(1.4, 2.8), "white balance of blue; high in lamp light, low in daylight", 1, 16)
    gradient: Range = parameter(
        Range(0.5, 0.5), "probability of gradient-corrected demosaicing instead of bilinear", 0, 1
    )
    shrunk: Range = parameter(Range(0.2, 0.2), "probability that the camera halved the size of the picture", 0, 1)
    smooth: Range = parameter(Range(0, 0.7), "smoothing of the noise's luma in the camera", 0, 1)
    spread: Range = parameter(Range(0, 1.5), "width of that smoothing, 0 for one pixel around, 1 for 3, 2 for 7", 0, 2)
    sharpen: Range = parameter(Range(0, 0.5), "sharpening of the noise's luma in the camera", 0, 5)
    chroma: Range = parameter(Range(0, 1), "smoothing of the noise's colour in the camera", 0, 1)
    blotches: Range = parameter(Range(0, 1), "width of that smoothing, 0 for 3 pixels around, 1 for 7", 0, 1)
    contrast: Range = parameter(Range(1, 1.6), "slope of the tone curve in the middle", 1, 4)
    jpeg: Range = parameter(Range(0.8, 0.8), "probability that the picture is compressed", 0, 1)
    quality: Range = parameter(Range(70, 98), "quality of the encoder", 1, 100)
    subsampling: Range = parameter(Range(0.6, 0.6), "probability that JPEG halves the resolution of colour", 0, 1)
    grid: str = parameter(
        "any", "where the blocks of JPEG begin: any place, as in crops, or the corner", words=("any", "corner")
    )

    def apply(self, x: Any, random: Random) -> Any:
        saved = self._saved(self._taken(x, random), random)
        made = random.zeros(tuple(x.shape))
        made.swapaxes(1, 3).swapaxes(2, 3)[:] = saved / 255
        return made

    def _taken(self, x: Any, random: Random) -> Any:
        """The pictures before compression: (N, H, W, C) in [0, 1] -> (N, C, H, W), whole numbers 0 to 255."""
        count, height, width, channels = tuple(x.shape)
        # Noise needs neighbours beyond the edges: the nearest pixels stand in for them.
        margin = REACH + SOFT_REACH
        contrast = self.contrast.draw(count, random)
        room = random.zeros((count, channels, height + 2 * margin, width + 2 * margin))
        light = extended(linear(x, contrast, random).swapaxes(1, 3).swapaxes(2, 3), margin, margin, room)
        noise = self._colour_noise(light, random) if channels == 3 else self._gray_noise(light, random)
        # Demosaicing, smoothing and sharpening see the noise alone. They would also blur or sharpen the picture, and a
        # network that learns to undo that sharpens what it should leave; so the clean picture stays as it was.
        filters = (self.smooth, self.spread, self.sharpen, self.chroma, self.blotches)
        noise = smoothed(noise, *(each.draw(count, random) for each in filters))
        return (toned(light[:, :, margin:-margin, margin:-margin] + noise, contrast, random) * 255).round()

    def _colour_noise(self, light: Any, random: Random) -> Any:
        """Noise of a colour sensor, in balanced linear sRGB: (N, 3, H, W) -> (N, 3, H - 4, W - 4)."""
        count = light.shape[0]
        to_camera, from_camera = drawn_matrices(count, random)
        gains = drawn_gains((self.exposure, self.red, self.blue), count, random)
        seen = exposed(through(to_camera, light), gains)
        variance, offset = self._statistics(seen, random)
        corrected = _chosen(self.gradient, count, random)
        noise = mosaic_noise(variance, offset, corrected, random)
        variance, offset = _inner(variance), _inner(offset)
        if self.shrunk.high > 0:
            noise = noise + _chosen(self.shrunk, count, random) * (cell_noise(variance, offset, random) - noise)
        return through(from_camera, saturated(_inner(seen), noise, gains))

    def _gray_noise(self, light: Any, random: Random) -> Any:
        """Noise of a monochrome sensor: (N, C, H, W) -> (N, C, H - 4, W - 4)."""
        count = light.shape[0]
        gains = self.exposure.draw(count, random) + random.zeros((count, 1, 1, 1))
        seen = exposed(light, gains)
        variance, offset = self._statistics(seen, random)
        noise = _inner(variance**0.5 * random.normal(tuple(light.shape)) + offset)
        # Four photosites make one pixel of half the size: half the deviation.
        return saturated(_inner(seen), noise * (1 - _chosen(self.shrunk, count, random) / 2), gains)

    def _statistics(self, seen: Any, random: Random) -> tuple[Any, Any]:
        """Variance of each photosite, and the offsets of rows and columns."""
        count = seen.shape[0]
        shot = self.iso.draw(count, random) / (100 * self.electrons.draw(count, random))
        read = read_variance(shot, count, random)
        return shot * seen + read, offsets(read, self.bands.draw(count, random), tuple(seen.shape), random)

    def _saved(self, levels: Any, random: Random) -> Any:
        """Levels 0 to 255 of the pictures, of which the share ``jpeg`` is compressed."""
        if self.jpeg.high == 0:
            return levels
        count = levels.shape[0]
        halved = _chosen(self.subsampling, count, random)
        quality = self.quality.draw(count, random) + random.zeros((count, 1, 1, 1))
        # One place for all pictures of a batch: another for each would cost more than the rest of JPEG.
        corner = [int(place * MCU) for place in random.uniform((2,))] if self.grid == "any" else [0, 0]
        coded = recoded(levels, quality, halved, (corner[0], corner[1]), random)
        return levels + _chosen(self.jpeg, count, random) * (coded - levels)


def _chosen(share: Range, count: int, random: Random) -> Any:
    """1 for a drawn share of the pictures, 0 for the others: (N, 1, 1, 1)."""
    drawn = random.uniform((count, 1, 1, 1))
    return random.where(drawn < share.draw(count, random), 1.0, 0 * drawn)


def _inner(planes: Any) -> Any:
    """Planes without the margin that demosaicing takes."""
    return planes[:, :, REACH:-REACH, REACH:-REACH]
