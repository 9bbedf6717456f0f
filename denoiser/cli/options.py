"""The options of the commands: one name, one meaning, one help text each.

Commands take these aliases as annotations. The parsers turn what a person writes ("4GiB", "2h", "3/8")
into the plain values of the core's frozen options objects, which check them. Only Typer is imported here.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from denoiser.cli import config, launcher

BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

SETTINGS = {"auto_envvar_prefix": "DENOISER", "help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Context settings of every command: each option can be set as ``DENOISER_<OPTION>``."""


def parse_size(text: str) -> int | None:
    """``4GiB``, ``500MB``, ``1.5g`` or plain bytes -> bytes; ``auto`` -> None."""
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in BYTES:
        raise typer.BadParameter(f"{text!r} is not a size; write for example 500MB or 4GiB")
    return int(float(match[1]) * BYTES[match[2]])


def parse_duration(text: str) -> float:
    """``2h``, ``90s``, ``1h30m``, ``1.5d`` or plain seconds -> seconds."""
    squeezed = re.sub(r"\s", "", text.lower())
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", squeezed)
    if not parts or "".join(map("".join, parts)) != squeezed or any(unit not in SECONDS for _, unit in parts):
        raise typer.BadParameter(f"{text!r} is not a duration; write for example 90s, 45m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def parse_shard(text: str) -> tuple[int, int]:
    """``2/8`` -> (2, 8): the third of eight shares, counted from 0; ``auto`` asks the launcher."""
    if text == "auto":
        return launcher.share()
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not int(match[1]) < int(match[2]):
        raise typer.BadParameter(f"{text!r} is not a share; write i/n with i from 0 to n - 1, for example 0/8, or auto")
    return int(match[1]), int(match[2])


def parse_count(text: str) -> str | int:
    """A number where there is one; a word such as ``auto`` stays. The options object knows which are allowed."""
    return int(text) if text.isdecimal() else text


def chosen(ctx: typer.Context, options: type[Any]) -> dict[str, Any]:
    """The parameters of a command that are fields of its options class; by design they have the same names."""
    return {field.name: ctx.params[field.name] for field in fields(options) if field.name in ctx.params}


def option(
    *names: str,
    help: str,
    metavar: str | None = None,
    parser: Any = None,
    complete: Any = None,
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """A Typer option without the clutter: the environment variable's name follows a rule that is stated once."""
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        parser=parser,
        autocompletion=complete,
        min=min,
        max=max,
        show_envvar=False,
    )


def complete_model(incomplete: str) -> list[str]:
    """Names of the bundled models, for the shell."""
    from denoiser import weights

    return [name for name in weights.bundled() if name.startswith(incomplete)]


def complete_run_model(incomplete: str) -> list[str]:
    """The same, and ``auto``."""
    return [*complete_model(incomplete), *(["auto"] if "auto".startswith(incomplete) else [])]


def complete_from(table: str) -> Any:
    """Words of a table in :mod:`denoiser.batch.options`, for the shell."""

    def complete(incomplete: str) -> list[str]:
        from denoiser.batch import options

        return [word for word in getattr(options, table) if word.startswith(incomplete)]

    return complete


# The conversation with the user: every command that works for a while has these.
Quiet = Annotated[bool, option("--quiet", "-q", help="Print errors alone.")]
Verbose = Annotated[bool, option("--verbose", "-v", help="Print more: what libraries say, details of each decision.")]
LogFile = Annotated[
    Path | None, option("--log-file", metavar="FILE", help="Append everything that is told, with its time, to FILE.")
]
NoProgress = Annotated[bool, option("--no-progress", help="Draw no progress bar, print plain lines.")]
Debug = Annotated[bool, option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, option("--json", help="Print one JSON document on stdout.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read options from FILE instead of ./denoiser.toml.",
        callback=config.apply,
        is_eager=True,
        show_envvar=False,
    ),
]

# What is denoised, and how.
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files, directories, globs, @list.txt (one path per line), or - for one image on stdin.",
        show_default=False,
    ),
]
SomeInputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files, directories, globs, @list.txt (one path per line), or - for one image on stdin.",
        show_default=False,
        default_factory=list,
    ),
]
FromFile = Annotated[
    str | None,
    option(
        "--from-file",
        metavar="FILE",
        help="Read INPUT from FILE, or from stdin for -: one path per line, or separated by NUL; the same as @FILE.",
    ),
]
Prometheus = Annotated[
    Path | None,
    option("--prometheus", metavar="FILE", help="Write the end of the run as a textfile for the node exporter."),
]
Output = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        help="A directory that mirrors the inputs; a file, or - for stdout, when INPUT is one file.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    option(
        "--model",
        "-m",
        metavar="NAME",
        complete=complete_model,
        help="A bundled model (see `denoiser models list`) or a .safetensors file.",
    ),
]
RunModel = Annotated[
    str,
    option(
        "--model",
        "-m",
        metavar="NAME",
        complete=complete_run_model,
        help="A bundled model (see `denoiser models list`), a .safetensors file, or auto: for each file by its noise.",
    ),
]
Strength = Annotated[float, option("--strength", metavar="0..1", help="1 is the full result, 0 the input bit for bit.")]
Luma = Annotated[
    float, option("--luma", metavar="0..1", help="Strength for luminance: 0 leaves grain, and removes coloured noise.")
]
Chroma = Annotated[float, option("--chroma", metavar="0..1", help="Strength for colours: 0 leaves coloured noise.")]
Detail = Annotated[
    float, option("--detail", metavar="0..1", help="Give so much of the fine luminance back: grain, and fine texture.")
]
Device = Annotated[str, option("--device", metavar="NAME", help="auto (the best present), cpu, cuda, cuda:1 or mps.")]
Devices = Annotated[
    str,
    option(
        "--device",
        metavar="NAME",
        help="auto (the best present), cpu, cuda, cuda:1, mps; cuda:all or cuda:0,cuda:1: one process each.",
    ),
]
Precision = Annotated[
    str,
    option(
        "--precision",
        metavar="NAME",
        complete=complete_from("PRECISIONS"),
        help="auto (the fastest that passes a self-check here), fp32, bf16 or fp16.",
    ),
]
Tile = Annotated[
    str, option("--tile", metavar="N", parser=parse_count, help="Side of a tile in pixels, auto (by memory) or none.")
]
Halo = Annotated[
    str,
    option(
        "--halo",
        metavar="N",
        parser=parse_count,
        help="Overlap of tiles in pixels, auto, or exact (the receptive field).",
    ),
]
Batch = Annotated[
    str, option("--batch", metavar="N", parser=parse_count, help="Tiles computed together, from any images; or auto.")
]
Ensemble = Annotated[
    int,
    option(
        "--ensemble",
        metavar="N",
        help="Mean of N results, of the picture turned and mirrored (2, 4 or 8): N times as slow, a little better.",
    ),
]
VerifyTiles = Annotated[
    int,
    option(
        "--verify-tiles",
        metavar="N",
        help="Compute N random windows of large pictures again with a full halo; tell the largest difference.",
    ),
]
MaxMemory = Annotated[
    str,
    option(
        "--max-memory",
        metavar="SIZE",
        parser=parse_size,
        help="Memory budget such as 4GiB; auto takes half of what is free.",
    ),
]
Jobs = Annotated[
    str,
    option("--jobs", "-j", metavar="N", parser=parse_count, help="Threads that read, and as many that write; or auto."),
]
White = Annotated[
    float | None,
    option("--white", metavar="N", help="Value of white in the files' units, where it is not the container's."),
]
Black = Annotated[float | None, option("--black", metavar="N", help="Value of black in the files' units.")]

