"""Containers' limits of memory and processors are heeded."""

from __future__ import annotations

from pathlib import Path

from denoiser import machine


def write(directory: Path, files: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


def test_memory_limit_of_version_2(tmp_path: Path) -> None:
    write(tmp_path, {})
    write(tmp_path / "a", {"memory.max": "1000000\n", "memory.current": "600000\n"})
    write(tmp_path / "a/b", {"memory.max": "max\n", "memory.current": "500000\n"})
    write(tmp_path / "a", {"memory.stat": "anon 5\ninactive_file 100000\n"})
    assert machine._cgroup_memory(tmp_path, {"": "/a/b"}) == [500000]


def test_memory_limit_of_version_1(tmp_path: Path) -> None:
    group = tmp_path / "memory" / "job"
    write(group, {"memory.limit_in_bytes": "5000000", "memory.usage_in_bytes": "1000000"})
    write(tmp_path / "memory", {"memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "7"})
    assert machine._cgroup_memory(tmp_path, {"memory": "/job"}) == [4000000]


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert machine._cgroup_memory(tmp_path, {}) == []
    assert machine._cgroup_memory(tmp_path, {"": "/gone", "memory": "/gone"}) == []
    assert machine._cgroup_paths(tmp_path / "absent") == {}


def test_processor_quota(tmp_path: Path) -> None:
    write(tmp_path / "x", {"cpu.max": "150000 100000"})
    write(tmp_path, {"cpu.max": "max 100000"})
    assert machine._cgroup_processors(tmp_path, {"": "/x"}) == [2]
    write(tmp_path / "cpu/y", {"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"})
    write(tmp_path / "cpu", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    assert machine._cgroup_processors(tmp_path, {"cpu": "/y"}) == [4]


def test_groups_of_this_process(tmp_path: Path) -> None:
    table = tmp_path / "cgroup"
    table.write_text("4:memory:/job\n3:cpu,cpuacct:/x\n0::/user.slice\n")
    assert machine._cgroup_paths(table) == {"memory": "/job", "cpu": "/x", "cpuacct": "/x", "": "/user.slice"}
