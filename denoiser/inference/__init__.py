"""A loaded model on a device.

``Denoiser`` is the door; ``stream`` is what the batch uses, ``denoise`` what Python users call, and ``AutoDenoiser``
(``auto``) where the picture decides which network it is. Inside: ``devices`` (what is there), ``network`` (one
precision on one device), ``probes`` (measured once, when a network is loaded), ``sizing`` (windows and batches),
``batching`` (cut, gather, scatter), ``engine`` and ``cuda`` (run batches), ``strips`` (pages from top to bottom),
``stream`` (one pass over many pieces).
"""

from __future__ import annotations

from denoiser.inference.auto import AutoDenoiser
from denoiser.inference.batching import Piece
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.options import InferenceOptions

__all__ = ["AutoDenoiser", "Denoiser", "InferenceOptions", "Piece"]
