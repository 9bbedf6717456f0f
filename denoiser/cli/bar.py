"""The progress bar of a terminal. Rich is imported here and where tables are drawn, nowhere at start-up."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

STYLES = {"error": "red", "warning": "yellow", "debug": "dim", "info": "", "summary": ""}


class Bar:
    """A :class:`denoiser.cli.console.Meter` that draws files, images/s, MP/s and the time left.

    The bar measures megapixels, because a folder holds small and large pictures; where their sum is
    not known it measures files.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.clock = clock
        self.progress: Progress | None = None

    def start(self, files: int, megapixels: float, what: str) -> None:
        self.finish()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Numbers(),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            expand=True,
            refresh_per_second=4,
            get_time=self.clock,
        )
        self.files = self.progress.add_task(what, total=files, visible=megapixels <= 0)
        self.megapixels = self.progress.add_task(what, total=megapixels or None, visible=megapixels > 0)
        both = (self.progress.tasks[0], self.progress.tasks[1])
        for task in (self.files, self.megapixels):  # one of them is drawn, with the numbers of both
            self.progress.update(task, both=both)
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


class _Numbers(ProgressColumn):
    """``45/1,200 files  12.3 images/s  2.61 MP/s``, the speeds over the last half minute."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        files, megapixels = task.fields["both"]
        text = f"{int(files.completed):,}/{int(files.total or 0):,} files"
        if files.speed:
            text += f"  {files.speed:.{1 if files.speed < 100 else 0}f} images/s"
        if megapixels.speed:
            text += f"  {megapixels.speed:.{2 if megapixels.speed < 100 else 0}f} MP/s"
        return Text(text)
