"""``--tensorboard``: what a run tells, for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from denoiser.errors import UnavailableError

FOLDER = "tensorboard"
"""Below ``--out``; ``tensorboard --logdir OUT`` finds it."""


def check() -> None:
    """Make sure that TensorBoard is there, before anything is read.

    Raises
    ------
    UnavailableError
        If it is not.
    """
    if util.find_spec("tensorboard") is None:
        raise UnavailableError("--tensorboard: is not installed: pip install 'image-denoiser[tensorboard]'")


class Board:
    """Writes events.

    Parameters
    ----------
    out : Path
        The folder of the run.
    step : int
        The first that is told of. Events of it and of later ones, which a run that was killed has left, are hidden.

    Raises
    ------
    OSError
        By every method, where a file cannot be written.
    """

    def __init__(self, out: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / FOLDER), purge_step=step)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Numbers by name; groups of numbers become one name for each."""
        for name, value in values.items():
            if isinstance(value, Mapping):
                self.write(step, {f"{name}/{key}": each for key, each in value.items()})
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def show(self, step: int, picture: Path) -> None:
        """A picture from a file."""
        with Image.open(picture) as image:
            self._writer.add_image(picture.stem, np.asarray(image.convert("RGB")), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
