"""A picture goes through a network a few rows at a time, from top to bottom.

Between its layers the network keeps what the next rows need of the last ones. Windows of a large picture overlap by
the receptive field on all sides, and all features there are computed twice; here none but those of the inner layers of
a :class:`Run`. And what is in memory at once does not grow with the picture's height.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiser.models.layers import convolved

SIMPLE_WIDTH = 256
GRAIN = 16
"""Rows of more columns than this, at the coarsest scale, are continued with zeros up to a multiple of that. oneDNN's
convolutions in bf16 (128 channels, one processor) do 1,550 GFLOP/s on rows of up to 256 columns, 1,120 to 1,160 on
longer ones of such a number, 880 at 307, and 190 at 299."""


class Edges(NamedTuple):
    """Where rows meet the borders of the picture, beyond which convolutions see zeros.

    Attributes
    ----------
    top, bottom : bool
        Whether they begin and end there.
    columns : int
        How many columns there are; those of a tensor beyond it are zero.
    """

    top: bool
    bottom: bool
    columns: int


class Layer(NamedTuple):
    """Something made of 3x3 convolutions.

    Attributes
    ----------
    compute : callable
        Takes rows, (1, C, h, W), and gives those of its output that they suffice for: ``reach`` fewer at each end that
        is not an edge of the picture.
    reach : int
        How many convolutions it has, one after the other.
    """

    compute: Callable[[Tensor, Edges], Tensor]
    reach: int


def convolution(conv: nn.Conv2d) -> Layer:
    """A 3x3 convolution of stride 1 as a layer."""
    return Layer(partial(_convolved, conv), 1)


ACROSS = (0, 1)
"""Padding of convolutions whose rows have been padded by :func:`padded`."""


def _convolved(conv: nn.Conv2d, x: Tensor, edges: Edges) -> Tensor:
    return ended(convolved(conv, padded(x, edges), ACROSS), edges)


def padded(x: Tensor, edges: Edges) -> Tensor:
    """Rows with a row of zeros beyond each edge of the picture."""
    return F.pad(x, (0, 0, int(edges.top), int(edges.bottom))) if edges.top or edges.bottom else x


def ended(x: Tensor, edges: Edges) -> Tensor:
    """What a convolution made of rows, with zeros beyond the last column again: it reaches one column further."""
    if x.shape[3] > edges.columns:
        x[:, :, :, edges.columns] = 0
    return x


class Part(Protocol):
    """A part of a network on its way down one picture."""

    def push(self, x: Tensor, last: bool, columns: int) -> Tensor | None:
        """Take the next rows, and give those of the output that are complete by them.

        Parameters
        ----------
        x : Tensor
            (1, C, h, W), h > 0.
        last : bool
            Whether they reach the picture's lower border.
        columns : int
            Those of the picture, at this scale; what is beyond them is zero, and is not part of the output.

        Returns
        -------
        Tensor or None
            (1, C', h', W'); None where no row is complete yet, but never with the last ones.
        """

    def held(self) -> int:
        """Bytes of what it keeps for the rows to come."""


class Chain:
    """Parts one after the other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def push(self, x: Tensor, last: bool, columns: int) -> Tensor | None:
        rows: Tensor | None = x
        for part in self._parts:
            if rows is None:
                return None
            rows = part.push(rows, last, columns)
        return rows

    def held(self) -> int:
        return sum(part.held() for part in self._parts)


class Run:
    """Layers that share their context: rows wait in front of the first of them, and those within compute some again.

    Waiting in front of every layer would cost a copy of all features for each; features in the middle of a deep stack
    are small enough to have a run for each layer.

    Parameters
    ----------
    layers : sequence of Layer
    multiple : int
        Rows are given in multiples of this.
    """

    def __init__(self, layers: Sequence[Layer], multiple: int = 1) -> None:
        self._layers = layers
        self._reach = sum(layer.reach for layer in layers)
        self._multiple = multiple
        self._top = True
        self._held: Tensor | None = None

    def push(self, x: Tensor, last: bool, columns: int) -> Tensor | None:
        return self._advance(x if self._held is None else torch.cat([self._held, x], dim=2), last, columns)

    def push_sum(self, x: Tensor, others: Sequence[Tensor], last: bool, columns: int) -> Tensor | None:
        """As :meth:`push` of the sum of x and of others, which together have as many rows."""
        at = 0 if self._held is None else self._held.shape[2]
        shape = (1, x.shape[1], at + x.shape[2], x.shape[3])
        rows = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        if self._held is not None:
            rows[:, :, :at] = self._held
        for other in others:
            stop = at + other.shape[2]
            torch.add(x[:, :, : other.shape[2]], other, out=rows[:, :, at:stop])
            x, at = x[:, :, other.shape[2] :], stop
        return self._advance(rows, last, columns)

    def _advance(self, x: Tensor, last: bool, columns: int) -> Tensor | None:
        edges = Edges(self._top, last, columns)
        lost = self._reach * (2 - self._top - last)
        count = x.shape[2] - lost
        if not last:
            count -= count % self._multiple
        # The rows after these need as many before them.
        if count <= 0 or (self._top and not last and count < self._reach):
            self._held = x
            return None
        start = count - self._reach if self._top else count
        self._held = x[:, :, start:].clone(memory_format=torch.channels_last)
        self._top = False
        x = x[:, :, : count + lost]
        for layer in self._layers:
            x = layer.compute(x, edges)
        return x

    def held(self) -> int:
        return 0 if self._held is None else self._held.nbytes


class Scale:
    """What a U-Net does at one scale, around what it does at those below.

    Parameters
    ----------
    encode : Run
        Gives even numbers of rows.
    down, up : nn.Module
        Halve and double height and width, pixel by pixel: two rows are made of one and one of two.
    inner : Part
    decode : Run
        Takes the sum of what comes back from below and of what ``encode`` gave.
    """

    def __init__(self, encode: Run, down: nn.Module, inner: Part, up: nn.Module, decode: Run) -> None:
        self._encode, self._down, self._inner, self._up, self._decode = encode, down, inner, up, decode
        self._skip: deque[Tensor] = deque()

    def push(self, x: Tensor, last: bool, columns: int) -> Tensor | None:
        fine = self._encode.push(x, last, columns)
        if fine is None:
            return None
        self._skip.append(fine)
        coarse = self._inner.push(self._down(fine), last, columns // 2)
        if coarse is None:
            return None
        back = self._up(coarse)
        return self._decode.push_sum(back, self._skipped(back.shape[2]), last, columns)

    def _skipped(self, rows: int) -> list[Tensor]:
        """The next rows that wait to be added."""
        found = []
        while rows:
            first = self._skip.popleft()
            if first.shape[2] > rows:
                self._skip.appendleft(first[:, :, rows:])
                first = first[:, :, :rows]
            found.append(first)
            rows -= first.shape[2]
        return found

    def held(self) -> int:
        # What is left of rows of which some have been added has the memory of all.
        skipped = sum(rows.untyped_storage().nbytes() for rows in self._skip)
        return self._encode.held() + self._inner.held() + self._decode.held() + skipped


class Flow:
    """A pass of a network down one picture.

    Parameters
    ----------
    before : callable
        Makes of x and white, as ``forward`` takes them, what the first layer sees.
    parts : Part
    after : callable
        Makes the residual of what the last layer gives.
    scales : int
        How many times ``parts`` halve the columns.
    """

    def __init__(
        self,
        before: Callable[[Tensor, Tensor], Tensor],
        parts: Part,
        after: Callable[[Tensor], Tensor],
        scales: int,
    ) -> None:
        self._before, self._parts, self._after, self._scales = before, parts, after, scales

    def push(self, x: Tensor, white: Tensor, last: bool) -> Tensor | None:
        """Take the next rows, and give the residual of those that are complete by them.

        Parameters
        ----------
        x : Tensor
            (1, 3, h, W), h and W multiples of ``needs.multiple_of``.
        white : Tensor
            As for ``forward``.
        last : bool
            Whether they reach the picture's lower border.

        Returns
        -------
        Tensor or None
            (1, 3, h', W): all rows further than ``needs.receptive_field`` above the last one that was taken; None
            where there are none.
        """
        planes = self._before(x, white)
        columns = planes.shape[3]
        coarsest = columns >> self._scales
        if coarsest > SIMPLE_WIDTH:
            planes = F.pad(planes, (0, (-coarsest % GRAIN) << self._scales))
        rows = self._parts.push(planes, last, columns)
        return None if rows is None else self._after(rows[:, :, :, :columns])

    def held(self) -> int:
        """Bytes of what it keeps for the rows to come."""
        return self._parts.held()
