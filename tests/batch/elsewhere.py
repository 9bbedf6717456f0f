"""What other processes need to work with the fake network, and no torch: their start is what takes time."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import Any

from tests.batch.fakes import FakeDenoiser


@dataclass(frozen=True)
class Piece:
    """As that of denoiser.inference."""

    values: Any
    scale: float = 1.0
    white: float = 0.0
    above: int = 0
    below: int = 0
    tag: object = None
    uncertainty: bool = False


SECONDS = 0.02
"""What a picture takes, so that there is time to kill somebody."""


def install() -> None:
    """Use the fake network in this process."""
    sys.modules["denoiser.inference"] = types.SimpleNamespace(Piece=Piece)  # type: ignore[assignment]
    from denoiser.batch.parts import Part

    Part._build = lambda self, precision: FakeDenoiser(seconds=SECONDS)  # type: ignore[method-assign, assignment, return-value]
