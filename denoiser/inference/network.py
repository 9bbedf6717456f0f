"""A network in one precision on one device, and what it does to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoiser.inference.sizing import CPU_WINDOW
from denoiser.models.needs import Needs
from denoiser.models.rows import SIMPLE_WIDTH, Flow

FLOW_PIXELS = 2**19
"""Pixels that a network which takes pictures row by row gets at a time, about. With fewer, more of the work is for the
rows around them; more leave the caches."""

FLOW_ROWS = 16
"""Fewest rows at a time, in very wide pictures."""

FLOW_FROM = CPU_WINDOW
"""Windows of more pixels are computed so; for smaller ones it is not worth it, unless they are wide."""

FINE = "bf16, fine"
"""bf16 that takes each value of a picture as two numbers, a tenth slower. One holds 8 bits, enough for pictures of 8
bits: with one, detail around 1100 under noise of 20 came out with an error of 3.7, with two, as in fp32, with 3.0."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, FINE: torch.bfloat16, "fp16": torch.float16}


def needs_of(module: nn.Module) -> Needs:
    """The demands that a network declares."""
    needs = module.needs
    if not isinstance(needs, Needs):
        raise TypeError(f"{type(module).__name__}.needs must be Needs, not {type(needs).__name__}")
    return needs


class Network:
    """A network, ready to run.

    Parameters
    ----------
    module : torch.nn.Module
        In fp32; it is copied, never changed.
    device : torch.device
    precision : str
        ``fp32``, ``bf16``, :data:`FINE` or ``fp16``: weights and activations. Scaling and subtraction are in fp32
        always.
    """

    def __init__(self, module: nn.Module, device: torch.device, precision: str) -> None:
        self.device = device
        self.precision = precision
        self.dtype = DTYPES[precision]
        self.takes_sigma = needs_of(module).takes_sigma
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        if precision == FINE:
            whole: Any = self.module
            whole.split_input()
        self.module.to(device=device, dtype=self.dtype)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        # On other devices large windows cost no more per pixel than small ones.
        self.can_flow = device.type == "cpu" and needs_of(module).flows

    @torch.inference_mode()
    def residual(self, x: Tensor, white: Tensor, sigma: Tensor) -> Tensor:
        """The estimated noise.

        Parameters
        ----------
        x : Tensor
            (N, 3, H, W) fp32 on the device.
        white, sigma : Tensor
            (N,) fp32 on the device, in units of x; 0 when unknown.

        Returns
        -------
        Tensor
            (N, 3, H, W) fp32.
        """
        # A gray picture arrives as one plane seen three times; convolutions want it to lie in memory.
        arguments = [self._planes(x), white.to(self.dtype)[:, None, None, None]]
        if self.takes_sigma:
            arguments.append(sigma.to(self.dtype)[:, None, None, None])
        with _faithful_arithmetic(self.device):
            residual: Tensor = self.module(*arguments)
        return residual.float()

    @torch.inference_mode()
    def uncertainty(self, x: Tensor, white: Tensor) -> Tensor:
        """Standard deviation of the error of each value of the estimate, as :meth:`residual`."""
        stated: Any = self.module.uncertainty
        with _faithful_arithmetic(self.device):
            deviation: Tensor = stated(self._planes(x), white.to(self.dtype)[:, None, None, None])
        return deviation.float()

    def _planes(self, x: Tensor) -> Tensor:
        x = x if self.precision == FINE else x.to(self.dtype)
        return x.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def compute(self, stored: Tensor, levels: Tensor, uncertainty: bool = False) -> tuple[Tensor, Tensor]:
        """Denoise a batch of windows, or say how uncertain that is.

        Parameters
        ----------
        stored : Tensor
            (N, H, W, C) on the device with C = 1 or 3; uint8, float32, or uint16 seen as int16.
        levels : Tensor
            (3, N) fp32 on the device: scale, white and sigma of each window.
        uncertainty : bool
            Whether the deviation of the estimate is wanted instead of the estimate.

        Returns
        -------
        values : Tensor
            (N, H, W, C) fp32 contiguous: ``stored * scale - residual``, not clipped; or the deviation.
        finite : Tensor
            (N,) bool, whether all values of a window are finite.
        """
        scale, white, sigma = levels
        if stored.dtype is torch.int16:
            # torch has few kernels for uint16, and none at all on some devices.
            stored = stored.to(torch.int32).bitwise_and_(0xFFFF)
        x = stored.to(torch.float32).mul_(scale[:, None, None, None]).permute(0, 3, 1, 2)  # (N, C, H, W), channels last
        colour = x.expand(-1, 3, -1, -1)
        found = self.uncertainty(colour, white) if uncertainty else self.residual(colour, white, sigma)  # (N, 3, H, W)
        if x.shape[1] == 1:
            found = found.mean(dim=1, keepdim=True)
        values = (found if uncertainty else x - found).permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
        return values, _finite(values)

    def flows(self, items: int, height: int, width: int) -> bool:
        """Whether a batch of windows of this size is better computed row by row, by :meth:`go_down`."""
        large = height * width > FLOW_FROM or width > SIMPLE_WIDTH * needs_of(self.module).multiple_of
        return self.can_flow and items == 1 and large

    def flow(self) -> Flow:
        """Begin a pass down one picture, for networks that :attr:`can_flow`."""
        begin: Any = self.module.flow
        flow: Flow = begin()
        return flow

    @torch.inference_mode()
    def push(self, flow: Flow, x: Tensor, white: float, last: bool) -> Tensor | None:
        """The next rows of one picture.

        Parameters
        ----------
        flow : Flow
            From :meth:`flow`.
        x : Tensor
            (h, W, C) fp32, C = 1 or 3, h and W multiples of the network's stride.
        white : float
            In units of x; 0 when unknown.
        last : bool
            Whether they are the picture's last ones.

        Returns
        -------
        Tensor or None
            (h', W, C), the estimated noise of the next rows that are complete by these; None where none are.
        """
        level = torch.full((1, 1, 1, 1), white, dtype=self.dtype)
        with _faithful_arithmetic(self.device):
            found = flow.push(self._planes(x.permute(2, 0, 1)[None].expand(-1, 3, -1, -1)), level, last)
        if found is None:
            return None
        found = found[0].permute(1, 2, 0)
        return found.float().mean(dim=2, keepdim=True) if x.shape[2] == 1 else found

    def rows_at_once(self, width: int, pixels: int | None = None) -> int:
        """How many rows of a picture are best taken at a time, of so many pixels at most (``FLOW_PIXELS``)."""
        multiple = needs_of(self.module).multiple_of
        return max((pixels or FLOW_PIXELS) // width, FLOW_ROWS) // multiple * multiple or multiple

    def go_down(
        self,
        height: int,
        width: int,
        white: float,
        read: Callable[[int, int], NDArray[np.float32]],
        write: Callable[[int, NDArray[np.float32]], None],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Denoise one window a few rows at a time: what :meth:`compute` does, in memory for these rows alone.

        Parameters
        ----------
        height, width : int
            Multiples of the network's stride.
        white : float
            In units of what is read; 0 when unknown.
        read : callable
            First row, last row (exclusive) -> (rows, W, C) fp32, C = 1 or 3; each row once, from top to bottom.
        write : callable
            Takes a row, and the estimated noise of the rows from there on, (rows, W, C) fp32; in the same order.
        between : callable
            Called now and then; it may set torch's number of threads.
        """
        flow, step, done = self.flow(), self.rows_at_once(width), 0
        for start in range(0, height, step):
            between()
            stop = min(start + step, height)
            noise = self.push(flow, torch.from_numpy(read(start, stop)), white, stop == height)
            if noise is not None:
                write(done, noise.float().numpy())
                done += len(noise)


def _finite(values: Tensor) -> Tensor:
    """Which windows of a batch hold finite values alone, (N,) bool."""
    if values.device.type == "cpu":
        # A sum tells the same, unless it overflows itself, in a thirtieth of the time.
        finite = values.flatten(1).sum(dim=1).isfinite()
        if finite.all():
            return finite
    return values.isfinite().flatten(1).all(dim=1)


@contextmanager
def _faithful_arithmetic(device: torch.device) -> Iterator[None]:
    """fp32 means fp32, and one input has one result; settings of the process come back afterwards."""
    if device.type == "cuda":
        # TF32 would keep 10 bits only; free choice of algorithms makes results differ between runs.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    elif device.type == "cpu":
        with _denormals_flushed():
            yield
    else:
        yield


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Numbers below 1e-38 slow convolutions down many times over and carry no picture.

    The flag belongs to the calling thread and reaches NumPy as well, hence it is put back.
    """
    tiny = np.float32(1e-39)
    flushed = bool(tiny * np.float32(1.0) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