# Which files, and what becomes of them.
Recursive = Annotated[bool, option("--recursive/--no-recursive", "-r", help="Read directories with all below them.")]
Include = Annotated[
    list[str], option("--include", metavar="GLOB", help="Read only files whose name or path matches; can be repeated.")
]
Exclude = Annotated[
    list[str], option("--exclude", metavar="GLOB", help="Leave out files and folders that match; can be repeated.")
]
Exists = Annotated[
    str,
    option(
        "--exists",
        metavar="WHAT",
        complete=complete_from("EXISTS"),
        help="Where an output is there already: skip (what is done and unchanged), overwrite, rename or error.",
    ),
]
Format = Annotated[
    str,
    option(
        "--format", "-f", metavar="NAME", complete=complete_from("FORMATS"), help="keep, png, tiff, jpeg, webp or npy."
    ),
]
Suffix = Annotated[
    str, option("--suffix", metavar="TEXT", help="Added to each name: _clean makes a_clean.png of a.png.")
]
Quality = Annotated[
    int | None,
    option("--quality", metavar="1..100", help="For JPEG and WebP; by default the input's own tables are kept."),
]
SaveResidual = Annotated[
    Path | None, option("--save-residual", metavar="DIR", help="Also write input minus output, as float TIFF.")
]
SaveUncertainty = Annotated[
    Path | None,
    option(
        "--save-uncertainty",
        metavar="DIR",
        help="Also write how uncertain each value is, as float TIFF; for models that state it, such as vdae.",
    ),
]
Strict = Annotated[bool, option("--strict", help="A file fails when the target format cannot keep all it holds.")]
DryRun = Annotated[bool, option("--dry-run", "-n", help="Print the plan: read, written, skipped, lost. Write nothing.")]

Report = Annotated[
    Path | None,
    option("--report", metavar="FILE", help="Also write a report: .html with pictures before and after, or .json."),
]

# For cron and clusters.
Backend = Annotated[
    str,
    option(
        "--backend",
        metavar="NAME",
        complete=complete_from("BACKENDS"),
        help="Who works: local, this machine; dask, the workers of a Dask cluster.",
    ),
]
Scheduler = Annotated[
    str | None,
    option(
        "--scheduler",
        metavar="ADDRESS",
        help="Of the Dask cluster, or its scheduler file; without it workers are started on this machine.",
    ),
]
MaxRuntime = Annotated[
    float | None,
    option(
        "--max-runtime",
        metavar="TIME",
        parser=parse_duration,
        help="Begin no new file after so long, such as 2h; exit code 6.",
    ),
]
MaxFiles = Annotated[
    int | None, option("--max-files", metavar="N", help="Begin at most N files; exit code 6 when some are left.")
]
MinAge = Annotated[
    str, option("--min-age", metavar="TIME", parser=parse_duration, help="Leave files changed less than so long ago.")
]
NoLock = Annotated[bool, option("--no-lock", help="Do not lock the output directory against a second run.")]
Shard = Annotated[
    str | None,
    option(
        "--shard",
        metavar="I/N",
        parser=parse_shard,
        help="Do share I (from 0) of N of the files; auto asks SLURM, torchrun or Kubernetes.",
    ),
]
Events = Annotated[Path | None, option("--events", metavar="FILE", help="Append one JSON line per file as it is done.")]
