"""What stands in for the rest of the program in tests of the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from denoiser.errors import ExitCode

REPOSITORY = Path(__file__).resolve().parents[2]

Invoke = Callable[..., subprocess.CompletedProcess[bytes]]


class Recorder:
    """Stands in for ``denoiser.batch.run``: remembers what it was asked, returns or raises what it is told."""

    def __init__(self) -> None:
        self.options: Any = None
        self.inputs: Sequence[str] = ()
        self.output: Path | None = None
        self.raises: BaseException | None = None
        self.notes: list[tuple[str, str]] = []
        self.stopped: ExitCode | None = None
        self.message = ""

    def __call__(self, inputs: Sequence[str], output: Path, options: Any, progress: Any, **rest: Any) -> Any:
        from denoiser.batch import FileResult, Report, Status

        self.inputs, self.output, self.options = inputs, output, options
        for message, level in self.notes:
            progress.note(message, level)
        if self.raises is not None:
            raise self.raises
        done = FileResult(Path("a.png"), Path("out/a.png"), Status.DONE, megapixels=1.5, pages=1)
        return Report(
            files=(done,),
            output=output,
            found=1,
            ignored=0,
            started=datetime(2024, 11, 20, tzinfo=UTC),
            seconds=2.0,
            options=options.to_json(),
            stopped=self.stopped,
            message=self.message,
        )
