"""Batches on CUDA: stored integers go up, fp32 comes down, and both overlap with computing.

Two batches are under way at a time, each in its own pinned host buffers, which are allocated once and
grow when they must. A batch runs through three streams: upload, compute, download. The host fills
one buffer while the device works on the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from denoiser.inference.batching import Item, Key, gather, scatter
from denoiser.inference.engine import Networks, Ticket, as_tensor


class _PinnedBuffer:
    """Page-locked host memory that is used again and again."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """An uninitialised array in this buffer; what was there before is lost."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self._bytes.numel() < size:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        array: NDArray[Any] = self._bytes[:size].numpy().view(dtype).reshape(shape)
        return array


class _Slot:
    """Host buffers of one batch under way."""

    def __init__(self) -> None:
        self.stored, self.levels = _PinnedBuffer(), _PinnedBuffer()
        self.values, self.finite = _PinnedBuffer(), _PinnedBuffer()
        self.ticket: _CudaTicket | None = None


class _CudaTicket:
    def __init__(
        self, items: Sequence[Item], key: Key, event: torch.cuda.Event, values: NDArray[Any], finite: NDArray[Any]
    ) -> None:
        self.items = items
        self.key = key
        self._event = event
        self._values = values
        self._finite = finite
        self._failed: list[Item] | None = None

    def done(self) -> bool:
        return self._failed is not None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def result(self) -> list[Item]:
        if self._failed is None:
            self._event.synchronize()
            self._failed = scatter(self.items, self._values, self._finite)
        return self._failed


class CudaEngine(Networks):
    """One GPU."""

    depth = 2
    workers = 1

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__(module, device)
        self._device = device
        self._upload = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._compute = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._download = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._slots = cycle([_Slot() for _ in range(self.depth)])

    def submit(self, items: Sequence[Item], key: Key, places: int, share: int) -> Ticket:
        # Leaving a stream makes the device current that was so before: the first one otherwise, in whose memory every
        # process would have a context.
        with torch.cuda.device(self._device):
            return self._submit(items, key, places)

    def _submit(self, items: Sequence[Item], key: Key, places: int) -> Ticket:
        network = self.network(key.precision)
        slot = next(self._slots)
        if slot.ticket is not None:
            slot.ticket.result()  # its buffers are about to be filled anew
        stored = slot.stored.array((places, key.height, key.width, key.channels), key.dtype)
        levels = slot.levels.array((3, places), "float32")
        levels[:] = gather(items, stored)
        on_device = self._to_device(stored), self._to_device(levels)
        with torch.cuda.stream(self._compute):
            self._compute.wait_stream(self._upload)
            self._compute.wait_stream(torch.cuda.default_stream(self._device))  # where networks are made
            for tensor in on_device:
                tensor.record_stream(self._compute)
            values, finite = network.compute(*on_device, key.uncertainty)
        host_values = slot.values.array(stored.shape, "float32")
        host_finite = slot.finite.array((places,), "bool")
        event = self._to_host((values, host_values), (finite, host_finite))
        slot.ticket = _CudaTicket(items, key, event, host_values, host_finite)
        return slot.ticket

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        with torch.cuda.stream(self._upload):
            return as_tensor(array).to(self._device, non_blocking=True)

    def _to_host(self, *pairs: tuple[Tensor, NDArray[Any]]) -> torch.cuda.Event:
        """Copy device tensors to pinned arrays. Returns the event after which the copies are complete."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._download):
            self._download.wait_stream(self._compute)
            for tensor, array in pairs:
                tensor.record_stream(self._download)
                torch.from_numpy(array).copy_(tensor, non_blocking=True)
            event.record(self._download)
        return event
