"""``--model auto``: for each file the bundled network that suits its noise.

The networks stand behind one door with the methods of a single one, so that the pipeline does not know of the choice.
Pieces go to the network of their file and come back in order; those of one network share batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from denoiser.batch.job import Job
from denoiser.estimate import Advice
from denoiser.weights import AUTO

if TYPE_CHECKING:
    from denoiser.inference import Denoiser, Piece

Network: TypeAlias = "Denoiser | Chooser"


class Chooser:
    """Several networks as one; see :class:`denoiser.inference.Denoiser` for what is not said here.

    Parameters
    ----------
    networks : dict
        Name -> network, as :data:`denoiser.estimate.MODELS`; the first is for pieces of no file.
    """

    def __init__(self, networks: Mapping[str, Denoiser]) -> None:
        self.networks = dict(networks)
        each = list(self.networks.values())
        self.first = each[0]
        self.row_multiple = math.lcm(*(network.row_multiple for network in each))
        widest = max(network.context_rows for network in each)
        self.context_rows = math.ceil(widest / self.row_multiple) * self.row_multiple
        self.full_halo = max(network.full_halo for network in each)
        self.needs_range = any(network.needs_range for network in each)

    def describe(self) -> dict[str, str | int]:
        """As that of the first network, with the words of all where they differ."""
        described = [network.describe() for network in self.networks.values()]
        told = self.first.describe()
        for key in ("precision", "halo", "tiling"):
            words = dict.fromkeys(str(each[key]) for each in described)
            told[key] = ", ".join(words) if len(words) > 1 else told[key]
        return told | {"model": f"{AUTO} ({', '.join(self.networks)})"}

    def keeps_rows(self, width: int, parts: int) -> bool:
        return all(network.keeps_rows(width, parts) for network in self.networks.values())

    def stream(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
        """Denoise pieces, in order and lazily, each by the network of its file."""
        from denoiser.inference import auto

        numbers = {name: number for number, name in enumerate(self.networks)}
        return auto.stream(list(self.networks.values()), lambda piece: numbers[self._name(piece)], pieces)

    def cuts(self, height: int, width: int) -> bool:
        """Whether a picture of this size is computed in several windows by any network."""
        return any(network.cuts(height, width) for network in self.networks.values())

    def whole(self, piece: Piece) -> NDArray[np.float32]:
        """The result of a piece that is computed as one window."""
        return self.networks[self._name(piece)].whole(piece)

    def _name(self, piece: Piece) -> str:
        match piece.tag:
            case (Job(advice=Advice(model=name)), *_):
                return name
        return next(iter(self.networks))
