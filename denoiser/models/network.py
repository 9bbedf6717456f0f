"""What every architecture has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from denoiser.models.needs import Needs


class Network(nn.Module, ABC):
    """A restoration network: estimates the noise in a picture, which its caller subtracts in fp32.

    Half precision then costs next to nothing, because its rounding errors scale with the noise and not
    with the picture, and 16-bit data survive.
    """

    config: Any
    """Frozen dataclass from which the network was built."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What a caller must know to run this network."""

    @abstractmethod
    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        """Estimate the noise.

        Parameters
        ----------
        x : Tensor
            (N, 3, H, W), H and W multiples of ``needs.multiple_of``.
        white : Tensor
            (N, 1, 1, 1), the value at which the container of x clips, in units of x; 0 when unknown.

        Returns
        -------
        Tensor
            (N, 3, H, W), to be subtracted from x.
        """

    def objective(self, noisy: Tensor, white: Tensor, clean: Tensor) -> Tensor | None:
        """Loss of one training batch, for architectures that prescribe their own.

        Parameters
        ----------
        noisy, clean : Tensor
            (N, 3, H, W), clean in [0, 1].
        white : Tensor
            As for :meth:`forward`.

        Returns
        -------
        Tensor or None
            A scalar; None leaves the choice to the trainer.
        """
        return None
