"""``denoiser doctor``: is all well here, how fast is it, and what would make it faster?"""

from __future__ import annotations

import typer

from denoiser.cli import console
from denoiser.cli import options as o
from denoiser.errors import ExitCode


def doctor(model: o.Model = "unet", device: o.Device = "auto", json: o.Json = False) -> None:
    """Check devices, precisions, weights and memory, measure the speed, and say what would make it faster.

    Takes some seconds. Exit code 4 when something that a run needs does not work.
    """
    from denoiser.inference import diagnosis

    found = diagnosis.diagnose(model, device)
    if json:
        console.print_json(found.to_json())
    else:
        from denoiser.cli import tables

        tables.show_diagnosis(found)
    raise typer.Exit(ExitCode.UNAVAILABLE if found.problems else ExitCode.OK)
