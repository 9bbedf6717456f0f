"""What ``denoiser --version`` prints."""

from __future__ import annotations

import platform
from importlib import metadata

from denoiser import __version__

LIBRARIES = ("torch", "numpy", "Pillow", "tifffile", "imagecodecs", "safetensors")


def describe() -> str:
    """Versions of the program and of what it stands on, and the devices seen."""
    lines = [f"denoiser {__version__}", f"Python {platform.python_version()} on {platform.platform()}"]
    lines += [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    return "\n".join([*lines, f"devices: {', '.join(devices())}"])


def devices() -> list[str]:
    """Names that ``--device`` takes on this machine, with what they are."""
    import torch

    found = [f"cpu ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"]
    found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
