"""``python -m denoiser`` is the command ``denoiser``."""

from __future__ import annotations

import sys

from denoiser.cli.main import main

sys.exit(main())
