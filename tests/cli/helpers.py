"""What stands in for the rest of the program in tests of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
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


def start(*arguments: object, cwd: Path = REPOSITORY, **environment: str) -> subprocess.Popen[bytes]:
    """The program as cron starts it: hardly any environment, no terminal, nothing on stdin."""
    return subprocess.Popen(
        [sys.executable, "-m", "denoiser", *map(str, arguments)],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def patience() -> float:
    """How much longer than alone things take here and now, because others use the processors too."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
