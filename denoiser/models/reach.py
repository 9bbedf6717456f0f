"""Receptive fields by interval arithmetic: which pixels of its input a layer reads for a run of output pixels.

Networks with strides and skips have no simple formula. Followed from the output back to the input,
layer by layer, the run of pixels that is read gives the exact answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """Pixels ``first`` to ``last``, both included, along one axis of a layer's output.

    Each method gives the span of the layer's input that is read for it.
    """

    first: int
    last: int

    def conv(self, kernel: int = 3, stride: int = 1, times: int = 1) -> Span:
        """Convolutions of odd kernels, padded by half a kernel."""
        span = self
        for _ in range(times):
            span = Span(span.first * stride - kernel // 2, span.last * stride + kernel // 2)
        return span

    def pooled(self) -> Span:
        """Pooling of 2 x 2."""
        return Span(2 * self.first, 2 * self.last + 1)

    def enlarged(self) -> Span:
        """Nearest-neighbour enlargement by 2."""
        return Span(self.first // 2, self.last // 2)

    def transposed(self) -> Span:
        """Transposed convolution, kernel 3, stride 2, padding 1, output padding 1."""
        return Span(self.first // 2, (self.last + 1) // 2)

    def joined(self, other: Span) -> Span:
        """A skip: both spans are read."""
        return Span(min(self.first, other.first), max(self.last, other.last))


def radius(read: Callable[[Span], Span], stride: int) -> int:
    """The receptive field of a network.

    Parameters
    ----------
    read : callable
        Follows a span from the output back to the input.
    stride : int
        Total stride: the reach depends on where an output pixel lies within it, and the widest counts.

    Returns
    -------
    int
        Distance in pixels to the furthest input pixel that can change an output pixel.
    """
    spans = [(pixel, read(Span(pixel, pixel))) for pixel in range(stride)]
    return max(max(pixel - span.first, span.last - pixel) for pixel, span in spans)
