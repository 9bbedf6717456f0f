"""The training loop: one function to read from top to bottom."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from denoiser.errors import UsageError
from denoiser.inference import devices
from denoiser.lock import Lock, NoLocksError
from denoiser.progress import Progress, Silent
from denoiser.training import board, checkpoint
from denoiser.training.checkpoint import Counters
from denoiser.training.clock import Clock
from denoiser.training.data import TorchRandom
from denoiser.training.group import Group, joined
from denoiser.training.learner import Learner
from denoiser.training.lessons import as_told, prepare
from denoiser.training.objectives import Objective
from denoiser.training.options import TrainOptions
from denoiser.training.validate import Scores, Validation
from denoiser.training.watcher import Watch, Watcher

WARM_UP = 200
"""Steps over which the learning rate rises, or a tenth of the run where that is less."""


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
        Protocol -> {noise: dB} on the validation pictures; empty without them, or where their truth is unknown.
    """

    model: Path
    steps: int
    seconds: float
    overhead: float
    psnr: Scores


def train(
    options: TrainOptions,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> TrainResult:
    """Train a network on clean pictures with synthetic noise, on pairs, or on noisy pictures alone.

    Parameters
    ----------
    options : TrainOptions
    progress : Progress, optional
        Told what happens.
    should_stop : callable, optional
        Asked before every step; True ends the run as a time limit would: with a checkpoint and a model.
    watch : callable, optional
        Given a :class:`Status` about once a second, to draw it.

    Raises
    ------
    DenoiserError
        If the data are unusable, the output holds another run or cannot be written, or the run diverges.
    """
    if options.tensorboard:
        board.check()
    _check_out(options)  # before the first process of a group can have written there
    device, dtype = _device(options)
    with joined(device) as group:
        talk = progress if progress and group.leads else Silent()
        options = as_told(options, talk)
        learner = Learner.start(options, device, dtype)
        if options.resume:
            learner.resume(options.out / checkpoint.NAME)
            _compare(options, learner.counters, talk)
        learner.counters.way, learner.counters.drawn = options.way, options.drawn
        objective, validation = prepare(options, learner.module, device, talk, group.leads)
        with _alone(options, talk) if group.leads else nullcontext(), _threads():
            return _train(options, learner, objective, validation, talk, should_stop, watch, group)


def _train(
    options: TrainOptions,
    learner: Learner,
    objective: Objective,
    validation: Validation | None,
    progress: Progress,
    should_stop: Callable[[], bool],
    watch: Watch | None,
    group: Group,
) -> TrainResult:
    module, optimizer, mine = learner.module, learner.optimizer, group.share(options.batch)
    counters, clock = learner.counters, Clock(learner.counters.seconds)
    watcher = Watcher(options, learner, validation, clock, progress, watch) if group.leads else None
    random = TorchRandom(torch.Generator(learner.device))

    while True:
        stop = should_stop() or (watcher is not None and watcher.has_seen_enough)
        done, stopped = group.agree(_share_done(options, counters), stop)
        if done >= 1 or stopped:
            break
        # Every step has its own seeds: a resumed run draws what the undisturbed one would have drawn, and every
        # process of a group draws the whole batch, of which it computes its share.
        host = np.random.default_rng([options.seed, counters.step])
        random.generator.manual_seed(int(host.integers(2**62)))
        size = options.crops[_crop_stage(done, len(options.crops))]
        batch = objective.draw(options.batch, size, host, random).part(mine)

        with clock.working():
            learner.set_rate(options.lr * _warm_up(options, counters) * _cosine(done))
            with _layers_seeded(int(host.integers(2**62)) + group.rank, learner.device), learner.precision():
                loss = objective.loss(module, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = [parameter.grad for parameter in learner.parameters if parameter.grad is not None]
            group.average([*gradients, *learner.statistics])
            # Many at a time, which torch does not do by itself on CPUs and refuses on MPS.
            nn.utils.clip_grad_norm_(learner.parameters, 1.0, foreach=True if learner.device.type == "cpu" else None)
            optimizer.step()

        counters.step += 1
        counters.megapixels += options.batch * size * size / 1e6
        counters.seconds = clock.seconds
        learner.follow()
        if watcher:
            watcher.after_step(loss, _share_done(options, counters))

    overhead = clock.overhead(counters.seconds)
    psnr = watcher.finish() if watcher else {}
    return TrainResult(options.out / "model.safetensors", counters.step, counters.seconds, overhead, psnr)


@contextmanager
def _threads() -> Iterator[None]:
    """Compute with no more threads than a container has processors for, which OpenMP does not know."""
    before = torch.get_num_threads()
    torch.set_num_threads(devices.computing())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(options: TrainOptions, before: Counters, progress: Progress) -> None:
    """Whether a resumed run learns what it has learned before."""
    if before.drawn and before.way != options.way:  # older checkpoints say neither
        then = f"with {before.way}" if before.way else "from clean pictures"
        raise UsageError(f"{options.out}: is a run {then}; give --resume the same options, or another --out")
    if before.drawn not in ("", options.drawn):
        progress.note(f"goes on with {options.drawn}; until here it was {before.drawn}", "warning")


def _check_out(options: TrainOptions) -> None:
    """A run may have taken hours: one that forgets ``--resume`` does not replace it."""
    there = [name for name in (checkpoint.NAME, "model.safetensors") if (options.out / name).exists()]
    if there and not options.resume:
        raise UsageError(
            f"{options.out}: holds a run already ({' and '.join(there)}); add --resume to go on with it, or give "
            "another --out, or delete it"
        )


@contextmanager
def _alone(options: TrainOptions, progress: Progress) -> Iterator[None]:
    """Keep other runs out of the folder, and look again whether one was there while the pictures were read."""
    with ExitStack() as stack:
        try:
            stack.enter_context(Lock(options.out, instead="give another --out"))
        except NoLocksError as error:
            progress.note(f"{error}".partition(";")[0] + "; let no other run write there", "warning")
        _check_out(options)
        yield


@contextmanager
def _layers_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Layers that draw (dropout) can draw from torch's global state alone: seeded here, put back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _device(options: TrainOptions) -> tuple[torch.device, torch.dtype]:
    """Where, and in which precision; under torchrun each process takes a GPU of its own."""
    device = devices.resolve(options.device)
    if device.type == "cuda" and options.device in ("auto", "cuda"):
        device = devices.resolve(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    half = options.precision == "bf16" or (options.precision == "auto" and devices.has_bf16(device))
    return device, torch.bfloat16 if half else torch.float32


def _share_done(options: TrainOptions, counters: Counters) -> float:
    """How much of the run is behind, 0 to 1, by the limit that is nearer."""
    by_time = counters.seconds / options.max_time if options.max_time else 0.0
    by_steps = counters.step / options.max_steps if options.max_steps else 0.0
    if options.max_steps == 0:
        return 1.0
    return max(by_time, by_steps)


def _crop_stage(done: float, stages: int) -> int:
    """Which crop size is due: the first for half of the run, the others share the rest."""
    return 0 if done < 0.5 or stages == 1 else min(stages - 1, 1 + int((done - 0.5) / 0.5 * (stages - 1)))


def _cosine(done: float) -> float:
    """Learning rate as a share of its peak: a half cosine from 1 down to 1%."""
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _warm_up(options: TrainOptions, counters: Counters) -> float:
    """Learning rate as a share of its due: a straight rise over the first steps."""
    steps = min(WARM_UP, options.max_steps // 10 + 1) if options.max_steps else WARM_UP
    return min(1.0, (counters.step + 1) / steps)
