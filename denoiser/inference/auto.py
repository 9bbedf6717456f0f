"""Several networks of which each picture gets one; ``auto`` for arrays.

:mod:`denoiser.batch.auto` chooses for the files of a run, whose pieces share batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoiser import weights
from denoiser.estimate import WHITE_MODEL, Advice
from denoiser.images.arrays import as_pages, page_of
from denoiser.inference.batching import Piece
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.options import InferenceOptions
from denoiser.inference.stream import Stream
from denoiser.selection import Rows, advise


def load(model: str, options: InferenceOptions) -> dict[str, Denoiser]:
    """The networks that a model's name or path stands for, which share the processors: name -> network.

    Raises
    ------
    UnavailableError
        If one of them is not there, or the device is not.
    """
    networks: dict[str, Denoiser] = {}
    for name in weights.names(model):
        networks[name] = Denoiser(*weights.load(name), options, beside=next(iter(networks.values()), None))
    return networks


def stream(
    networks: Sequence[Denoiser], which: Callable[[Piece], int], pieces: Iterable[Piece]
) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
    """Denoise pieces, in order and lazily, each by one of several networks that :func:`load` gave.

    Parameters
    ----------
    networks : sequence of Denoiser
    which : callable
        Piece -> which of them it goes to.
    pieces : iterable of Piece
        As for :meth:`Denoiser.stream`; windows of those that go to the same network share batches.

    Yields
    ------
    As :meth:`Denoiser.stream`.
    """
    return Stream([network.lane() for network in networks], which).results(pieces)


class AutoDenoiser:
    """Several networks, of which every picture gets the one that suits its noise.

    Parameters
    ----------
    networks : dict
        Name -> network, for all of :data:`denoiser.estimate.MODELS`.

    Attributes
    ----------
    networks : dict
    """

    def __init__(self, networks: Mapping[str, Denoiser]) -> None:
        self.networks = dict(networks)

    def choose(
        self, array: NDArray[Any], white: float | None = None, black: float | None = None, alpha: bool = False
    ) -> Advice:
        """The network that a picture gets, and why; for a stack that of all its pictures, by the first.

        Parameters
        ----------
        array, white, black, alpha
            As for :meth:`Denoiser.denoise`.

        Returns
        -------
        Advice

        Raises
        ------
        UsageError
            If the array or an option has no meaning.
        """
        pages = as_pages(array)
        page = page_of(pages, alpha)
        if pages.size == 0:
            return Advice(WHITE_MODEL, "it has no pixels")
        return advise(Rows(page, lambda start, stop: pages[0, start:stop]), white, black)

    def denoise(
        self,
        array: NDArray[Any],
        white: float | None = None,
        black: float | None = None,
        sigma: float | None = None,
        strength: float = 1.0,
        alpha: bool = False,
        luma: float = 1.0,
        chroma: float = 1.0,
        detail: float = 0.0,
    ) -> NDArray[Any]:
        """Denoise one picture or a stack of pictures with the network that :meth:`choose` names.

        Parameters, result and errors are those of :meth:`Denoiser.denoise`.
        """
        network = self.networks[self.choose(array, white, black, alpha).model]
        return network.denoise(array, white, black, sigma, strength, alpha, luma, chroma, detail)
