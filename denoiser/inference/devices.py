"""What this machine can compute on, how much memory is free there, and how many threads may run."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil
import torch

from denoiser.errors import UnavailableError

OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory", "bad_alloc"),
    *("alloc_failed", "unable to find an engine to execute"),  # cuBLAS and cuDNN, which want room of their own
    *("invalid buffer size", "could not create a memory object"),  # MPS, oneDNN
)
"""What errors say, in lower case, of which torch makes no type of their own."""

_CGROUP = Path("/sys/fs/cgroup")


def present() -> list[str]:
    """Names of the devices that can be used, best first; ``cpu`` is always the last."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def resolve(name: str) -> torch.device:
    """The device that a user named.

    Parameters
    ----------
    name : str
        ``auto`` (the best present), ``cpu``, ``cuda`` (the first one), ``cuda:1``, ``mps``.

    Raises
    ------
    UnavailableError
        If the device is not there. Nothing else is taken in its place.
    """
    there = present()
    wanted = there[0] if name == "auto" else "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise UnavailableError(f"device {name!r} is not available here; there are: {', '.join(there)}; or use 'auto'")
    return torch.device(wanted)


def expand(names: str) -> list[str]:
    """The devices of a list such as ``cuda:0,cuda:1``; ``cuda:all`` stands for every CUDA device.

    Raises
    ------
    UnavailableError
        If one is not there, or there is none.
    """
    if names == "cuda:all":
        found = [name for name in present() if name.startswith("cuda")]
        if not found:
            raise UnavailableError(
                f"device 'cuda:all': there is no CUDA device here; there are: {', '.join(present())}"
            )
        return found
    return [str(resolve(name.strip())) for name in names.split(",")]


def title(device: torch.device) -> str:
    """The device in words for logs and reports."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({computing()} threads)" if device.type == "cpu" else str(device)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on the device; on the CPU a container's limit counts."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    limits = [int(psutil.virtual_memory().available), *_cgroup_memory(_CGROUP, _cgroup_paths())]
    return max(0, min(limits))


def threads() -> int:
    """Processors that this process may use: its affinity mask and its container's quota decide."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity masks
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *_cgroup_processors(_CGROUP, _cgroup_paths())]))


def computing() -> int:
    """Threads that compute: those of :func:`threads`, unless ``OMP_NUM_THREADS`` or the caller allows fewer."""
    return min(threads(), torch.get_num_threads())


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated it is correct, but slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "mps":
        return False
    # These probes of torch are not public; without them bf16 is simply not chosen by itself.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(probe()) for probe in probes if probe is not None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in the words of each of torch's allocators."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _cgroup_paths(table: Path = Path("/proc/self/cgroup")) -> dict[str, str]:
    """Controller -> path of this process's control group; the unified hierarchy has the name ``""``."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return {controller: path for _, controllers, path in fields for controller in controllers.split(",")}


def _ancestors(root: Path, path: str) -> list[Path]:
    """The group's directory and those of all groups around it. Inside a container it is often the root itself."""
    parts = Path(path.lstrip("/")).parts
    return [root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _number(file: Path, index: int = 0) -> float | None:
    """A number in a control file; None when the file is not there, infinity for ``max`` and no limit."""
    try:
        word = file.read_text().split()[index]
        return math.inf if word in ("max", "-1") else float(word)
    except (OSError, ValueError, IndexError):
        return None


def _reclaimable(directory: Path) -> float:
    """Bytes of file cache charged to a group, which the kernel drops before it refuses memory."""
    try:
        lines = (directory / "memory.stat").read_text().splitlines()
    except OSError:
        return 0.0
    stat = dict(line.split() for line in lines if line.count(" ") == 1)
    return float(stat.get("total_inactive_file", stat.get("inactive_file", "0")))


def _cgroup_memory(root: Path, paths: dict[str, str]) -> list[int]:
    """Bytes left below each memory limit, version 2 or 1, that applies to this process."""
    left = []
    hierarchies = [
        (root, paths.get(""), "memory.max", "memory.current"),
        (root / "memory", paths.get("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ]
    for base, path, limit_name, usage_name in hierarchies:
        for directory in _ancestors(base, path) if path is not None else []:
            limit, usage = _number(directory / limit_name), _number(directory / usage_name)
            # Version 1 writes "no limit" as a number near 2**63.
            if limit is not None and usage is not None and limit < 2**60:
                left.append(int(limit - usage + _reclaimable(directory)))
    return left


def _cgroup_processors(root: Path, paths: dict[str, str]) -> list[int]:
    """Processors allowed by each CPU quota, version 2 or 1, rounded up."""
    quotas: list[tuple[float | None, float | None]] = []
    if (path := paths.get("")) is not None:
        quotas += [(_number(d / "cpu.max"), _number(d / "cpu.max", 1)) for d in _ancestors(root, path)]
    if (path := paths.get("cpu")) is not None:
        base = root / "cpu"
        quotas += [(_number(d / "cpu.cfs_quota_us"), _number(d / "cpu.cfs_period_us")) for d in _ancestors(base, path)]
    return [math.ceil(q / p) for q, p in quotas if q is not None and p is not None and p > 0 and math.isfinite(q)]
