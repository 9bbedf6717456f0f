"""What this machine is for the program: devices, memory, precisions and speed, and what would make it faster."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from denoiser import weights
from denoiser.errors import UnavailableError
from denoiser.inference import devices
from denoiser.inference.denoiser import Denoiser
from denoiser.inference.options import InferenceOptions
from denoiser.inference.probes import LARGEST_DEVIATION, candidates
from denoiser.inference.trial import megapixels_per_second

LIBRARIES = ("torch", "numpy", "Pillow", "tifffile", "imagecodecs", "safetensors", "scikit-image")
EXTRAS = ("matplotlib", "onnx", "distributed", "bm3d", "zarr")
"""Packages that single commands use where they are installed."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
NVIDIA = (Path("/dev/nvidia0"), Path("/dev/dxg"))
"""What a driver for NVIDIA GPUs leaves on Linux, and in WSL."""

LITTLE_MEMORY = 2 << 30
"""Free bytes below which the budget, half of them, makes windows small."""


@dataclass(frozen=True)
class Machine:
    """What was found on the machine, without judgement.

    Attributes
    ----------
    processors, allowed, threads, computing : int
        Processors of the machine; those that this process may run on; those that a container's quota leaves; those that
        compute, since OpenMP heeds ``OMP_NUM_THREADS``.
    load : float or None
        Processes that wanted to run during the last minute, this one's own threads included.
    memory, free : int
        Bytes of the machine, and those that can still be had (a container's limit counts).
    devices : dict
        Name -> free bytes of each device that can be used, best first.
    bf16 : bool
        Whether the CPU multiplies bfloat16 in hardware.
    cuda_build, nvidia : bool
        Whether torch was built for CUDA, and whether there is a driver for NVIDIA GPUs.
    huge_pages : str
        ``always``, ``madvise``, ``never``; empty where the system does not tell.
    omp_threads : str
        ``OMP_NUM_THREADS``, empty where it is not set.
    """

    system: str
    processors: int
    allowed: int
    threads: int
    computing: int
    load: float | None
    memory: int
    free: int
    devices: dict[str, int]
    bf16: bool
    cuda_build: bool
    nvidia: bool
    huge_pages: str
    omp_threads: str


