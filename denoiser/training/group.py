"""Several training processes that act as one: each computes its share of a batch, gradients are averaged.

``torchrun --nproc-per-node N`` says through the environment who takes part; without it a run is a group of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from denoiser.errors import DenoiserError, UsageError


@dataclass(frozen=True)
class Group:
    """The processes of one run. ``rank`` 0 looks, tells and saves."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which samples of the common batch this process computes."""
        if batch % self.size:
            raise UsageError(f"--batch {batch} cannot be divided among {self.size} processes")
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).div_(self.size)
        with self._together():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()

    def agree(self, *values: float) -> tuple[float, ...]:
        """What rank 0 says: clocks and signals differ between processes, decisions must not."""
        if self.size == 1:
            return values
        told = torch.tensor(values, dtype=torch.float64)
        if dist.get_backend() == "nccl":
            told = told.cuda()
        with self._together():
            dist.broadcast(told, src=0)
        return tuple(told.tolist())

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What fails here fails because another process has ended, whose own message says why."""
        try:
            yield
        except RuntimeError as error:
            raise DenoiserError(
                f"process {self.rank} of {self.size}: another process of this run has ended; its message says why"
            ) from error


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Take part in the group that torchrun's variables describe, for the length of one run."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        group = Group(dist.get_rank(), size)
        yield group
        # Nobody leaves before rank 0 has saved. A process that ends right after a message can die of it: a thread of
        # gloo that then still lets go of a tensor needs the interpreter that is being taken down.
        with group._together():
            dist.barrier()
    finally:
        dist.destroy_process_group()
