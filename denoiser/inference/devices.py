"""What this machine can compute on, how much memory is free there, and how many threads may run."""

from __future__ import annotations

import torch

from denoiser import machine
from denoiser.errors import UnavailableError

OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory", "bad_alloc"),
    # cuBLAS and cuDNN, which want room of their own
    *("alloc_failed", "allocation_failed", "unable to find an engine to execute"),
    *("invalid buffer size", "could not create a memory object", "could not create a primitive"),  # MPS, oneDNN
)
"""What errors say, in lower case, of which torch makes no type of their own."""


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
        # Blocks that torch keeps for later are free to whoever asks torch.
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return machine.free_memory()


def threads() -> int:
    """Processors that this process may use."""
    return machine.processors()


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
