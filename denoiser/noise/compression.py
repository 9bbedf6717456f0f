"""Artefacts of lossy compression, made by the real encoder."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoiser.noise.base import Random, Range, parameter


@dataclass(frozen=True)
class Jpeg:
    """The picture is encoded as JPEG and decoded again (libjpeg through Pillow, colour at half resolution).

    JPEG holds 8 bits: values are clipped to [0, 1] and rounded to 1/255 on the way. One and three channels are encoded
    together, any other number one by one. Pictures on a device pass through the host's memory.
    """

    name: ClassVar[str] = "jpeg"
    quality: Range = parameter(Range(75, 75), "quality of the encoder", 1, 100)

    def apply(self, x: Any, random: Random) -> Any:
        count = x.shape[0]
        quality = np.broadcast_to(_on_host(self.quality.draw(count, random)), (count, 1, 1, 1)).reshape(count)
        levels = np.rint(_on_host(x).clip(0, 1) * 255).astype(np.uint8)
        pictures = [_recoded(picture, round(float(q))) for picture, q in zip(levels, quality, strict=True)]
        return random.array(np.stack(pictures).astype(np.float32) / np.float32(255))


def _on_host(values: Any) -> NDArray[np.float32]:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values, dtype=np.float32)


def _recoded(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(H, W, C), 8 bit -> the same after JPEG."""
    if picture.shape[2] not in (1, 3):
        channels = [_recoded(picture[:, :, i : i + 1], quality) for i in range(picture.shape[2])]
        return np.concatenate(channels, axis=2)
    buffer = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).reshape(picture.shape)
