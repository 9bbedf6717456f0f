"""What the leading process does beside training: it tells, validates, draws and saves."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from denoiser import weights
from denoiser.errors import DenoiserError, OutputError
from denoiser.progress import Progress
from denoiser.training import checkpoint
from denoiser.training.board import Board
from denoiser.training.card import make_card
from denoiser.training.clock import Clock
from denoiser.training.folder import METRICS
from denoiser.training.learner import Learner
from denoiser.training.options import TrainOptions
from denoiser.training.plots import NEED, can_draw, draw_curves, draw_samples
from denoiser.training.validate import Scores, Validation, score

LOG_EVERY = 30.0
"""Seconds between lines of metrics."""
LOOK_EVERY = 1.0
"""Seconds between looks at the loss, each of which waits for the device."""


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes
    ----------
    done : float
        Share of the run that is behind, 0 to 1.
    seconds, left : float
        Of training so far, and still to come.
    loss : float
        Mean over the steps since the last line of metrics.
    crops_per_second : float
    score : float, optional
        Of the last validation, in dB.
    """

    step: int
    done: float
    seconds: float
    left: float
    loss: float
    crops_per_second: float
    score: float | None


Watch = Callable[[Status], None]
"""Is told about once a second."""


class Watcher:
    """Looks after one run.

    Parameters
    ----------
    options : TrainOptions
    learner : Learner
    validation : Validation, optional
    clock : Clock
    progress : Progress
    watch : Watch, optional
        Without one the progress is told every 30 s.

    Raises
    ------
    OutputError
        By every method, where a file cannot be written.
    """

    def __init__(
        self,
        options: TrainOptions,
        learner: Learner,
        validation: Validation | None,
        clock: Clock,
        progress: Progress,
        watch: Watch | None = None,
    ) -> None:
        self.options, self.learner, self.validation = options, learner, validation
        self.clock, self.progress, self.watch = clock, progress, watch
        self.model, self.best = options.out / "model.safetensors", options.out / "best.safetensors"
        self.checkpoint, self.metrics = options.out / checkpoint.NAME, options.out / METRICS
        self.last_saved = self.last_validated = learner.counters.seconds
        self.score: float | None = None
        self.scored_step = -1
        self.losses: list[Tensor] = []
        self.logged = self.looked = time.perf_counter()
        self.total, self.steps = 0.0, 0
        self.draws = can_draw()
        if not self.draws:
            progress.note(NEED)
        with self._writing():
            options.out.mkdir(parents=True, exist_ok=True)
            self._begin_metrics()
            if not options.resume:
                self.best.unlink(missing_ok=True)
            elif validation:
                self._compare_measures(validation)
            self.board = Board(options.out, learner.counters.step + 1) if options.tensorboard else None
        if validation:
            learner.counters.measure = validation.measure_id

    @property
    def has_seen_enough(self) -> bool:
        """Whether the score has not improved for as long as the user has patience."""
        return self.options.patience is not None and self.learner.counters.stale >= self.options.patience

    def after_step(self, loss: Tensor, done: float) -> None:
        """Do what is due: look at the loss, write a line, validate, save."""
        counters = self.learner.counters
        self.losses.append(loss.detach())
        if counters.step == 1 or time.perf_counter() - self.looked > LOOK_EVERY:
            self._look(done, write=time.perf_counter() - self.logged > LOG_EVERY or counters.step == 1)
        if self.validation and counters.seconds - self.last_validated > self.options.val_every:
            self._look(done, write=True)
            with self.clock.standing_still():
                self._validate()
            self.last_validated = counters.seconds
        if counters.seconds - self.last_saved > self.options.checkpoint_every:
            self._look(done, write=False)  # a checkpoint of a run that has diverged would be of no use
            self._save_checkpoint()
            self.last_saved = counters.seconds

    def finish(self) -> Scores:
        """Choose and write the model; returns its PSNR, empty where the truth is not known."""
        self._look(1.0, write=True)
        # Before the validation: whoever ends a run by a signal, torchrun for one, may not wait for that.
        self._save_all()
        if self.validation and self.scored_step != self.learner.counters.step:
            self._validate()
            self._save_all()
        with self._writing():
            if self.draws:
                draw_curves(self.metrics, self.options.out / "curves.png")
            if self.board:
                self.board.close()
        return weights.read_card(self.model).psnr

    def _save_all(self) -> None:
        """The checkpoint, and the model: the best that was validated, else the present one."""
        self._save_checkpoint()
        with self._writing():
            if self.validation and self.best.is_file():
                temporary = self.model.with_name(f".{self.model.name}.tmp")
                shutil.copyfile(self.best, temporary)
                temporary.replace(self.model)
            else:
                self._save_model(self.model, {})

    def _look(self, done: float, write: bool) -> None:
        """Fetch the losses from the device and tell; with ``write`` begin a new mean."""
        counters, now = self.learner.counters, time.perf_counter()
        self.total += sum(torch.stack(self.losses).tolist()) if self.losses else 0.0
        self.steps += len(self.losses)
        self.losses, self.looked = [], now
        if not self.steps:
            return
        mean, elapsed = self.total / self.steps, now - self.logged
        if not math.isfinite(mean):
            raise self._diverged(f"the loss became {mean}")
        rate = self.steps * self.options.batch / max(elapsed, 1e-9)
        if self.watch:
            left = counters.seconds * (1 - done) / done if done > 0 else math.inf
            self.watch(Status(counters.step, done, counters.seconds, left, mean, rate, self.score))
        if not write:
            return
        self._write(loss=mean, crops_per_second=round(rate, 1))
        line = f"step {counters.step}  {counters.seconds:.0f} s  loss {mean:.5f}  {rate:.0f} crops/s"
        self.progress.note(line, "debug" if self.watch else "info")
        self.total, self.steps, self.logged = 0.0, 0, now

    def _validate(self) -> None:
        """Score the averaged weights, keep them where they are the best so far, and draw."""
        assert self.validation is not None
        learner, counters = self.learner, self.learner.counters
        scores, samples = self.validation.measure(learner.averaged(), learner.device, learner.dtype)
        self.score, self.scored_step = score(scores), counters.step
        self._write(psnr=scores)
        text = "; ".join(
            f"{protocol} " + "/".join(f"{v:.2f}" for v in row.values()) for protocol, row in scores.items()
        )
        self.progress.note(f"step {counters.step}  validation{' PSNR' * self.validation.is_psnr}: {text} dB")
        counters.stale += 1
        with self._writing():
            if self.score > counters.best:
                counters.best, counters.stale = self.score, 0
                self._save_model(self.best, scores if self.validation.is_psnr else {})
            draw_samples(samples, self.options.out / "samples.png")
            if self.board:
                self.board.show(counters.step, self.options.out / "samples.png")
            if self.draws:
                draw_curves(self.metrics, self.options.out / "curves.png")
        self.logged = self.looked = time.perf_counter()  # crops per second are those of training

    def _save_model(self, path: Path, psnr: Scores) -> None:
        module = self.learner.averaged()
        weights.save(path, module, make_card(module, self.options, self.learner.counters, psnr))

    def _diverged(self, sign: str) -> DenoiserError:
        again, resume = ("from the last checkpoint ", "--resume ") if self.checkpoint.is_file() else ("", "")
        return DenoiserError(
            f"{sign} at step {self.learner.counters.step}: the run diverged; start again {again}with a lower learning "
            f"rate, for example {resume}--lr {self.options.lr / 3:.2g}"
        )

    def _save_checkpoint(self) -> None:
        if not self.learner.is_finite():  # the loss is that of the weights before the last step
            raise self._diverged("weights became too large for numbers")
        with self._writing():
            self.learner.save(self.checkpoint)

    def _compare_measures(self, validation: Validation) -> None:
        """Scores that were measured on other pictures, or in another way, say nothing of those to come."""
        counters = self.learner.counters
        if counters.measure in ("", validation.measure_id):
            return
        counters.best, counters.stale = float("-inf"), 0
        self.best.unlink(missing_ok=True)
        self.progress.note(
            "the pictures or the noise to validate on are not those of before: the best state is chosen anew from here",
            "warning",
        )

    def _begin_metrics(self) -> None:
        """A new file; or, after a kill, the old one without the lines of steps that will be done again."""
        lines = []
        if self.options.resume and self.metrics.is_file():
            lines = self.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [f"{line}\n" for line in lines if _step_of(line) <= self.learner.counters.step]
        self.metrics.write_text("".join(kept), encoding="utf-8")

    def _write(self, **values: Any) -> None:
        counters = self.learner.counters
        row = {"step": counters.step, "seconds": round(counters.seconds, 1), **values}
        with self._writing(), self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            if self.board:
                self.board.write(counters.step, values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{self.options.out}: cannot be written ({error})") from error


def _step_of(line: str) -> float:
    """Of a line of the metrics; infinite where it is torn or damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf
