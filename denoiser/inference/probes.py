"""What is measured once, when a network is put on a device: is it right, how far does it look, what does it hold?

All probes use one patch of seeded noise on edges and gradients, so that they give the same answer in
every run.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from denoiser.errors import UnavailableError
from denoiser.inference import devices
from denoiser.inference.batching import Piece
from denoiser.inference.network import FINE, Network, needs_of
from denoiser.models.needs import Needs
from denoiser.tiling import round_up

SEED = 20250601
NOISE = 25 / 255
"""Standard deviation of the noise on the patch; the full range is 1."""

LARGEST_DEVIATION = {"fp32": 1e-3, "bf16": 0.25, "fp16": 0.05}
"""Largest difference of a residual from its float64 reference, in standard deviations of the noise on the patch."""

TYPICAL_DEVIATION = {"fp32": 1e-4, "bf16": 0.02, "fp16": 0.004}
"""The same for the root mean square. The bundled flagship measures 0.008 in bf16, and loses 0.01 dB by it."""

_PREFERRED = {"cpu": ("bf16", "fp32"), "cuda": ("fp16", "bf16", "fp32"), "mps": ("fp16", "fp32")}
"""Precisions by speed, fastest first. fp16 has more digits than bf16 at the same speed; CPUs only emulate it."""

HALO_NOISE = (5 / 255, 25 / 255, 50 / 255)
"""Standard deviations of the noise on the patches by which a halo is chosen."""
LEAST_EFFECT = 1 / 32 / 255
"""Largest effect on these patches of what lies beyond a halo. Photographs show up to fifty times as much: over eight of
them at sigma 5 to 50 a halo of 32 pixels, which has 0.2 to 0.7 of an 8-bit step here, had up to 2.0 steps for
``unet``, and the 56 pixels that are chosen up to 0.4."""


def noisy_patch(height: int, width: int, noise: float = NOISE) -> Tensor:
    """A patch with flat parts, edges and a gradient under strong noise, (1, 3, height, width) fp32, about in [0, 1]."""
    rows, columns = np.mgrid[0:height, 0:width]
    clean = 0.25 + 0.5 * ((rows // 24 + columns // 40) % 2) * (columns / width)
    grain = np.random.default_rng(SEED).normal(0.0, noise, (3, height, width))
    return torch.from_numpy((clean + grain).astype(np.float32))[None]


def _residual(network: Network, patch: Tensor) -> Tensor:
    white, sigma = (torch.full((len(patch),), value, device=network.device) for value in (1.0, NOISE))
    return network.residual(patch.to(network.device), white, sigma).cpu()


@torch.inference_mode()
def reference_residual(module: nn.Module, patch: Tensor) -> Tensor:
    """The residual of a patch in float64 on the CPU, where torch uses plain loops and none of the fast libraries."""
    double = copy.deepcopy(module).cpu().double().eval()
    white = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    arguments = [patch.double(), white]
    if needs_of(module).takes_sigma:
        arguments.append(NOISE * white)
    residual: Tensor = double(*arguments)
    return residual


class Deviation(NamedTuple):
    """How far a residual is from its reference, in standard deviations of the noise."""

    largest: float
    typical: float

    def passes(self, precision: str) -> bool:
        # Written so that NaN fails.
        return self.largest <= LARGEST_DEVIATION[precision] and self.typical <= TYPICAL_DEVIATION[precision]


def deviation(residual: Tensor, reference: Tensor) -> Deviation:
    """Compare a residual with its reference.

    The unit is the noise of the patch, or the residual where that is larger: networks that fill holes
    estimate much more than noise.
    """
    unit = max(NOISE, reference.square().mean().sqrt().item())
    difference = (residual.double() - reference).abs()
    return Deviation(difference.max().item() / unit, difference.square().mean().sqrt().item() / unit)


def candidates(wanted: str, device: torch.device, allowed: tuple[str, ...]) -> list[str]:
    """Precisions to try, fastest first.

    Raises
    ------
    UnavailableError
        If the one that was asked for cannot be had from this device or network.
    """
    possible = [precision for precision in _PREFERRED[device.type] if precision in allowed]
    if wanted != "auto":
        if wanted not in possible:
            raise UnavailableError(
                f"precision {wanted} is not available for this model on {device.type}: "
                f"use auto or one of {', '.join(possible)}"
            )
        return [wanted]
    return [p for p in possible if p != "bf16" or devices.has_bf16(device)]


def choose_precision(
    module: nn.Module, device: torch.device, wanted: str, network: Callable[[str], Network]
) -> tuple[str, Deviation]:
    """The fastest precision that gives the right result on this device.

    Parameters
    ----------
    module : torch.nn.Module
        The network in fp32 on the CPU.
    device : torch.device
    wanted : str
        ``auto`` or one precision.
    network : callable
        Makes the network in a precision on the device.

    Raises
    ------
    UnavailableError
        If the precision that was asked for, or every one, fails the check.
    """
    needs = needs_of(module)
    side = round_up(48, needs.multiple_of)  # the float64 reference is slow
    patch = noisy_patch(side, side)
    reference = reference_residual(module, patch)
    failures = []
    for precision in candidates(wanted, device, needs.precisions):
        try:
            found = deviation(_residual(network(precision), patch), reference)
        except (RuntimeError, MemoryError) as error:  # a device that torch has no kernels for, or no memory left
            failures.append(f"{precision} cannot be computed ({_first_line(error)})")
            continue
        if found.passes(precision):
            return precision, found
        failures.append(
            f"{precision} differs by {found.largest:.2g} (allowed {LARGEST_DEVIATION[precision]:g}) and typically by "
            f"{found.typical:.2g} (allowed {TYPICAL_DEVIATION[precision]:g}) noise standard deviations"
        )
    remedy = "try another --device" if wanted in ("auto", "fp32") else "use --precision auto or fp32"
    raise UnavailableError(f"{device} fails the self-check: {'; '.join(failures)}; {remedy}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def precision_of(piece: Piece, chosen: str, device: torch.device, needs: Needs, turned: bool) -> str:
    """The precision in which a piece is computed: the one that was chosen, unless its values or its shape forbid it.

    Parameters
    ----------
    piece : Piece
    chosen : str
        ``fp32``, ``bf16`` or ``fp16``.
    device : torch.device
    needs : Needs
        Of the network.
    turned : bool
        Whether the network sees the piece turned as well.
    """
    # fp16 ends at 65504 and loses digits below 6e-5. Where nobody knows the range of the values that
    # would spoil them silently, so they are computed in fp32; bf16 has the exponents of fp32.
    if chosen == "fp16" and piece.white == 0:
        return "fp32"
    # oneDNN's strided convolutions in bf16 read beyond rows that are two pixels wide (AMX, torch 2.13): results
    # were off by up to 140 of 255, and others each time.
    rows, width = piece.values.shape[:2]
    narrow = min(rows, width) if turned else width
    if device.type == "cpu" and 1 < needs.multiple_of >= narrow:
        return "fp32"
    # bf16 has 8 bits, as many as such pictures.
    wide = chosen == "bf16" and piece.values.dtype != np.uint8
    return FINE if wide and needs.splits else chosen


class Footprint(NamedTuple):
    """What one pixel of a batch costs while a network computes."""

    bytes_per_pixel: float
    """Bytes of all tensors that live at once, at the worst moment."""
    elements_per_pixel: float
    """Elements of the largest single tensor."""


class _LiveTensors:
    """Follows every tensor that goes into or comes out of a layer, until its storage is freed."""

    def __init__(self) -> None:
        self.peak = 0
        self.largest = 0
        self.largest_bytes = 0
        self._live: dict[StorageWeakRef, int] = {}

    def before(self, layer: nn.Module, inputs: tuple[object, ...]) -> None:
        for value in inputs:
            self._see(value)

    def after(self, layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        self._see(output)

    def _see(self, value: object) -> None:
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        self._live[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        live = {ref: size for ref, size in self._live.items() if not ref.expired()}  # type: ignore[no-untyped-call]
        self._live = live
        self.peak = max(self.peak, sum(live.values()))
        self.largest = max(self.largest, value.numel())
        self.largest_bytes = max(self.largest_bytes, value.numel() * value.element_size())


@torch.inference_mode()
def footprint(network: Network, multiple_of: int) -> Footprint:
    """Measure what a network holds per pixel, from stored values to the result."""
    side = round_up(128, multiple_of)
    live = _LiveTensors()
    hooks = []
    for layer in network.module.modules():
        if not any(layer.children()):
            hooks += [layer.register_forward_pre_hook(live.before), layer.register_forward_hook(live.after)]
    try:
        _residual(network, noisy_patch(side, side))
    finally:
        for hook in hooks:
            hook.remove()
    # Between layers there may be one more tensor that no layer sees (a sum); around them there are the stored
    # values and the input while they compute, and the input, two residuals and the result afterwards.
    layers = (live.peak + live.largest_bytes) / side**2
    around, afterwards = 3 * (4 + 4), 3 * 4 * 4
    return Footprint(max(layers + around, afterwards), max(live.largest / side**2, 3.0))


@torch.inference_mode()
def held_per_column(network: Network, multiple_of: int) -> float:
    """Measure the bytes that a network which takes pictures row by row keeps for each of their columns."""
    width, height = 8 * multiple_of, 4 * multiple_of
    flow, most = network.flow(), 0
    patch = noisy_patch(height, width)[0].permute(1, 2, 0)
    for _ in range(2 + 2 * needs_of(network.module).receptive_field // height):
        network.push(flow, patch, 1.0, last=False)
        most = max(most, flow.held())
    return most / width


def effective_halo(network: Network, multiple_of: int, exact: int) -> int:
    """The smallest halo beyond which hardly anything of the patches counts.

    Returns
    -------
    int
        A multiple of ``multiple_of``, at most ``exact``.
    """
    kept = round_up(64, multiple_of)
    side = 2 * exact + kept
    patches = torch.cat([noisy_patch(side, side, noise) for noise in HALO_NOISE])

    def middle(halo: int) -> Tensor:
        part = slice(exact - halo, exact + kept + halo)
        own = slice(halo, halo + kept)
        return _residual(network, patches[:, :, part, part])[:, :, own, own]

    whole = middle(exact)
    halos = range(0, exact, multiple_of)
    found = bisect_left(halos, True, key=lambda halo: (middle(halo) - whole).abs().max().item() < LEAST_EFFECT)
    return halos[found] if found < len(halos) else exact
