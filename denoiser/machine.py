"""Memory and processors that this process may use: what the machine has, and what its container leaves of that."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that can still be allocated; a container's limit counts."""
    import psutil

    limits = [int(psutil.virtual_memory().available), *_cgroup_memory(_CGROUP, _cgroup_paths())]
    return max(0, min(limits))


def processors() -> int:
    """Processors that this process may use: its affinity mask and its container's quota decide."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity masks
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *_cgroup_processors(_CGROUP, _cgroup_paths())]))


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
