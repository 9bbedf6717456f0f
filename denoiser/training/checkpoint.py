"""Everything needed to go on exactly: network, moving average, optimiser and counters, in one safetensors file.

Random numbers need no state: every step draws from generators seeded by (seed, step).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from denoiser import models
from denoiser.errors import InputError, UsageError
from denoiser.models import Network
from denoiser.weights import CHECKPOINT_KEY, give_usual_mode

NAME = "checkpoint.safetensors"
STATE_KEY = CHECKPOINT_KEY
KINDS_KEY = "denoiser.kinds"
"""Of what kind network and optimiser are. Files of the first format do not say."""


@dataclass
class Counters:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    best: float = float("-inf")
    """Best validation score so far, in dB."""
    stale: int = 0
    """Validations since then."""
    measure: str = ""
    """What the scores were measured by; empty where there were none."""
    way: str = ""
    """Options that say what is learned from; empty for clean pictures, and where nobody has written it down."""
    drawn: str = ""
    """What noise is made, and by which seed."""


def averaged_state(module: Network) -> dict[str, Tensor]:
    """What the moving average follows, by name: parameters, then the running statistics of batch normalisation.

    Averaged weights with the statistics of the last steps' weights would not belong together.
    """
    statistics = {name: value for name, value in module.named_buffers() if value.is_floating_point()}
    return {**dict(module.named_parameters()), **statistics}


def _counts(module: Network) -> dict[str, Tensor]:
    """Whole-number buffers (batches seen), which are no part of an average."""
    return {name: value for name, value in module.named_buffers() if not value.is_floating_point()}


def _kinds(module: Network, optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Architecture, optimiser and size, by the options that choose them."""
    return {
        "--arch": models.name_of(module),
        "--optimizer": type(optimizer).__name__.lower(),
        "--arch-config": " --arch-config ".join(models.settings_of(module)),
    }


def save_checkpoint(
    path: Path, module: Network, average: Sequence[Tensor], optimizer: torch.optim.Optimizer, counters: Counters
) -> None:
    """Write a checkpoint beside its final name, then rename: a kill leaves the old one or the new one."""
    tensors: dict[str, Tensor] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for (name, value), mean in zip(averaged_state(module).items(), average, strict=True):
        tensors[f"model.{name}"] = value
        tensors[f"average.{name}"] = mean
    tensors |= {f"model.{name}": value for name, value in _counts(module).items()}
    for index, parameter in enumerate(parameters):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{index}.{key}"] = value
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    temporary = path.with_name(f".{path.name}.tmp")
    kinds = json.dumps(_kinds(module, optimizer))
    save_file(tensors, temporary, metadata={STATE_KEY: json.dumps(asdict(counters)), KINDS_KEY: kinds})
    give_usual_mode(temporary)
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_checkpoint(
    path: Path, module: Network, average: Sequence[Tensor], optimizer: torch.optim.Optimizer
) -> Counters:
    """Put a checkpoint's state into a network, its average and its optimiser; returns where the run stood.

    Raises
    ------
    UsageError
        If it is of another architecture or optimiser.
    InputError
        If the file is damaged or belongs to a network of another size.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        counters = Counters(**json.loads(metadata[STATE_KEY]))
        _check_kinds(path, json.loads(metadata.get(KINDS_KEY, "{}")), _kinds(module, optimizer))
        tensors = load_file(path)
        for (name, value), mean in zip(averaged_state(module).items(), average, strict=True):
            value.data.copy_(tensors[f"model.{name}"])
            mean.copy_(tensors[f"average.{name}"])
        for name, value in _counts(module).items():
            value.copy_(tensors[f"model.{name}"])
        _load_optimizer(optimizer, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a checkpoint of this network and optimiser, or damaged ({error})") from error
    return counters


def load_optimizer(path: Path, module: Network, optimizer: torch.optim.Optimizer) -> None:
    """Put the state of a checkpoint's optimiser into one. Raises as :func:`load_checkpoint`."""
    try:
        with safe_open(path, framework="pt") as file:
            _check_kinds(path, json.loads(file.metadata().get(KINDS_KEY, "{}")), _kinds(module, optimizer))
        _load_optimizer(optimizer, load_file(path))
    except (SafetensorError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a checkpoint of this network and optimiser, or damaged ({error})") from error


def _check_kinds(path: Path, then: dict[str, str], now: dict[str, str]) -> None:
    for option, kind in then.items():
        if now.get(option) != kind:
            raise UsageError(f"{path}: is of a run with {option} {kind}, not {now.get(option)}; give {option} {kind}")


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        prefix = f"optimizer.{index}."
        state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        for key, moment in state.items():
            # The fused optimiser walks through memory without looking at strides: its moments must lie exactly as
            # their parameter does (channels_last), or each would be taken for another weight's.
            # And it reads its count of steps where it computes: on the host it would be a bad address to a GPU.
            counts = key == "step"
            state[key] = moment.to(parameter.device) if counts else torch.empty_like(parameter.detach()).copy_(moment)
        optimizer.state[parameter] = state
