"""The training loop: one function to read from top to bottom."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from denoiser import models, weights
from denoiser.errors import DenoiserError
from denoiser.models import Network
from denoiser.noise import parse_mixture
from denoiser.progress import Progress, Silent
from denoiser.training.card import make_card
from denoiser.training.checkpoint import Counters, averaged_state, load_checkpoint, save_checkpoint
from denoiser.training.data import PictureStore, TorchRandom, noisy_batch
from denoiser.training.folder import load_pictures
from denoiser.training.group import Group, joined
from denoiser.training.options import TrainOptions
from denoiser.training.validate import score, validate

WARM_UP = 200
"""Steps over which the learning rate rises, or a tenth of the run where that is less."""
AVERAGE_EVERY = 4
"""Steps between updates of the moving average: its cost is one pass over all parameters."""
AVERAGE_DECAY = 0.999
"""Decay of the moving average per step."""
LOG_EVERY = 30.0
"""Seconds between lines of metrics."""
LOOK_EVERY = 100
"""Steps between looks at the loss, each of which waits for the device."""


@dataclass(frozen=True)
class TrainResult:
    """What came out of a run.

    Attributes
    ----------
    model : Path
        The weights file, usable at once.
    steps : int
    seconds : float
    overhead : float
        Share of the time not spent in forward, backward and optimiser.
    psnr : dict
        Protocol -> {sigma: dB} on the validation pictures; empty without them.
    """

    model: Path
    steps: int
    seconds: float
    overhead: float
    psnr: dict[str, dict[str, float]]


def train(
    options: TrainOptions, progress: Progress | None = None, should_stop: Callable[[], bool] = lambda: False
) -> TrainResult:
    """Train a network on clean pictures with synthetic noise.

    Parameters
    ----------
    options : TrainOptions
    progress : Progress, optional
        Told what happens.
    should_stop : callable, optional
        Asked before every step; True ends the run as a time limit would: with a checkpoint and a model.

    Raises
    ------
    DenoiserError
        If the data are unusable, or the run diverges.
    """
    device, dtype = _device(options)
    with joined(device) as group:
        return _train(options, progress if progress and group.leads else Silent(), should_stop, device, dtype, group)


def _train(
    options: TrainOptions,
    progress: Progress,
    should_stop: Callable[[], bool],
    device: torch.device,
    dtype: torch.dtype,
    group: Group,
) -> TrainResult:
    module = _start(options).to(device)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    parameters = list(module.parameters())
    state = list(averaged_state(module).values())
    average = [value.detach().clone() for value in state]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    mixture, mine = parse_mixture(options.noise), group.share(options.batch)
    store = PictureStore(load_pictures(options.data, max(options.crops), progress), device)
    validation = load_pictures(options.val, 1, progress) if options.val and group.leads else []

    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint, best_file = options.out / "checkpoint.safetensors", options.out / "best.safetensors"
    counters = load_checkpoint(checkpoint, module, average, optimizer) if options.resume else Counters()
    log = _Log(options.out / "metrics.jsonl", progress, resumed=options.resume) if group.leads else None
    generator = torch.Generator(device)
    last_saved = last_validated = first_seconds = counters.seconds
    started, busy = time.perf_counter() - counters.seconds, 0.0
    psnr: dict[str, dict[str, float]] = {}
    warm_up = min(WARM_UP, options.max_steps // 10 + 1) if options.max_steps else WARM_UP

    while True:
        done, stopped = group.agree(_share_done(options, counters), should_stop())
        if done >= 1 or stopped:
            break
        # Every step has its own seeds: a resumed run draws what the undisturbed one would have drawn, and every
        # process of a group draws the whole batch, of which it computes its share.
        host = np.random.default_rng([options.seed, counters.step])
        generator.manual_seed(int(host.integers(2**62)))
        size = options.crops[_crop_stage(done, len(options.crops))]
        crops = store.crops(host, options.batch, size)  # (N, S, S, 3)
        batch = noisy_batch(crops, mixture, options.gray, options.clip, host, TorchRandom(generator))
        clean, noisy, white = (part[mine] for part in batch)

        begin = time.perf_counter()
        for settings in optimizer.param_groups:
            settings["lr"] = options.lr * min(1.0, (counters.step + 1) / warm_up) * _cosine(done)
        with (
            _layers_seeded(int(host.integers(2**62)) + group.rank, device),
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
        ):
            loss = module.objective(noisy, white, clean)
            if loss is None:
                loss = restoration_loss(noisy - module(noisy, white).float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        group.average([*gradients, *state[len(parameters) :]])
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        busy += time.perf_counter() - begin

        counters.step += 1
        counters.megapixels += options.batch * size * size / 1e6
        if counters.step % AVERAGE_EVERY == 0:
            decay = min(AVERAGE_DECAY, (1 + counters.step) / (10 + counters.step)) ** AVERAGE_EVERY
            torch._foreach_lerp_(average, [value.detach() for value in state], 1 - decay)
        counters.seconds = time.perf_counter() - started
        if log is None:
            continue
        log.step(counters, loss, options)
        if validation and counters.seconds - last_validated > options.val_every:
            begin = time.perf_counter()
            psnr = validate(_averaged(module, average), validation, device, dtype)
            log.validated(counters, psnr)
            if score(psnr) > counters.best:
                counters.best = score(psnr)
                weights.save(best_file, _averaged(module, average), make_card(module, options, counters, psnr))
            # Looking is not training: the clock of the schedule stands still meanwhile.
            started += time.perf_counter() - begin
            last_validated = counters.seconds
        if counters.seconds - last_saved > options.checkpoint_every:
            save_checkpoint(checkpoint, module, average, optimizer, counters)
            last_saved = counters.seconds

    target = options.out / "model.safetensors"
    if log is not None:
        save_checkpoint(checkpoint, module, average, optimizer, counters)
        final = _averaged(module, average)
        if validation:
            psnr = validate(final, validation, device, dtype)
            log.validated(counters, psnr)
        if validation and best_file.exists() and score(psnr) < counters.best:
            best_file.replace(target)
            psnr = weights.read_card(target).psnr
        else:
            weights.save(target, final, make_card(module, options, counters, psnr))
    spent = counters.seconds - first_seconds
    return TrainResult(target, counters.step, counters.seconds, 1 - busy / spent if spent > 0 else 0.0, psnr)


def _start(options: TrainOptions) -> Network:
    """The network to begin with: given weights, or fresh ones from the seed."""
    if options.init:
        return weights.load(options.init)[0].train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return models.build(options.arch)


@contextmanager
def _layers_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Layers that draw (dropout) can draw from torch's global state alone: seeded here, put back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def restoration_loss(estimate: Tensor, clean: Tensor) -> Tensor:
    """Mean over crops of the root mean squared error.

    PSNR counts the logarithm of a picture's squared error; plain MSE counts it linearly, which lets the noisiest
    crops of a batch drown the rest. The root lies between. Measured from one state over 600 equal steps, change in
    PSNR against the root of L1 (literature 15/50, file 15/50): RMSE +0.04/+0.07/+0.01/+0.21, L1 0/+0.02/-0.02/+0.19,
    MSE -0.10/0/-0.07/+0.49 dB. Losses that favour weak noise are slow to learn that clipping shifts the mean.

    Parameters
    ----------
    estimate, clean : Tensor
        (N, C, H, W).
    """
    # The small addend keeps the slope finite where a crop is already right.
    return (estimate - clean).square().mean(dim=(1, 2, 3)).add(1e-6).sqrt().mean()


def _device(options: TrainOptions) -> tuple[torch.device, torch.dtype]:
    device = torch.device("cpu" if options.device == "auto" else options.device)
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    half = options.precision == "bf16" or (options.precision == "auto" and native)
    return device, torch.bfloat16 if half else torch.float32


def _share_done(options: TrainOptions, counters: Counters) -> float:
    """How much of the run is behind, 0 to 1, by the limit that is nearer."""
    by_time = counters.seconds / options.max_time if options.max_time else 0.0
    by_steps = counters.step / options.max_steps if options.max_steps is not None and options.max_steps else 0.0
    if options.max_steps == 0:
        return 1.0
    return max(by_time, by_steps)


def _crop_stage(done: float, stages: int) -> int:
    """Which crop size is due: the first for half of the run, the others share the rest."""
    return 0 if done < 0.5 or stages == 1 else min(stages - 1, 1 + int((done - 0.5) / 0.5 * (stages - 1)))


def _cosine(done: float) -> float:
    """Learning rate as a share of its peak: a half cosine from 1 down to 1%."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _averaged(module: Network, average: list[Tensor]) -> Network:
    """A copy of the network that holds the moving average of its weights."""
    copy: Network = models.build_like(module).to(average[0].device)
    copy = copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    copy.load_state_dict(module.state_dict())
    for value, mean in zip(averaged_state(copy).values(), average, strict=True):
        value.data.copy_(mean)
    copy.eval()
    return copy


