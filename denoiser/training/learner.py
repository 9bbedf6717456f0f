"""What learns: the network, the moving average of its weights, and its optimiser."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from denoiser import models, weights
from denoiser.errors import UsageError
from denoiser.models import Network
from denoiser.training import checkpoint
from denoiser.training.checkpoint import Counters, averaged_state, load_checkpoint, load_optimizer, save_checkpoint
from denoiser.training.muon import BETAS, WEIGHT_DECAY, Muon
from denoiser.training.options import DEFAULT_ARCH, TrainOptions

AVERAGE_EVERY = 4
"""Steps between updates of the moving average: its cost is one pass over all parameters."""
AVERAGE_DECAY = 0.999
"""Decay of the moving average per step."""


@dataclass(eq=False)
class Learner:
    """All that changes while a network is trained; what a checkpoint holds.

    Attributes
    ----------
    state : list of Tensor
        What the average follows: the parameters, then running statistics.
    """

    module: Network
    optimizer: torch.optim.Optimizer
    device: torch.device
    dtype: torch.dtype
    parameters: list[nn.Parameter]
    state: list[Tensor]
    average: list[Tensor]
    counters: Counters = field(default_factory=Counters)

    @classmethod
    def start(cls, options: TrainOptions, device: torch.device, dtype: torch.dtype) -> Learner:
        """A network with given weights, or fresh ones from the seed, before its first step."""
        module = _network(options).to(device)
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        parameters = list(module.parameters())
        optimizer: torch.optim.Optimizer
        if options.optimizer == "muon":
            optimizer = Muon(parameters, options.lr, dtype)
        else:
            optimizer = torch.optim.AdamW(parameters, options.lr, BETAS, weight_decay=WEIGHT_DECAY, fused=True)
        if options.init_optimizer and options.init and not options.resume:
            load_optimizer(_checkpoint_of(options.init), module, optimizer)
        state = list(averaged_state(module).values())
        return cls(module, optimizer, device, dtype, parameters, state, [value.detach().clone() for value in state])

    def precision(self) -> AbstractContextManager[None]:
        """Computes in the precision of the run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @property
    def statistics(self) -> list[Tensor]:
        """The running statistics of batch normalisation."""
        return self.state[len(self.parameters) :]

    def set_rate(self, rate: float) -> None:
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate

    def follow(self) -> None:
        """Let the moving average follow, every few steps; it is quick at first and slow later."""
        step = self.counters.step
        if step % AVERAGE_EVERY == 0:
            decay = min(AVERAGE_DECAY, (1 + step) / (10 + step)) ** AVERAGE_EVERY
            torch._foreach_lerp_(self.average, [value.detach() for value in self.state], 1 - decay)

    def averaged(self) -> Network:
        """A copy of the network that holds the moving average of its weights, in evaluation mode."""
        copy: Network = models.build_like(self.module).to(self.device)
        copy = copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        copy.load_state_dict(self.module.state_dict())
        for value, mean in zip(averaged_state(copy).values(), self.average, strict=True):
            value.data.copy_(mean)
        copy.eval()
        return copy

    @torch.inference_mode()
    def is_finite(self) -> bool:
        """Whether all weights, averages and moments are numbers: nothing else is worth keeping."""
        moments = [value for state in self.optimizer.state.values() for value in state.values() if value.numel()]
        sums = [value.float().sum() for value in (*self.state, *self.average, *moments)]
        return all(math.isfinite(value) for value in torch.stack([each.cpu() for each in sums]).tolist())

    def save(self, path: Path) -> None:
        save_checkpoint(path, self.module, self.average, self.optimizer, self.counters)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        UsageError
            If there is none, or it is of another architecture or optimiser.
        InputError
            If it is damaged or of a network of another size.
        """
        if not path.is_file():
            raise UsageError(f"{path}: no checkpoint to go on from; leave --resume out to begin")
        self.counters = load_checkpoint(path, self.module, self.average, self.optimizer)


def _checkpoint_of(init: str) -> Path:
    """The checkpoint of the run that a weights file comes from."""
    path = Path(init).with_name(checkpoint.NAME)
    if not path.is_file():
        raise UsageError(
            f"--init-optimizer: there is no {path}; name the model.safetensors of a run whose folder has its checkpoint"
        )
    return path


def _network(options: TrainOptions) -> Network:
    if options.init:
        module = weights.load(options.init)[0]
        name = models.name_of(module)
        if options.arch not in (None, name):
            raise UsageError(f"--arch {options.arch}: the network of --init is a {name}; leave --arch out, or --init")
        given, present = models.parse_config(name, options.arch_config), models.config_of(module)
        if differing := [name for name in given if given[name] != present[name]]:
            raise UsageError(f"--arch-config: the network of --init has another {' and another '.join(differing)}")
        return module.train()
    architecture = options.arch or DEFAULT_ARCH
    config = models.parse_config(architecture, options.arch_config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        try:
            return models.build(architecture, config)
        except ValueError as error:
            raise UsageError(f"--arch-config: {error}") from error
