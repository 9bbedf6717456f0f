"""What stands in for the network, and small pictures to run it over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Needs:
    """What directories ask a network for; the room of the real one imports torch, which takes processes seconds."""

    channels: int = 3
    multiple_of: int = 4
    receptive_field: int = 1
    takes_sigma: bool = False
    needs_range: bool = False
    states_uncertainty: bool = True


NEEDS = Needs()


@dataclass(frozen=True)
class Device:
    """Where the network is, as torch tells it."""

    type: str


CPU = Device("cpu")


@dataclass
class FakeDenoiser:
    """Averages three rows; batches pieces, works lazily and in order, as the real one does.

    Attributes
    ----------
    batch : int
        Pieces that are taken before the first result is given.
    keeps : bool
        Whether it says that it keeps rows from band to band.
    fails : callable or None
        Says for a piece whether the network should crash on it.
    spoils : callable or None
        Changes the result of a piece.
    """

    batch: int = 4
    seconds: float = 0.0
    device: Device = CPU
    precision: str = "fp32"
    fails: Callable[[Any], bool] | None = None
    spoils: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    context_rows: int = 1
    full_halo: int = 4
    row_multiple: int = 4
    needs_range: bool = False
    needs: Needs = NEEDS
    keeps: bool = False
    sheets: list[Any] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    held: int = 0
    most_held: int = 0

    def describe(self) -> dict[str, Any]:
        return {"model": "fake", "device": "cpu", "precision": self.precision, "halo": 1, "tiling": "exact"}

    def weights_hash(self) -> str:
        return "none"

    def keeps_rows(self, width: int, parts: int) -> bool:
        return self.keeps and parts == 1

    def stream(self, pieces: Iterable[Any]) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        waiting: list[Any] = []
        for piece in pieces:
            waiting.append(piece)
            self.held += piece.values.nbytes
            self.most_held = max(self.most_held, self.held)
            if len(waiting) == self.batch:
                yield from self._run(waiting)
                waiting = []
        yield from self._run(waiting)

    def _run(self, pieces: list[Any]) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        if any(self.fails and self.fails(piece) for piece in pieces):
            raise RuntimeError("the network broke")
        results = [self._one(piece) for piece in pieces]
        for piece, result in zip(pieces, results, strict=True):
            self.held -= piece.values.nbytes
            yield piece, result

    def _one(self, piece: Any) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        values = piece.values.astype(np.float32) * np.float32(piece.scale)
        if piece.uncertainty:  # a hundredth of the value itself
            return values[piece.above : len(values) - piece.below] * np.float32(0.01)
        padded = np.pad(values, ((1, 1), (0, 0), (0, 0)), mode="edge")
        mean = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3)
        result = mean[piece.above : len(mean) - piece.below]
        self.heights.append(len(result))
        self.sheets.append((piece.sheet, piece.row))
        return self.spoils(result) if self.spoils else result


def two_fakes(seconds: float = 0.0) -> Any:
    """Two networks that differ, as ``--model auto`` has them."""
    from denoiser.batch.auto import Chooser
    from denoiser.estimate import MODELS

    class OneByOne(Chooser):
        def stream(self, pieces: Any) -> Any:
            for piece in pieces:
                yield from self.networks[self._name(piece)].stream([piece])

    white, photo = (FakeDenoiser(seconds=seconds, spoils=spoils) for spoils in (None, dimmed))
    return OneByOne(dict(zip(MODELS, (white, photo), strict=True)))  # type: ignore[arg-type]


def dimmed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values * np.float32(0.99)


def picture(seed: int, height: int = 24, width: int = 20, channels: int = 3, dtype: Any = np.uint8) -> NDArray[Any]:
    """A noisy gradient, (H, W, C)."""
    generator = np.random.default_rng(seed)
    values = np.linspace(0.2, 0.7, height)[:, None, None] + generator.normal(0, 0.05, (height, width, channels))
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return (values.clip(0, 1) * np.iinfo(dtype).max).round().astype(dtype)


def write_png(path: Path, seed: int, height: int = 24, width: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, height, width)).save(path)
    return path


def write_npy(path: Path, array: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def smoothed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What :class:`FakeDenoiser` makes of a whole 8-bit picture, by other means."""
    above, below = np.vstack([pixels[:1], pixels[:-1]]), np.vstack([pixels[1:], pixels[-1:]])
    return np.rint((above.astype(np.float64) + pixels + below) / 3).astype(np.uint8)


def tree(root: Path) -> dict[str, bytes]:
    """All visible files below a directory with their contents."""
    found = (path for path in root.rglob("*") if path.is_file())
    names = ((path.relative_to(root), path) for path in found)
    return {str(name): path.read_bytes() for name, path in names if not str(name).startswith(".denoiser")}


def leftovers(root: Path) -> list[Path]:
    """Temporary files that should not be there."""
    return list(root.rglob(".*denoiser-tmp"))
