"""``denoiser corrupt``: noise that can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import UsageError

EXAMPLES = """Examples:

\b
  denoiser corrupt --noise stripes                     the sample pictures, into corrupted/
  denoiser corrupt photos/ noisy/ --noise gaussian:25
  denoiser corrupt photos/ noisy/ --noise poisson-gaussian:gain=0.01,read=4+jpeg:75 --seed 7
  denoiser corrupt scan.tif noisy.tif --noise gaussian:0-50 --float
  denoiser corrupt --list
"""

DEFAULT_OUTPUT = "corrupted"


def corrupt(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUT",
            help="Files, directories, globs, @list.txt, or - ; without any, sample pictures. The last of several is "
            f"OUT: a directory that mirrors the inputs, or a file; with one or none, ./{DEFAULT_OUTPUT}.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - Typer reads the default and never hands out the list itself
    noise: Annotated[
        str, o.option("--noise", metavar="SPEC", help="What to do, such as gaussian:25 or stripes+jpeg:75; see --list.")
    ] = "",
    seed: Annotated[
        int, o.option("--seed", metavar="N", min=0, help="Another seed, other noise; it goes with each file's path.")
    ] = 0,
    float: Annotated[
        bool, o.option("--float", help="Write float32 TIFF (or npy, see --format), neither clipped nor rounded.")
    ] = False,
    preview: Annotated[
        Path | None, o.option("--preview", metavar="FILE", help="Also write a contact sheet, before and after, as PNG.")
    ] = None,
    list: Annotated[bool, o.option("--list", help="Explain every kind of noise and exit.")] = False,
    max_memory: o.MaxMemory = "auto",
    jobs: o.Jobs = "auto",
    recursive: o.Recursive = True,
    include: o.Include = [],  # noqa: B006
    exclude: o.Exclude = [],  # noqa: B006
    exists: o.Exists = "skip",
    format: o.Format = "keep",
    suffix: o.Suffix = "",
    quality: o.Quality = None,
    white: o.White = None,
    black: o.Black = None,
    strict: o.Strict = False,
    dry_run: o.DryRun = False,
    max_runtime: o.MaxRuntime = None,
    max_files: o.MaxFiles = None,
    min_age: o.MinAge = "0",
    no_lock: o.NoLock = False,
    shard: o.Shard = None,
    json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    no_progress: o.NoProgress = False,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Add noise to INPUT and write it to OUT, by the same rules as run. The same seed gives the same noise.

    OUT, where it is a directory, gets corruption.json, which says what was done to each file.
    """
    if list:
        _explain(json)
        return
    from denoiser import batch as core
    from denoiser.cli import signals, streams, summary

    inputs, output = paths[:-1] or paths, paths[-1] if len(paths) > 1 else DEFAULT_OUTPUT
    streamed = output == streams.STREAM
    if json and streamed:
        raise UsageError("--json and the image would both go to stdout; write the image to a file, or use --events")
    chosen = o.chosen(ctx, core.CorruptOptions)
    options = core.CorruptOptions(**chosen, lock=not no_lock, sidecar=not streamed)
    stop = core.Stop()
    with (
        console.talking(quiet, verbose, log_file, not no_progress, debug) as talk,
        streams.as_files(inputs or _samples(), output) as (files, target),
        signals.stopping(stop),
    ):
        if preview is not None:
            from denoiser.batch import preview as sheet

            sheet.check(preview, files, Path(target))
        report = core.corrupt_files(files, target, options, progress=talk, stop=stop)
        if preview is not None and not options.dry_run:
            sheet.write(preview, report, options)
        summary.show(report, talk, json)
    raise typer.Exit(report.exit_code)


def _samples() -> list[str]:
    from denoiser.images.samples import sample_paths

    return [str(path) for path in sample_paths()]


def _explain(json: bool) -> None:
    """Print every kind of noise on stdout."""
    from denoiser.noise import explain

    rows = explain()
    if json:
        console.print_json({"schema": "denoiser.noise/1", "kinds": rows})
        return
    from denoiser.cli import tables

    tables.show_noise(rows)
