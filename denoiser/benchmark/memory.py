"""How much memory a piece of work takes, measured inside this process without disturbing the figure.

What is counted is growth: the peak of resident memory while the work goes on, less what was resident before. On Linux
the kernel keeps the peak itself and forgets it on demand (``/proc/self/clear_refs``, see proc(5)); memory that was
freed, but kept by the C library for later, is given back first, so that what earlier work left behind does not hide
what this work needs. Elsewhere a thread looks every other millisecond. On CUDA devices torch keeps the peak.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROC = Path("/proc/self")
FORGET_PEAK = "5"
SAMPLED_EVERY = 0.002
"""Seconds, where the system keeps no peak that can be forgotten."""


def watch(work: Callable[[], T], device: str = "cpu") -> tuple[T, int]:
    """Do some work and measure its memory.

    Parameters
    ----------
    work : callable
    device : str
        Where it takes place; the device's own memory is counted where that begins with ``cuda``.

    Returns
    -------
    result
        What ``work`` returns.
    grown : int
        Bytes.
    """
    gc.collect()
    if device.startswith("cuda"):
        return _on_cuda(work)
    _give_back()
    return _by_kernel(work) if _forget_peak() else _by_sampling(work)


def _on_cuda(work: Callable[[], T]) -> tuple[T, int]:
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = work()
    return result, torch.cuda.max_memory_allocated() - before


def _give_back() -> None:
    """Return freed memory to the system, where the C library is glibc."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _forget_peak() -> bool:
    try:
        (PROC / "clear_refs").write_text(FORGET_PEAK)
    except OSError:
        return False
    return True


def _by_kernel(work: Callable[[], T]) -> tuple[T, int]:
    before = _status("VmRSS")
    result = work()
    return result, max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    """A field of this process's status, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", (PROC / "status").read_text(), re.MULTILINE)
    assert match is not None  # proc(5) promises it
    return int(match[1]) * 1024


def _by_sampling(work: Callable[[], T]) -> tuple[T, int]:
    import psutil

    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not done.wait(SAMPLED_EVERY):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        result = work()
    finally:
        done.set()
        thread.join()
    return result, max(0, max(peak, process.memory_info().rss) - before)
