"""The progress bar of a terminal. Rich is imported here and where tables are drawn, nowhere at start-up."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

STYLES = {"error": "red", "warning": "yellow", "debug": "dim", "info": "", "summary": ""}


class Bar:
    """A :class:`denoiser.cli.console.Meter` that draws files, images/s, MP/s and the time left.

    The bar measures megapixels, because a folder holds small and large pictures; where their sum is
    not known it measures files.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.progress: Progress | None = None

    def start(self, files: int, megapixels: float, what: str) -> None:
        self.finish()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Files(),
            _Speed(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            expand=True,
            refresh_per_second=4,
        )
        self.by_megapixels = megapixels > 0
        self.files = self.progress.add_task(what, total=files, visible=not self.by_megapixels)
        self.megapixels = self.progress.add_task(what, total=megapixels or None, visible=self.by_megapixels)
        for task in (self.files, self.megapixels):  # each line shows the numbers of both
            self.progress.update(task, both=(self.progress.tasks[0], self.progress.tasks[1]))
        self.progress.start()

    def advance(self, files: int, megapixels: float) -> None:
        if self.progress is not None:
            self.progress.advance(self.files, files)
            self.progress.advance(self.megapixels, megapixels)

    def line(self, text: str, level: str) -> None:
        self.console.print(Text(text, style=STYLES[level]), soft_wrap=True)

    def finish(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


class _Files(ProgressColumn):
    """``45/1,200 files``."""

    def render(self, task: Task) -> Text:
        files: Task = task.fields["both"][0]
        return Text(f"{int(files.completed):,}/{int(files.total or 0):,} files")


class _Speed(ProgressColumn):
    """``12.3/s 2.61 MP/s``, both over the last half minute."""

    def render(self, task: Task) -> Text:
        files, megapixels = (each.finished_speed or each.speed for each in task.fields["both"])
        images = f"{files:.1f} images/s" if files else "- images/s"
        return Text(f"{images}  {megapixels:.2f} MP/s" if megapixels else f"{images}  - MP/s")
