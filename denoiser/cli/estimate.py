"""``denoiser estimate``: how noisy pictures are, and in which way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from denoiser.batch.estimation import EstimateReport

EXAMPLES = """Examples:

\b
  denoiser estimate photos/
  denoiser estimate scan.tif stack.tif --white 4095
  denoiser estimate 'raw/**/*.tif' --csv > noise.csv
  denoiser estimate photos/ --json
"""


def estimate(
    ctx: typer.Context,
    inputs: o.Inputs,
    recursive: o.Recursive = True,
    include: o.Include = [],  # noqa: B006 - Typer reads the default and never hands out the list itself
    exclude: o.Exclude = [],  # noqa: B006
    white: o.White = None,
    black: o.Black = None,
    max_memory: o.MaxMemory = "auto",
    jobs: Annotated[
        str, o.option("--jobs", "-j", metavar="N", parser=o.parse_count, help="Pictures looked at together; or auto.")
    ] = "auto",
    json: o.Json = False,
    csv: Annotated[bool, o.option("--csv", help="Print a CSV table on stdout, a line for each channel.")] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    no_progress: o.NoProgress = False,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Estimate the noise of pictures: its level, its growth with the light, its correlation, and traces of JPEG.

    Nothing is written. The last column names the bundled model that fits the noise.
    """
    if json and csv:
        raise UsageError("--json and --csv both go to stdout; choose one")
    from denoiser import batch as core
    from denoiser.cli import signals, streams

    options = core.EstimateOptions(**o.chosen(ctx, core.EstimateOptions))
    stop = core.Stop()
    with (
        console.talking(quiet, verbose, log_file, not no_progress, debug) as talk,
        streams.as_inputs(inputs) as files,
        signals.stopping(stop),
    ):
        report = core.estimate_files(files, options, talk, stop)
        show(report, talk, "json" if json else "csv" if csv else "table")
    raise typer.Exit(report.exit_code)


def show(report: EstimateReport, talk: console.Talk, form: str) -> None:
    """The figures on stdout, and one line of summary on stderr."""
    from denoiser.cli import noise_table

    if form == "json":
        console.print_json(report.to_json())
    elif form == "csv":
        console.print_text(noise_table.comma_separated(report))
    elif any(each.pages for each in report.files):
        noise_table.show(report)
    if report.exit_code is ExitCode.NOTHING_TO_DO:
        talk.note(report.message, "error")
        return
    done = len(report.files) - len(report.failures)
    text = f"{console.count(done, 'file')} estimated, {len(report.failures)} failed, "
    talk.note(f"{text}in {console.duration(report.seconds)}{'; ' * bool(report.message)}{report.message}", "summary")
