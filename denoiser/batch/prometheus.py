"""The end of a run as a textfile for the Prometheus node exporter, which publishes ``*.prom`` of one directory.

https://github.com/prometheus/node_exporter#textfile-collector: the exporter may read at any moment, hence the file is
renamed into place.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from denoiser.batch.names import shown
from denoiser.batch.report import Report, Status
from denoiser.errors import DenoiserError, ExitCode, Interrupted, OutputError
from denoiser.settings import on_disk

SUCCESS = "denoiser_last_success_timestamp_seconds"


class Textfile:
    """Where the metrics of a job are written.

    Parameters
    ----------
    path : Path or None
        None: nothing is written.
    job : str
        What tells this job from others whose files lie in the same directory: the label ``output``.
    """

    def __init__(self, path: Path | None, job: str) -> None:
        if path is not None:
            on_disk("--prometheus", path)
            from denoiser.images.formats import check_no_picture  # loads libraries

            check_no_picture(path, "--prometheus")
        self.path = path
        self.label = shown(job).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Write the exit code of an error that ends the job, also of a defect, and let it pass."""
        try:
            yield
        except DenoiserError as error:
            self._write(error.exit_code, None)
            raise
        except Interrupted as end:
            self._write(end.code, None)
            raise
        except Exception:
            self._write(ExitCode.SOME_FAILED, None)
            raise

    def write(self, report: Report) -> None:
        """Write what became of a run.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        self._write(report.exit_code, report)

    def _write(self, code: ExitCode, report: Report | None) -> None:
        if self.path is None:
            return
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(self._text(code, report), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            raise OutputError(f"{shown(self.path)}: the metrics cannot be written ({error.strerror})") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _text(self, code: ExitCode, report: Report | None) -> str:
        now = time.time()
        lines = self._metric("denoiser_last_run_timestamp_seconds", "When the last run ended.", now)
        lines += self._metric("denoiser_last_run_exit_code", "Its exit code; 0 is a full success.", int(code))
        success = now if code is ExitCode.OK else self._last_success()
        lines += self._metric(SUCCESS, "When a run last ended with exit code 0; 0 before the first one.", success)
        if report is None:
            return "\n".join([*lines, ""])
        totals = report.totals()
        lines += self._metric("denoiser_last_run_duration_seconds", "How long it took.", report.seconds)
        lines += self._metric("denoiser_last_run_megapixels", "Megapixels that it did.", totals["megapixels"])
        name = "denoiser_last_run_files"
        lines += self._head(name, "Files by what became of them.")
        lines += [f'{name}{{output="{self.label}",status="{status}"}} {totals[status]}' for status in Status]
        return "\n".join([*lines, ""])

    def _metric(self, name: str, meaning: str, value: float) -> list[str]:
        number = f"{value:.6f}" if isinstance(value, float) else str(value)
        return [*self._head(name, meaning), f'{name}{{output="{self.label}"}} {number}']

    @staticmethod
    def _head(name: str, meaning: str) -> list[str]:
        return [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]

    def _last_success(self) -> float:
        """What the file of the run before says, so that a failure does not make it forgotten; 0 without one.

        A job that has never succeeded would otherwise have no such series, and no alert that compares it.
        """
        assert self.path is not None
        try:
            lines: Any = self.path.read_text(encoding="utf-8").splitlines()
            return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{SUCCESS}{{")), 0.0)
        except (OSError, ValueError):
            return 0.0
