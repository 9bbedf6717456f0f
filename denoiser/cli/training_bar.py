"""The progress bar of ``denoiser train`` on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from denoiser.cli.bar import STYLES

if TYPE_CHECKING:
    from denoiser.training import Status


class TrainingBar:
    """A :class:`denoiser.cli.console.Meter` that draws how far training is: loss, PSNR, crops/s, time left.

    Parameters
    ----------
    console : Console, optional
        Where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        columns = (
            TextColumn("step {task.fields[step]:,}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
        )
        self.progress = Progress(*columns, console=self.console, transient=True, expand=True, refresh_per_second=4)
        self.task = self.progress.add_task("", total=1.0, step=0)
        self.started = False

    def update(self, status: Status) -> None:
        """Draw where the run stands."""
        if not self.started:
            self.progress.start()
            self.started = True
        self.progress.update(self.task, completed=status.done, step=status.step, description=numbers(status))

    def start(self, files: int, megapixels: float, what: str) -> None:
        """Training counts steps, which :meth:`update` tells."""

    def advance(self, files: int, megapixels: float) -> None:
        """As for :meth:`start`."""

    def line(self, text: str, level: str) -> None:
        self.console.print(Text(text, style=STYLES[level]), soft_wrap=True)

    def finish(self) -> None:
        if self.started:
            self.progress.stop()
            self.started = False


def numbers(status: Status) -> str:
    """``loss 0.0312  31.24 dB  120 crops/s  4:05 left``."""
    text = f"loss {status.loss:.4f}"
    if status.score is not None:
        text += f"  {status.score:.2f} dB"
    text += f"  {status.crops_per_second:.0f} crops/s"
    if math.isfinite(status.left):
        minutes, seconds = divmod(round(status.left), 60)
        hours, minutes = divmod(minutes, 60)
        text += f"  {hours}:{minutes:02}:{seconds:02} left" if hours else f"  {minutes}:{seconds:02} left"
    return text
