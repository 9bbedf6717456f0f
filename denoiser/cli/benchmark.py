"""``denoiser benchmark``: how well each model does, in numbers that can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import UsageError

if TYPE_CHECKING:
    from denoiser.benchmark import Result

EXAMPLES = """Examples:

\b
  denoiser benchmark
  denoiser benchmark --report page.html
  denoiser benchmark photos/ --noise gaussian:25 --noise poisson-gaussian:gain=0.01,read=4
  denoiser benchmark --noisy noisy/ --clean truth/ --model unet --classical none
  denoiser benchmark --noisy noisy/
  denoiser benchmark --restored theirs/ --restored ours/ --clean truth/ --markdown
  denoiser benchmark photos/ --model unet --json > before.json
  denoiser benchmark photos/ --model trained/model.safetensors --baseline before.json
"""


def benchmark(
    ctx: typer.Context,
    clean_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="CLEAN_DIR",
            help="A folder of clean pictures, to which noise is added; by default the samples of scikit-image.",
            show_default=False,
        ),
    ] = None,
    clean: Annotated[
        Path | None, o.option("--clean", metavar="DIR", help="The truth for --noisy and --restored, where it is known.")
    ] = None,
    noisy: Annotated[
        Path | None,
        o.option("--noisy", metavar="DIR", help="Noisy pictures; judged without a truth where --clean is not given."),
    ] = None,
    restored: Annotated[
        list[Path],
        o.option("--restored", metavar="DIR", help="Score pictures that anybody restored; can be repeated."),
    ] = [],  # noqa: B006 - Typer reads the default and never hands out the list itself
    noise: Annotated[
        list[str],
        o.option(
            "--noise",
            metavar="SPEC",
            help="Noise to add (see `denoiser corrupt --list`); can be repeated. By default gaussian:15, :25 and :50.",
        ),
    ] = [],  # noqa: B006
    model: Annotated[
        list[str],
        o.option(
            "--model",
            "-m",
            metavar="NAME",
            complete=o.complete_run_model,
            help="A bundled model, auto (one of two, by the noise), a .safetensors file, or none; can be repeated. "
            "By default all bundled ones.",
        ),
    ] = [],  # noqa: B006
    classical: Annotated[
        list[str],
        o.option(
            "--classical",
            metavar="NAME",
            help="median, bilateral, tv, wavelet, nlm, opencv (when installed), biharmonic (fills holes, told where), "
            "bm3d (when installed; slow) or none; can be repeated. By default all that apply but bm3d.",
        ),
    ] = [],  # noqa: B006
    protocol: Annotated[
        str,
        o.option(
            "--protocol",
            metavar="NAME",
            help="file (noisy pictures clipped and rounded to their bit depth) or literature (neither).",
        ),
    ] = "file",
    seed: Annotated[int, o.option("--seed", metavar="N", help="Seed of the noise.")] = 0,
    crop: Annotated[
        int | None,
        o.option(
            "--crop",
            metavar="N",
            help="Measure the central N x N pixels alone; by default whole pictures, and 192 for the samples.",
        ),
    ] = None,
    white: o.White = None,
    black: o.Black = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    ensemble: o.Ensemble = 1,
    psnr: Annotated[
        str,
        o.option(
            "--psnr", metavar="NAME", help="mean (of the pictures' PSNRs), or both: also the PSNR of their mean MSE."
        ),
    ] = "mean",
    baseline: Annotated[
        Path | None,
        o.option("--baseline", metavar="FILE", help="Compare with an earlier --json; exit code 8 when worse."),
    ] = None,
    max_drop: Annotated[
        float, o.option("--max-drop", metavar="DB", help="How far the mean PSNR may lie below the baseline's.")
    ] = 0.05,
    report: Annotated[
        Path | None,
        o.option("--report", metavar="FILE", help="Also write one HTML page: curves, table, pictures to compare."),
    ] = None,
    json: o.Json = False,
    csv: Annotated[bool, o.option("--csv", help="Print a CSV table on stdout.")] = False,
    markdown: Annotated[bool, o.option("--markdown", help="Print Markdown tables on stdout.")] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    no_progress: o.NoProgress = False,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Measure quality, speed and memory of models and classical methods.

    Four ways: noise is added to clean pictures; --noisy and --clean give pairs; --restored scores finished pictures;
    --noisy alone compares without the truth: noise left, structure removed, held-out pixels predicted.
    """
    if sum((json, csv, markdown)) > 1:
        raise UsageError("--json, --csv and --markdown all go to stdout; choose one")
    if clean is not None and clean_dir is not None:
        raise UsageError(f"{clean_dir} and --clean {clean} both name the clean pictures; give one")
    from denoiser import benchmark as core
    from denoiser.benchmark import tables

    if psnr not in tables.PSNR:
        raise UsageError(f"psnr must be one of {', '.join(tables.PSNR)}, not {psnr!r}")
    options = core.BenchmarkOptions(
        clean=clean or clean_dir,
        restored=tuple(restored),
        noise=tuple(noise),
        models=tuple(model),
        classical=tuple(classical),
        **{key: ctx.params[key] for key in PASSED},
    )
    with console.talking(quiet, verbose, log_file, not no_progress, debug) as talk:
        result = core.benchmark(options, talk)
        show(result, talk, "json" if json else "csv" if csv else "markdown" if markdown else "table", psnr)
    raise typer.Exit(result.exit_code)


PASSED = (
    *("noisy", "protocol", "seed", "crop", "white", "black", "device", "precision", "ensemble"),
    *("baseline", "max_drop", "report"),
)
"""Parameters that go to BenchmarkOptions as they are."""


def show(result: Result, talk: console.Talk, form: str, psnr: str) -> None:
    """The figures on stdout, what failed and what got worse on stderr."""
    from denoiser.benchmark import tables

    if form == "json":
        console.print_json(result.to_json())
    elif form == "csv":
        console.print_text(tables.comma_separated(result))
    elif form == "markdown":
        console.print_text(tables.markdown(result, psnr))
    elif result.rows:
        from denoiser.cli.tables import show_benchmark

        show_benchmark(result, psnr)
    for failure in result.failures:
        talk.note(f"{failure.picture}: {failure.reason.removeprefix(failure.picture + ': ')}", "error")
    for comparison in result.gate.comparisons if result.gate is not None else ():
        words = tables.verdict(comparison, result.gate.max_drop if result.gate is not None else 0.0)
        talk.note(f"{'worse' if comparison.worse else 'held'}: {words}", "error" if comparison.worse else "summary")
    talk.note(
        f"{console.count(len(result.pictures), 'picture')} measured, {len(result.failures)} failed, "
        f"in {console.duration(result.seconds)}",
        "summary",
    )
