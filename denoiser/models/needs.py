"""What a network asks of its caller, declared as data and measured by tests."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("fp32", "bf16", "fp16")
"""Every precision that the program knows, slowest and safest first."""


@dataclass(frozen=True)
class Needs:
    """Demands of one network.

    Attributes
    ----------
    channels : int
        Colour planes of the input and of the residual.
    multiple_of : int
        Height and width of the input must be multiples of this, the total stride. Tiled output equals
        untiled output only where tiles begin on multiples of it.
    receptive_field : int
        Radius in pixels: no input pixel further away than this (in rows or in columns) changes an output pixel.
    takes_sigma : bool
        True where ``forward`` takes the noise level as a third argument, (N, 1, 1, 1) in units of x.
    needs_range : bool
        True where the network knows only values between black at 0 and white at 1, as those with biases do: it is
        not homogeneous, so a picture of unknown range must be refused. False promises f(a x, a w) = a f(x, w).
    states_uncertainty : bool
        True where ``uncertainty(x, white)`` gives the standard deviation of the error of each value of the estimate,
        (N, 3, H, W), with the same reach and strides as ``forward``.
    flows : bool
        True where ``flow()`` begins a pass down one picture (:class:`denoiser.models.rows.Flow`) that gives what
        ``forward`` gives, a few rows at a time.
    splits : bool
        True where ``split_input()`` makes the network take fp32 pictures whatever the type of its weights, as sums of
        two numbers of that type: a single one in bf16 has 8 bits.
    precisions : tuple of str
        The precisions in which the network may run: ``fp32``, ``bf16``, ``fp16``. ``fp32`` is always among them.
    """

    channels: int
    multiple_of: int
    receptive_field: int
    takes_sigma: bool = False
    needs_range: bool = False
    states_uncertainty: bool = False
    flows: bool = False
    splits: bool = False
    precisions: tuple[str, ...] = PRECISIONS

    def __post_init__(self) -> None:
        if self.channels < 1 or self.multiple_of < 1 or self.receptive_field < 0:
            raise ValueError(f"not a possible demand: {self}")
        if "fp32" not in self.precisions or not set(self.precisions) <= set(PRECISIONS):
            raise ValueError(f"precisions must be among {PRECISIONS} and hold fp32, not {self.precisions}")
