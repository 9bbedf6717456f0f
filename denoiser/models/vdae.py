"""Convolutional variational denoiser: an estimate of the picture, and how uncertain each value of it is.

A variational autoencoder (Kingma and Welling 2014) whose code is a map at a quarter of the resolution. The encoder sees
the noisy picture and gives mean and variance of the code; the decoder makes of a code the clean picture and the
logarithm of the variance of its error. Everything passes through the code, so that the picture comes out smoothed.

Taken from the source (a variational autoencoder of the UPC deep learning course 2018, team 2): two strided
convolutions, a hidden layer, two transposed convolutions, ReLU, a Gaussian code with the Kullback-Leibler divergence
from the normal distribution. Changed: convolutions instead of dense layers around the code, which fit one size of
picture only; more filters, as the source itself sees colours vanish in small codes; a linear output with its own
variance instead of binary cross-entropy; it learns to make clean pictures of noisy ones, and takes the mean of the code
when used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoiser.models.layers import PICTURE_PRECISIONS, ConvReLU, picture_head, transposed
from denoiser.models.needs import Needs
from denoiser.models.network import Network
from denoiser.models.reach import Span, radius

LOG_VARIANCE = (-14.0, 2.0)
"""Bounds of logarithms of variances: standard deviations of 0.001 to 2.7. Beyond them exponents would explode."""
FRESH_DEVIATION = 0.05
"""Standard deviation that a fresh network states, of the code as of the picture. A code as wide as the normal
distribution says nothing at first, and the decoder learns to do without it: 500 steps on photographs, tried on noise
of 25, ended at 28.0 dB from a narrow code, and at 15.0 dB from a wide one."""


@dataclass(frozen=True)
class VDAEConfig:
    """Size of a :class:`VDAE`.

    Attributes
    ----------
    channels : tuple of int
        Feature channels at half and at quarter resolution.
    code : int
        Channels of the code, at quarter resolution.
    divergence : float
        Weight of the Kullback-Leibler divergence. 1 is the variational bound, less gives sharper pictures: 500 steps
        on photographs with noise of 25 ended at 21.5 dB with 1, and at 28.0 dB with 0.1.
    """

    channels: tuple[int, int] = (64, 128)
    code: int = 32
    divergence: float = 0.1

    def __post_init__(self) -> None:
        if self.code < 1 or not self.divergence >= 0:
            raise ValueError(f"code must be at least 1 and divergence not negative: {self.code}, {self.divergence}")


class VDAE(Network):
    """Makes the clean picture and states its uncertainty; see the module's text.

    Parameters
    ----------
    config : VDAEConfig
    """

    def __init__(self, config: VDAEConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.channels
        self.encoder = nn.Sequential(ConvReLU(3, fine, 2), ConvReLU(fine, coarse, 2), ConvReLU(coarse, coarse))
        self.code = nn.Conv2d(coarse, config.code, 3, padding=1)
        self.code_log_variance = _fresh_log_variance(coarse, config.code)
        self.decoder = nn.Sequential(
            ConvReLU(config.code, coarse),
            transposed(coarse, coarse),
            nn.ReLU(inplace=True),
            transposed(coarse, fine),
            nn.ReLU(inplace=True),
        )
        self.picture = picture_head(fine)
        self.log_variance = _fresh_log_variance(fine, 3)

    @property
    def needs(self) -> Needs:
        return Needs(
            channels=3,
            multiple_of=4,
            receptive_field=radius(_read, stride=4),
            needs_range=True,
            states_uncertainty=True,
            precisions=PICTURE_PRECISIONS,
        )

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        estimate: Tensor = self.picture(self.decoder(self.code(self.encoder(x))))
        return x - estimate

    def uncertainty(self, x: Tensor, white: Tensor) -> Tensor:
        """Standard deviation of the error of each value of the estimate.

        It is trained on the errors of estimates from drawn codes, so that the spread of the code is in it.

        Parameters
        ----------
        x, white : Tensor
            As for :meth:`forward`.

        Returns
        -------
        Tensor
            (N, 3, H, W), positive, in units of x.
        """
        _, log_variance = self._decode(self.code(self.encoder(x)))
        return log_variance.mul(0.5).exp()

    def objective(self, noisy: Tensor, white: Tensor, clean: Tensor) -> Tensor:
        """The variational bound of each picture, with the variance that suits the picture best, per value.

        That bound, with the divergence in its weight, is log RMSE + divergence / values. Its slope is multiplied by
        the picture's RMSE, so that very noisy pictures do not count less than others: RMSE + RMSE (held fixed) *
        divergence / values. The stated variance is fitted in the same weight, by maximum likelihood, to errors that
        it cannot change.
        """
        mean, log_variance = self._encode(noisy)
        drawn = mean + log_variance.mul(0.5).exp() * torch.randn_like(mean)
        estimate, stated = self._decode(drawn)
        error = (estimate - clean).square()  # (N, 3, H, W)
        # The small addend keeps the slope finite where a picture is already right.
        rmse = error.mean(dim=(1, 2, 3)).add(1e-6).sqrt()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3))
        bound = self.config.divergence * divergence / clean[0].numel()
        likelihood = 0.5 * (stated + error.detach() * (-stated).exp()).mean(dim=(1, 2, 3))
        loss: Tensor = (rmse + rmse.detach() * (bound + likelihood)).mean()
        return loss

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the code, each (N, K, H/4, W/4)."""
        features = self.encoder(x)
        mean: Tensor = self.code(features)
        log_variance: Tensor = self.code_log_variance(features)
        return mean.float(), log_variance.float().clamp(*LOG_VARIANCE)

    def _decode(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """The picture and the logarithm of the variance of its error, each (N, 3, H, W)."""
        features = self.decoder(code)
        estimate: Tensor = self.picture(features)
        log_variance: Tensor = self.log_variance(features)
        return estimate.float(), log_variance.float().clamp(*LOG_VARIANCE)


def _fresh_log_variance(inputs: int, outputs: int) -> nn.Conv2d:
    """A head that states the logarithm of a variance, at first the same everywhere."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, 2 * math.log(FRESH_DEVIATION))  # type: ignore[arg-type]  # there is one
    return conv


def _read(span: Span) -> Span:
    span = span.conv().transposed().transposed().conv()
    return span.conv().conv().conv(stride=2).conv(stride=2)
