"""A model as an ONNX file, for programs that have no torch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from denoiser import weights
from denoiser.errors import OutputError, UnavailableError, UsageError
from denoiser.models import Network, fold_batchnorm

PACKAGES = ("onnx", "onnxscript")
"""What torch needs to write ONNX; the extra ``onnx`` of this package installs them."""


class _Whole(nn.Module):
    """A network with the subtraction that its caller makes otherwise, and all that it can tell."""

    def __init__(self, module: Network) -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, noisy: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
        clean = noisy - self.module(noisy, *levels)
        if not self.module.needs.states_uncertainty:
            return (clean,)
        return clean, self.module.uncertainty(noisy, levels[0])


def write_onnx(name_or_path: str | Path, file: Path) -> dict[str, Any]:
    """Write a model as ONNX, in fp32, for pictures of any number and of any size that suits its stride.

    Inputs are ``noisy`` (N, 3, H, W), ``white`` (N, 1, 1, 1) and, for networks that ask for it, ``sigma``
    (N, 1, 1, 1); outputs ``clean`` and, where the network states it, ``uncertainty``, like ``noisy``. What they mean
    stands at :meth:`denoiser.models.Network.forward`. The card is among the file's metadata.

    Parameters
    ----------
    name_or_path : str or Path
        A bundled model or a ``.safetensors`` file.
    file : Path
        Is replaced where it exists; a reader never sees half of it.

    Returns
    -------
    dict
        Names of ``inputs`` and ``outputs``, ``multiple_of`` (of height and width), ``needs_range``, ``bytes``.

    Raises
    ------
    UsageError
        If ``file`` is no name for ONNX: that of weights, or ``-``.
    UnavailableError
        If there is no such model, or a package is missing.
    OutputError
        If the file cannot be written.
    """
    if file.suffix == ".safetensors" or str(file) == "-":
        raise UsageError(f"--onnx {file}: give the name of a new file, such as model.onnx")
    missing = [package for package in PACKAGES if util.find_spec(package) is None]
    if missing:
        raise UnavailableError(
            f"writing ONNX needs {' and '.join(missing)}, which is not installed: pip install 'image-denoiser[onnx]'"
        )
    path = weights.resolve(name_or_path)
    module, card = weights.load(path)
    needs = module.needs
    inputs = ["noisy", "white", *(["sigma"] if needs.takes_sigma else [])]
    outputs = ["clean", *(["uncertainty"] if needs.states_uncertainty else [])]
    program = _program(module, inputs, outputs)
    program.model.metadata_props[weights.CARD_KEY] = card.to_json()
    program.model.metadata_props["denoiser.multiple_of"] = str(needs.multiple_of)
    _save(program, file)
    return {
        "inputs": inputs,
        "outputs": outputs,
        "multiple_of": needs.multiple_of,
        "needs_range": needs.needs_range,
        "bytes": file.stat().st_size,
    }


def _program(module: Network, inputs: list[str], outputs: list[str]) -> Any:
    """The network as torch's exporter gives it."""
    whole = _Whole(fold_batchnorm(module)).eval()
    # Two pictures of unequal sides: what is 1, or equal to another size, would be taken for a constant.
    height, width = 8 * module.needs.multiple_of, 9 * module.needs.multiple_of
    levels = [torch.ones(2, 1, 1, 1) for _ in inputs[1:]]
    free = torch.export.Dim.DYNAMIC
    with _quiet():
        return torch.onnx.export(
            whole,
            (torch.rand(2, module.needs.channels, height, width), *levels),
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=({0: free, 2: free, 3: free}, tuple({0: free} for _ in levels)),
            verbose=False,
        )


def _save(program: Any, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        program.save(temporary)
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that are not installed and of its own old ways: nothing a user can act upon."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