@dataclass(frozen=True)
class Trial:
    """One precision on the chosen device.

    Attributes
    ----------
    largest, typical : float or None
        Deviation of the residual from its float64 reference in standard deviations of the noise: the largest one, and
        the root mean square. None where the check was not passed.
    allowed : float
        The largest deviation that passes.
    speed : float
        Megapixels per second of the network alone; 0 where the check was not passed.
    problem : str
        Why it cannot be used.
    model : str
        Where several are examined.
    """

    precision: str
    allowed: float
    largest: float | None = None
    typical: float | None = None
    speed: float = 0.0
    problem: str = ""
    model: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that ``denoiser doctor`` tells."""

    versions: dict[str, str]
    extras: dict[str, str]
    machine: Machine
    model: str
    device: str
    precision: str
    """The one that is chosen by itself; empty where none passes its check."""
    trials: tuple[Trial, ...]
    weights: int
    """Bundled weights files whose checksums were compared."""
    problems: tuple[str, ...]
    """What does not work."""
    advice: tuple[str, ...] = field(default=())
    """What would make it faster, with the reason."""

    def to_json(self) -> dict[str, Any]:
        return {"schema": "denoiser.doctor/1", **asdict(self)}


def diagnose(model: str = "unet", device: str = "auto") -> Diagnosis:
    """Look at the machine, and try a model on a device in every precision.

    Raises
    ------
    UnavailableError
        If the model or the device is not there.
    """
    machine = look_around()
    chosen = devices.resolve(device)
    module, card = weights.load(model)
    wanted = candidates("auto", chosen, module.needs.precisions)
    trials = tuple(try_out(model, str(chosen), each) for each in dict.fromkeys([*wanted, "fp32"]))
    passed = [trial.precision for trial in trials if not trial.problem]
    problems = [*weights.verify(), *([] if passed else [trial.problem for trial in trials])]
    return Diagnosis(
        versions=versions(),
        extras={name: version for name in EXTRAS if (version := _version(name))},
        machine=machine,
        model=card.name,
        device=devices.title(chosen),
        precision=passed[0] if passed else "",
        trials=trials,
        weights=len(weights.bundled()),
        problems=tuple(problems),
        advice=tuple(advise(machine, chosen.type, trials)),
    )


def look_around() -> Machine:
    """The facts of this machine."""
    cpu = torch.device("cpu")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        system=platform.platform(),
        processors=os.cpu_count() or 1,
        allowed=affinity,
        threads=devices.threads(),
        computing=devices.computing(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        memory=int(psutil.virtual_memory().total),
        free=devices.free_memory(cpu),
        devices={name: devices.free_memory(torch.device(name)) for name in devices.present()},
        bf16=devices.has_bf16(cpu),
        cuda_build=torch.version.cuda is not None,
        nvidia=any(path.exists() for path in NVIDIA),
        huge_pages=_huge_pages(HUGE_PAGES),
        omp_threads=os.environ.get("OMP_NUM_THREADS", ""),
    )


def try_out(model: str, device: str, precision: str) -> Trial:
    """Check one precision and measure its speed."""
    module, card = weights.load(model)
    try:
        denoiser = Denoiser(module, card, InferenceOptions(device, precision))
    except UnavailableError as error:
        return Trial(precision, LARGEST_DEVIATION[precision], problem=str(error))
    found = denoiser.deviation
    speed = megapixels_per_second(denoiser)
    return Trial(precision, LARGEST_DEVIATION[precision], found.largest, found.typical, speed)


def advise(machine: Machine, device: str, trials: tuple[Trial, ...]) -> list[str]:
    """What would make it faster, each with its reason; nothing where all is well.

    Parameters
    ----------
    machine : Machine
    device : str
        Kind of the chosen device: ``cpu``, ``cuda``, ``mps``.
    trials : tuple of Trial
    """
    found = [f"{each.precision} is not used: {each.problem}" for each in trials if each.problem]
    if device == "cpu":
        found += _about_devices(machine) + _about_processors(machine)
    if machine.free < LITTLE_MEMORY:
        found.append(
            f"only {machine.free / 2**30:.1f} GiB of memory are free, and half of that is used: windows are small, and "
            "their halos cost time; end other programs, or give --max-memory"
        )
    return found


def _about_devices(machine: Machine) -> list[str]:
    found = []
    if machine.nvidia and not machine.cuda_build:
        found.append(
            "there is an NVIDIA GPU, but this torch was built without CUDA: install the build for it from "
            "pytorch.org/get-started/locally"
        )
    elif machine.nvidia and not any(name.startswith("cuda") for name in machine.devices):
        found.append("there is an NVIDIA GPU that torch cannot use: its driver may be older than this torch needs")
    elif next(iter(machine.devices)) != "cpu":
        found.append(f"--device {next(iter(machine.devices))} is there as well")
    if not machine.bf16:
        found.append(
            "this processor does not multiply bfloat16 (AVX512-BF16 or AMX): fp32 is used, which takes twice the "
            "memory traffic and several times as long"
        )
    return found


def _about_processors(machine: Machine) -> list[str]:
    found = []
    if machine.allowed < machine.processors:
        found.append(
            f"{machine.allowed} of {machine.processors} processors are allowed (taskset, a scheduler or a container "
            "says so): ask for more"
        )
    if machine.computing < machine.threads:
        found.append(
            f"OMP_NUM_THREADS={machine.omp_threads} lets {machine.computing} of {machine.threads} processors compute: "
            "unset it"
        )
    if machine.threads < machine.allowed:
        found.append(
            f"a CPU quota of the container allows {machine.threads} of {machine.allowed} processors: raise it (docker "
            "--cpus, Kubernetes limits.cpu)"
        )
    if machine.load is not None and machine.load > machine.processors + 1:
        found.append(
            f"the load is {machine.load:.1f} on {machine.processors} processors: other programs take their share, "
            "also of the speeds above"
        )
    if machine.huge_pages == "never":
        found.append(
            "transparent huge pages are off: each 4 kB of the network's memory costs a page fault; "
            f"echo madvise > {HUGE_PAGES}"
        )
    return found


def versions() -> dict[str, str]:
    """Of the program, Python and what the program stands on."""
    from denoiser import __version__

    found = {"denoiser": __version__, "Python": platform.python_version()}
    found |= {name: _version(name) or "missing" for name in LIBRARIES}
    return found | {"torch": torch.__version__}  # with the build, such as +cpu


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _huge_pages(file: Path) -> str:
    """The word in brackets."""
    try:
        words = file.read_text().split()
    except OSError:
        return ""
    return next((word.strip("[]") for word in words if word.startswith("[")), "")