class _Log:
    """Writes ``metrics.jsonl`` and tells the progress; looks at the loss now and then, to not wait each step."""

    def __init__(self, path: Path, progress: Progress, resumed: bool) -> None:
        self.file = path.open("a" if resumed else "w", encoding="utf-8")
        self.progress = progress
        self.losses: list[Tensor] = []
        self.since = time.perf_counter()
        self.total, self.steps = 0.0, 0

    def step(self, counters: Counters, loss: Tensor, options: TrainOptions) -> None:
        self.losses.append(loss.detach())
        if len(self.losses) < LOOK_EVERY and time.perf_counter() - self.since < LOG_EVERY and counters.step > 1:
            return
        self.total += float(torch.stack(self.losses).sum())
        self.steps += len(self.losses)
        self.losses = []
        mean, elapsed = self.total / self.steps, time.perf_counter() - self.since
        if not math.isfinite(mean):
            raise DenoiserError(
                f"the loss became {mean} at step {counters.step}: the run diverged; start again from the last "
                f"checkpoint with a lower learning rate, for example --resume --lr {options.lr / 3:.2g}"
            )
        if elapsed < LOG_EVERY and counters.step > 1:
            return
        rate = self.steps * options.batch / max(elapsed, 1e-9)
        self._write(step=counters.step, seconds=round(counters.seconds, 1), loss=mean, crops_per_second=round(rate, 1))
        self.progress.note(f"step {counters.step}  {counters.seconds:.0f} s  loss {mean:.5f}  {rate:.0f} crops/s")
        self.total, self.steps, self.since = 0.0, 0, time.perf_counter()

    def validated(self, counters: Counters, psnr: dict[str, dict[str, float]]) -> None:
        self._write(step=counters.step, seconds=round(counters.seconds, 1), psnr=psnr)
        text = "; ".join(f"{protocol} " + "/".join(f"{v:.2f}" for v in row.values()) for protocol, row in psnr.items())
        self.progress.note(f"step {counters.step}  validation PSNR: {text}")
        self.since = time.perf_counter()
        self.total, self.steps, self.losses = 0.0, 0, []

    def _write(self, **values: object) -> None:
        self.file.write(json.dumps(values) + "\n")
        self.file.flush()
