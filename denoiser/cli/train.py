"""``denoiser train``: weights of one's own, from clean pictures."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.cli.signals import stopping

EXAMPLES = """Examples:

\b
  denoiser train photos/ --max-time 30m --out my_unet
  denoiser train scans/ --init unet --val scans_val/ --max-time 5m --lr 2e-4 --out scans_unet
  denoiser run noisy/ clean/ --model my_unet/model.safetensors
"""


def train(
    ctx: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder of clean pictures, read with all below it.", show_default=False),
    ],
    out: Annotated[
        Path, o.option("--out", metavar="DIR", help="Where the model, its checkpoint and its metrics go.")
    ] = Path("trained"),
    val: Annotated[
        Path | None,
        o.option("--val", metavar="DIR", help="Clean pictures to choose the best state by; never train on them."),
    ] = None,
    val_every: Annotated[
        str, o.option("--val-every", metavar="TIME", parser=o.parse_duration, help="How often to look at --val.")
    ] = "5m",
    arch: Annotated[str, o.option("--arch", metavar="NAME", help="Architecture to train from fresh weights.")] = "unet",
    init: Annotated[
        str | None, o.option("--init", metavar="NAME", help="Start from a bundled model or a .safetensors file.")
    ] = None,
    noise: Annotated[
        list[str],
        o.option("--noise", metavar="SPEC", help="Noise to learn, such as gaussian:0-50; several mix, @2 weighs."),
    ] = [],  # noqa: B006 - Typer reads the default and never hands out the list itself
    max_time: Annotated[
        str | None, o.option("--max-time", metavar="TIME", parser=o.parse_duration, help="Train so long, such as 30m.")
    ] = None,
    max_steps: Annotated[int | None, o.option("--max-steps", metavar="N", min=0, help="Train so many steps.")] = None,
    batch: Annotated[int, o.option("--batch", metavar="N", min=1, help="Crops per step.")] = 8,
    crop: Annotated[
        list[int],
        o.option("--crop", metavar="N", help="Side of the crops; several follow each other as training goes on."),
    ] = [],  # noqa: B006
    lr: Annotated[float, o.option("--lr", metavar="X", help="Peak learning rate.")] = 1e-3,
    gray: Annotated[float, o.option("--gray", metavar="0..1", help="Share of crops made gray.")] = 0.15,
    clip: Annotated[
        float, o.option("--clip", metavar="0..1", help="Share of noisy crops clipped and rounded to 8 bit.")
    ] = 0.5,
    seed: Annotated[int, o.option("--seed", metavar="N", help="Seed of everything random.")] = 0,
    device: o.Device = "auto",
    precision: Annotated[str, o.option("--precision", metavar="NAME", help="auto, fp32 or bf16.")] = "auto",
    resume: Annotated[bool, o.option("--resume", help="Go on from the checkpoint in --out.")] = False,
    name: Annotated[str, o.option("--name", metavar="TEXT", help="Name on the model card.")] = "",
    data_note: Annotated[
        str,
        o.option("--data-note", metavar="TEXT", help="What the pictures are and under which licences, for the card."),
    ] = "",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Train a network on clean pictures with synthetic noise, or fine-tune one (--init).

    Ctrl-C and SIGTERM end a run as its time limit would: with a usable model and a checkpoint.
    """
    from denoiser.batch import Stop

    given = {key: value for key, value in locals().items() if key in OPTIONS}
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # under torchrun one process speaks for all
    stop = Stop()
    with console.talking(quiet, verbose, log_file, progress=False, debug=debug) as talk, stopping(stop):
        from denoiser.training import TrainOptions
        from denoiser.training import train as run_training

        given |= {"noise": tuple(noise)} if noise else {}
        given |= {"crops": tuple(crop)} if crop else {}
        given["command"] = shlex.join(["denoiser", *sys.argv[1:]])
        result = run_training(TrainOptions(**given), talk, lambda: stop.code is not None)
    document = {
        "schema": "denoiser.train/1",
        "model": str(result.model),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "overhead": round(result.overhead, 4),
        "psnr": result.psnr,
    }
    if json:
        console.print_json(document)
    elif not quiet:
        typer.echo(
            f"{result.model}: {result.steps:,} steps in {console.duration(result.seconds)}, "
            f"{result.overhead:.1%} of it outside forward, backward and optimiser",
            err=True,
        )
    if stop.code is not None:
        raise typer.Exit(stop.code)


OPTIONS = {
    *("data", "out", "val", "arch", "init", "max_time", "max_steps", "batch", "lr", "gray", "clip"),
    *("seed", "device", "precision", "resume", "name", "data_note", "val_every"),
}
"""Parameters that go to TrainOptions as they are."""
