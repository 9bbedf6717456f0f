"""``denoiser train``: weights of one's own, from clean pictures, from pairs, or from noisy pictures alone."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from denoiser.cli import console, recipes
from denoiser.cli import options as o
from denoiser.cli.signals import stopping
from denoiser.errors import UsageError

if TYPE_CHECKING:
    from denoiser.training.watcher import Watch

EXAMPLES = """Examples:

\b
  denoiser train photos/ --max-time 30m --out my_unet
  denoiser train scans/ --init unet --val scans_val/ --max-time 5m --lr 2e-4 --out scans_unet
  denoiser train clean/ --noisy noisy/ --val-split 10 --max-time 1h --out pairs_unet
  denoiser train noisy/ --self-supervised neighbours --max-time 1h --out own_unet
  denoiser train photos/ --recipe unet --max-time 12h --out better_unet
  denoiser run noisy/ clean/ --model my_unet/model.safetensors
"""


def train(
    ctx: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder of clean pictures, read with all below it.", show_default=False),
    ],
    out: Annotated[
        Path, o.option("--out", metavar="DIR", help="Where the model, its checkpoint, metrics and pictures of both go.")
    ] = Path("trained"),
    noisy: Annotated[
        Path | None,
        o.option("--noisy", metavar="DIR", help="Noisy partners of DATA under the same names; no noise is made then."),
    ] = None,
    self_supervised: Annotated[
        str,
        o.option(
            "--self-supervised",
            metavar="WAY",
            help="DATA are noisy pictures and there are no clean ones: learn by mask, blind-spot or neighbours.",
        ),
    ] = "",
    val: Annotated[
        Path | None,
        o.option("--val", metavar="DIR", help="Pictures to choose the best state by; never train on them."),
    ] = None,
    val_noisy: Annotated[
        Path | None,
        o.option("--val-noisy", metavar="DIR", help="Noisy partners of --val, for --noisy and --self-supervised."),
    ] = None,
    val_split: Annotated[
        int | None, o.option("--val-split", metavar="N", help="Hold out every N-th picture of DATA instead of --val.")
    ] = None,
    val_every: Annotated[
        str, o.option("--val-every", metavar="TIME", parser=o.parse_duration, help="How often to validate.")
    ] = "5m",
    patience: Annotated[
        int | None, o.option("--patience", metavar="N", min=1, help="End after N validations without a better score.")
    ] = None,
    arch: Annotated[
        str | None,
        o.option("--arch", metavar="NAME", help="Architecture to train from fresh weights; unet without --init."),
    ] = None,
    arch_config: Annotated[
        list[str],
        o.option("--arch-config", metavar="NAME=VALUE", help="Size of the architecture, such as blocks=1,1,4."),
    ] = [],  # noqa: B006
    init: Annotated[
        str | None, o.option("--init", metavar="NAME", help="Start from a bundled model or a .safetensors file.")
    ] = None,
    init_optimizer: Annotated[
        bool, o.option("--init-optimizer", help="Keep the optimiser's state, too, from the checkpoint beside --init.")
    ] = False,
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
    optimizer: Annotated[str, o.option("--optimizer", metavar="NAME", help="muon or adamw.")] = "muon",
    gray: Annotated[
        float | None, o.option("--gray", metavar="0..1", help="Share of crops made gray; 0.15 where noise is made.")
    ] = None,
    clip: Annotated[
        float | None,
        o.option(
            "--clip",
            metavar="0..1",
            help="Share of noisy crops clipped and rounded as files are; 0.5 for made noise.",
        ),
    ] = None,
    patterns: Annotated[
        float | None,
        o.option(
            "--patterns", metavar="0..1", help="Share of crops with a regular fine pattern, as of fabric; 0.1 does."
        ),
    ] = None,
    reduced: Annotated[
        list[float],
        o.option(
            "--reduced",
            metavar="FACTOR",
            help="Learn also from copies smaller by this factor, such as 2: finer texture.",
        ),
    ] = [],  # noqa: B006
    white: o.White = None,
    black: o.Black = None,
    seed: Annotated[int, o.option("--seed", metavar="N", help="Seed of everything random.")] = 0,
    device: o.Device = "auto",
    precision: Annotated[str, o.option("--precision", metavar="NAME", help="auto, fp32 or bf16.")] = "auto",
    checkpoint_every: Annotated[
        str,
        o.option("--checkpoint-every", metavar="TIME", parser=o.parse_duration, help="How often to save for --resume."),
    ] = "2m",
    resume: Annotated[bool, o.option("--resume", help="Go on from the checkpoint in --out.")] = False,
    tensorboard: Annotated[
        bool, o.option("--tensorboard", help="Also write for TensorBoard, into DIR/tensorboard.")
    ] = False,
    name: Annotated[str, o.option("--name", metavar="TEXT", help="Name on the model card.")] = "",
    purpose: Annotated[str, o.option("--purpose", metavar="TEXT", help="What the model is for, for the card.")] = "",
    data_note: Annotated[
        str,
        o.option("--data-note", metavar="TEXT", help="What the pictures are and under which licences, for the card."),
    ] = "",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    log_file: o.LogFile = None,
    debug: o.Debug = False,
    no_progress: o.NoProgress = False,
    config: o.Config = None,
    # After --config, so that the configuration file can name it.
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Options that a bundled network was trained with, or those of a .toml file; the command line wins.",
            callback=recipes.apply,
            autocompletion=recipes.complete,
            is_eager=True,
            show_envvar=False,
        ),
    ] = None,
) -> None:
    """Train a network, or fine-tune one (--init): on clean pictures with noise made on them, on pairs of clean and
    noisy pictures (--noisy), or on noisy pictures alone (--self-supervised).

    Ctrl-C and SIGTERM end a run as its time limit would: with a usable model and a checkpoint.
    """
    from denoiser.batch import Stop

    def ends() -> bool:
        """Asked before every step: from the first on a signal ends the run with what it has learnt."""
        stop.abrupt = False
        return stop.code is not None

    given = {key: value for key, value in locals().items() if key in OPTIONS}
    if recipe and (noisy or self_supervised) and (made := recipes.made_noise(ctx)):
        way = "--noisy" if noisy else "--self-supervised"
        raise UsageError(
            f"--recipe {recipe} makes noise on clean pictures (its {made}), {way} makes none: leave one out"
        )
    leads = os.environ.get("RANK", "0") == "0"  # under torchrun one process speaks for all
    quiet = quiet or not leads
    stop = Stop()
    with (
        console.talking(quiet, verbose, log_file, progress=False, debug=debug, rare=True) as talk,
        stopping(stop, unhurried=True),
    ):
        from denoiser.training import TrainOptions
        from denoiser.training import train as run_training

        given |= {"noise": tuple(noise)} if noise else {}
        given |= {"crops": tuple(crop)} if crop else {}
        given |= {"arch_config": tuple(arch_config), "reduced": tuple(reduced)}
        given["command"] = shlex.join(["denoiser", *sys.argv[1:]])
        options = TrainOptions(**given)
        watch = None if quiet or no_progress else _drawn_by(talk)
        result = run_training(options, talk, ends, watch)
    document = {
        "schema": "denoiser.train/1",
        "model": str(result.model),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "overhead": round(result.overhead, 4),
        "psnr": result.psnr,
    }
    if json and leads:
        console.print_json(document)
    elif not (json or quiet):
        typer.echo(
            f"{result.model}: {result.steps:,} steps in {console.duration(result.seconds)}, "
            f"{result.overhead:.1%} of it outside forward, backward and optimiser",
            err=True,
        )
    if stop.code is not None:
        raise typer.Exit(stop.code)


def _drawn_by(talk: console.Talk) -> Watch | None:
    """What draws a bar on a terminal; None where nobody looks."""
    if not console.is_watched():
        return None
    from denoiser.cli.training_bar import TrainingBar

    bar = TrainingBar()
    talk.meter = bar
    return bar.update


OPTIONS = {
    *("data", "out", "noisy", "self_supervised", "arch", "init", "init_optimizer", "max_time", "max_steps", "batch"),
    *("lr", "optimizer", "val", "val_noisy", "val_split", "val_every", "patience", "checkpoint_every", "gray", "clip"),
    *("patterns", "white", "black", "seed", "device", "precision", "resume", "tensorboard", "name", "purpose"),
    "data_note",
}
"""Parameters that go to TrainOptions as they are."""
