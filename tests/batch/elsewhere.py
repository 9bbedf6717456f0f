"""What other processes need to work with the fake network. They are spared torch, whose import takes longest."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import denoiser

SECONDS = 0.05
"""What a picture takes, so that there is time to kill somebody."""


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
    sheet: Any = None
    row: int = 0


def without_torch() -> None:
    """Let runs with a network that is given work in this process without torch."""
    inference: Any = types.ModuleType("denoiser.inference")
    inference.Piece = Piece
    sys.modules["denoiser.inference"] = inference


def install() -> None:
    """Use the fake network in this process, for its part in a run."""
    without_torch()
    models: Any = types.ModuleType("denoiser.models")
    models.__path__ = [str(Path(denoiser.__file__).with_name("models"))]  # its modules without its __init__
    sys.modules["denoiser.models"] = models
    from denoiser.batch.parts import Part
    from tests.batch.fakes import FakeDenoiser, two_fakes

    def build(part: Part, precision: str) -> Any:
        return two_fakes(SECONDS) if part.options.model == "auto" else FakeDenoiser(seconds=SECONDS)

    Part._build = build  # type: ignore[method-assign]
    assert "torch" not in sys.modules
