"""Colour of a camera: from pixels of a picture back to light, and from light to what the sensor saw.

Arrays are (N, C, H, W): planes apart, so that filters run along contiguous memory. NumPy and torch share the code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser.noise.base import Random, Range

_TOE = 0.0031308
"""Linear intensity below which the sRGB curve is a straight line (IEC 61966-2-1)."""

_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Linear sRGB to XYZ, D65 (IEC 61966-2-1)."""

_CAMERA_FROM_XYZ = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],  # Huawei Nexus 6P
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],  # Sony A7R
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],  # Olympus E-M10
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],  # Sony RX100 IV
    ]
)
"""Colour matrices of the four cameras of the Darmstadt Noise Dataset, as Brooks et al. 2019 use them."""

_HIGHLIGHT = 0.9
"""Gray level above which the inverse of white balance fades, so that white stays white (Brooks et al. 2019)."""


_NOTHING = 1e-9
"""Stands in for 0 where a logarithm lies ahead; its fourth power is still a float32."""


def _camera_from_rgb() -> NDArray[np.float32]:
    """Matrices (4, 3, 3) from linear sRGB to the cameras' colours; white goes to (1, 1, 1)."""
    matrices = _CAMERA_FROM_XYZ @ _XYZ_FROM_RGB
    balanced: NDArray[np.float32] = (matrices / matrices.sum(axis=2, keepdims=True)).astype(np.float32)
    return balanced


CAMERAS = _camera_from_rgb()
"""(4, 3, 3), linear sRGB to camera; the rows sum to 1."""

_INVERSES = np.linalg.inv(CAMERAS.astype(np.float64)).astype(np.float32)


def linear(x: Any, contrast: Any, random: Random) -> Any:
    """Light of the pixels of a picture, both in [0, 1]: the inverse of :func:`toned`."""
    encoded = _s_curve(x, 1 / contrast, random)
    # Each piece of the sRGB curve is fed only what lies in its interval: no choice between two values is needed.
    upper = random.power((encoded.clip(12.92 * _TOE, 1) + 0.055) / 1.055, 2.4)
    return encoded.clip(0, 12.92 * _TOE) / 12.92 + upper - _TOE


def toned(light: Any, contrast: Any, random: Random) -> Any:
    """Pixels of a picture, in [0, 1], of light, which is clipped to [0, 1].

    The sRGB curve e, then the S-curve e^c / (e^c + (1 - e)^c), whose slope in the middle is the contrast c. At 1.5 it
    is that of the smoothstep by which Brooks et al. 2019 model cameras; at 1 it does nothing. Unlike smoothstep it has
    an inverse of its own form and can be drawn weaker and stronger.
    """
    upper = random.power(light.clip(_TOE, 1), 1 / 2.4) - _TOE ** (1 / 2.4)
    encoded = 12.92 * light.clip(0, _TOE) + 1.055 * upper
    return _s_curve(encoded, contrast, random)


def _s_curve(x: Any, slope: Any, random: Random) -> Any:
    """x^c / (x^c + (1 - x)^c) with one power instead of two; its inverse has the slope 1 / c."""
    x = x.clip(_NOTHING, 1)
    return 1 / (1 + random.power(1 / x - 1, slope))


def drawn_matrices(count: int, random: Random) -> tuple[Any, Any]:
    """Colour matrices of drawn cameras: from linear sRGB and back, each (N, 3, 3).

    Each picture gets a convex mixture of the four cameras (Brooks et al. 2019). The way back is the same mixture
    of the four inverses: nearly the inverse of the mixture, and exact for gray, since all rows sum to 1. What is clean
    never takes the round trip, so it need not be exact.
    """
    weights = random.uniform((count, len(CAMERAS))) + 1e-6
    weights = weights / weights.sum(-1).reshape(count, 1)
    ways = [(weights @ random.array(table.reshape(-1, 9))).reshape(count, 3, 3) for table in (CAMERAS, _INVERSES)]
    return ways[0], ways[1]


def through(matrix: Any, planes: Any) -> Any:
    """A matrix (3, 3) for all, or one for each (N, 3, 3), applied to the channels of planes (N, 3, H, W)."""
    count, channels, height, width = tuple(planes.shape)
    return (matrix @ planes.reshape(count, channels, height * width)).reshape(count, channels, height, width)


def drawn_gains(ranges: tuple[Range, Range, Range], count: int, random: Random) -> Any:
    """Factors (N, 3, 1, 1) from the sensor's red, green and blue to balanced ones, of (exposure, red, blue)."""
    exposure, red, blue = (each.draw(count, random) for each in ranges)
    gains = random.zeros((count, 3, 1, 1)) + 1
    gains[:, 0:1] *= red
    gains[:, 2:3] *= blue
    return gains * exposure


def exposed(balanced: Any, gains: Any) -> Any:
    """What the sensor saw, in [0, 1], where 1 is its white: gains undone, except in highlights.

    There the plain inverse would make gray of white; it fades to 1 as the mean of the channels goes from 0.9 to 1
    (Brooks et al. 2019). Times the gains such pixels then lie above white, as blown highlights do.
    """
    gray = balanced.sum(1)[:, None] / balanced.shape[1]
    fade = ((gray - _HIGHLIGHT) / (1 - _HIGHLIGHT)).clip(0, 1) ** 2
    return (balanced * (1 / gains + fade * (1 - 1 / gains).clip(0, 1))).clip(0, 1)
