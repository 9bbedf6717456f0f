"""``denoiser doctor``: is all well here, how fast is it, and what would make it faster?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import ExitCode

if TYPE_CHECKING:
    from denoiser.inference.diagnosis import Diagnosis


def doctor(
    model: o.Model = "unet",
    device: o.Device = "auto",
    json: o.Json = False,
    debug: o.Debug = False,
    config: o.Config = None,
) -> None:
    """Check devices, precisions, weights and memory, measure the speed, and say what would make it faster.

    Takes some seconds. Exit code 4 when something that a run needs does not work.
    """
    from denoiser import weights
    from denoiser.inference import diagnosis

    with console.talking(progress=False, debug=debug):
        found = _together([diagnosis.diagnose(name, device) for name in weights.names(model)])
        if json:
            console.print_json(found.to_json())
        else:
            from denoiser.cli import tables

            tables.show_diagnosis(found)
    raise typer.Exit(ExitCode.UNAVAILABLE if found.problems else ExitCode.OK)


def _together(found: Sequence[Diagnosis]) -> Diagnosis:
    """One diagnosis of all networks of ``auto``: the trials of one after those of the other."""
    return replace(
        found[0],
        model=", ".join(each.model for each in found),
        precision=found[0].precision if all(each.precision for each in found) else "",
        trials=tuple(
            replace(trial, model=each.model if len(found) > 1 else "") for each in found for trial in each.trials
        ),
        problems=tuple(dict.fromkeys(problem for each in found for problem in each.problems)),
    )
