"""Self-ensemble: the mean of what a network makes of a picture turned and mirrored.

A network that sees a picture turned errs in another way, and the mean of several errors is smaller (Timofte, Rothe and
Van Gool 2016, "Seven ways to improve example-based single image super resolution", sec. 3.7, who call it enhanced
prediction). It costs as many times as there are views.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from denoiser.models.needs import Needs

VIEWS: dict[int, tuple[tuple[int, bool], ...]] = {
    1: ((0, False),),
    2: ((0, False), (2, False)),
    4: ((0, False), (2, False), (0, True), (2, True)),
    8: tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}
"""Number of views -> quarter turns of each, and whether its columns are mirrored first. A half turn is the best second
view, and four without quarter turns are as good as four with them and keep the shape of a window."""


class Ensemble(nn.Module):
    """A network as the mean of its views.

    Views are taken of whole windows, whose sides are multiples of the network's stride: so a window's values are those
    of the whole picture wherever the network does not reach its cut sides.

    Parameters
    ----------
    module : torch.nn.Module
        ``module(x, *levels) -> residual``, with ``needs``.
    count : int
        Of views, a key of :data:`VIEWS`.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        super().__init__()
        self.module = module
        self.views = VIEWS[count]

    @property
    def needs(self) -> Needs:
        module: Any = self.module
        needs: Needs = module.needs
        # Rows from top to bottom are no rows of a picture that is turned.
        return replace(needs, flows=False)

    def split_input(self) -> None:
        """As that of the network, where it has one."""
        module: Any = self.module
        module.split_input()

    def forward(self, x: Tensor, *levels: Tensor) -> Tensor:
        total: Tensor | None = None
        for turns, mirrored in self.views:
            view = (x.flip(3) if mirrored else x).rot90(turns, (2, 3))
            found = self.module(view, *levels).rot90(-turns, (2, 3))
            found = found.flip(3) if mirrored else found
            # The sum of half precision values would lose what the mean gains.
            found = found.to(torch.promote_types(found.dtype, torch.float32))
            total = found if total is None else total + found
        assert total is not None  # there is a first view
        return total / len(self.views)

    def uncertainty(self, x: Tensor, white: Tensor) -> Tensor:
        """That of the picture as it is: the mean's is smaller, by how much nobody has measured."""
        stated: Any = self.module
        deviation: Tensor = stated.uncertainty(x, white)
        return deviation
