"""``denoiser run``: the main job."""

from __future__ import annotations

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import UsageError

EXAMPLES = """Examples:

\b
  denoiser run photos/ clean/
  denoiser run scan.tif scan_clean.tif --strength 0.7
  denoiser run photos/ clean/ --dry-run
  denoiser run /data/incoming /data/clean --min-age 1m --max-runtime 2h --log-file nightly.log
  find . -name '*.tif' -print0 | denoiser run --from-file - clean/
  cat a.jpg | denoiser run - - > b.jpg
"""


def run(
    ctx: typer.Context,
    inputs: o.SomeInputs,
    output: o.Output,
    from_file: o.FromFile = None,
    model: o.RunModel = "auto",
    strength: o.Strength = 1.0,
    luma: o.Luma = 1.0,
    chroma: o.Chroma = 1.0,
    detail: o.Detail = 0.0,
    device: o.Devices = "auto",
    precision: o.Precision = "auto",
    tile: o.Tile = "auto",
    halo: o.Halo = "auto",
    batch: o.Batch = "auto",
    ensemble: o.Ensemble = 1,
    verify_tiles: o.VerifyTiles = 0,
    max_memory: o.MaxMemory = "auto",
    jobs: o.Jobs = "auto",
    recursive: o.Recursive = True,
    include: o.Include = [],  # noqa: B006 - Typer reads the default and never hands out the list itself
    exclude: o.Exclude = [],  # noqa: B006
    exists: o.Exists = "skip",
    format: o.Format = "keep",
    suffix: o.Suffix = "",
    quality: o.Quality = None,
    save_residual: o.SaveResidual = None,
    save_uncertainty: o.SaveUncertainty = None,
    white: o.White = None,
    black: o.Black = None,
    strict: o.Strict = False,
    dry_run: o.DryRun = False,
    max_runtime: o.MaxRuntime = None,
    max_files: o.MaxFiles = None,
    min_age: o.MinAge = "0",
    no_lock: o.NoLock = False,
    shard: o.Shard = None,
    backend: o.Backend = "local",
    scheduler: o.Scheduler = None,
    report: o.Report = None,
    json: o.Json = False,
    events: o.Events = None,
    prometheus: o.Prometheus = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    no_progress: o.NoProgress = False,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Denoise INPUT into OUT. The tree is mirrored; formats, bit depths and metadata are kept.

    What is done already is skipped, so the same command can be run every night.
    """
    from denoiser import batch as core
    from denoiser.cli import signals, streams, summary

    chosen = o.chosen(ctx, core.RunOptions)
    stop, metrics = core.Stop(), core.Textfile(None if chosen.get("dry_run") else prometheus, output)
    with metrics.recording():
        options = core.RunOptions(**chosen, lock=not no_lock)
        if json and output == streams.STREAM:
            raise UsageError("--json and the image would both go to stdout; write the image to a file, or use --events")
        if from_file is not None:
            inputs = [*inputs, f"@{from_file}"]
        if not inputs:
            raise UsageError("INPUT is missing: denoiser run INPUT... OUT, or denoiser run --from-file FILE OUT")
    with (
        metrics.recording(),
        console.talking(quiet, verbose, log_file, not no_progress, debug) as talk,
        streams.as_files(inputs, output) as (paths, target),
        signals.stopping(stop),
    ):
        done = core.run(paths, target, options, progress=talk, stop=stop)
        summary.show(done, talk, json)
        metrics.write(done)
    raise typer.Exit(done.exit_code)
