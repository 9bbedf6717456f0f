"""``python -m denoiser`` is the command ``denoiser``."""

from __future__ import annotations

from denoiser.cli.main import program

program()
