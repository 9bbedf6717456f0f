"""``kill -9`` at any moment: whole files or none, and the next run does the rest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from denoiser.batch import run
from tests.batch.fakes import FakeDenoiser, leftovers, tree, write_png

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = 200

VICTIM = """
import sys
from tests.batch import elsewhere
elsewhere.without_torch()
from denoiser.batch import RunOptions, run
from tests.batch.fakes import FakeDenoiser
print("ready", flush=True)
report = run(sys.argv[1], sys.argv[2], RunOptions(jobs=4, max_memory=1 << 28), denoiser=FakeDenoiser(seconds=0.002))
print(report.totals()["done"])
sys.exit(report.exit_code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kill") / "in"
    for index in range(FILES):
        write_png(root / f"d{index % 4}" / f"{index:03}.png", index)
    return root


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, bytes]:
    assert run(folder, folder.parent / "undisturbed", denoiser=FakeDenoiser()).exit_code == 0  # type: ignore[arg-type]
    return tree(folder.parent / "undisturbed")


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(folder), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize("kills", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_run_leaves_whole_files_and_the_next_goes_on(
    folder: Path, undisturbed: dict[str, bytes], tmp_path: Path, kills: int
) -> None:
    assert len(undisturbed) == FILES
    chance = random.Random(kills)
    out, most, hit = tmp_path / "out", 0, 0
    for _ in range(kills):
        process = start(folder, out)
        # Until a random number of further files are there, and a moment more.
        wanted = most + chance.randrange(FILES // kills)
        deadline = time.monotonic() + 20
        while len(list(out.rglob("*.png"))) < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        made = tree(out)
        visible = {name: content for name, content in made.items() if not Path(name).name.startswith(".")}
        assert visible.items() <= undisturbed.items()
        assert len(visible) >= most
        most = len(visible)
    assert hit > kills // 2
    process = start(folder, out)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(told) == FILES - most
    assert tree(out) == undisturbed
    assert leftovers(out) == []
