"""What ``denoiser doctor`` finds out, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from denoiser import models, weights
from denoiser.errors import UnavailableError
from denoiser.inference import diagnosis, probes
from denoiser.inference.diagnosis import Machine, Trial, advise

GOOD = Machine(
    system="Linux",
    processors=8,
    allowed=8,
    threads=8,
    computing=8,
    load=0.5,
    memory=32 << 30,
    free=16 << 30,
    devices={"cpu": 16 << 30},
    bf16=True,
    cuda_build=False,
    nvidia=False,
    huge_pages="madvise",
    omp_threads="",
)
FAST = (Trial("bf16", 0.25, 0.03, 0.01, 4.0), Trial("fp32", 1e-3, 1e-6, 1e-7, 1.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, module, weights.Card("unet", models.config_of(module), name="tiny"))
    return str(path)


def test_a_good_machine_needs_no_advice() -> None:
    assert advise(GOOD, "cpu", FAST) == []
    assert advise(replace(GOOD, bf16=False, allowed=2, load=30.0), "cuda", FAST) == [], "the CPU is not what computes"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bf16": False}, "does not multiply bfloat16"),
        ({"nvidia": True}, "built without CUDA"),
        ({"nvidia": True, "cuda_build": True}, "its driver may be older"),
        ({"devices": {"mps": 1 << 30, "cpu": 16 << 30}}, "--device mps is there as well"),
        ({"allowed": 4, "threads": 4, "computing": 4}, "4 of 8 processors are allowed"),
        ({"threads": 2, "computing": 2}, "a CPU quota of the container allows 2 of 8"),
        ({"computing": 1, "omp_threads": "1"}, "OMP_NUM_THREADS=1 lets 1 of 8 processors compute"),
        ({"load": 12.0}, "the load is 12.0 on 8"),
        ({"huge_pages": "never"}, "transparent huge pages are off"),
        ({"free": 1 << 30}, "only 1.0 GiB of memory are free"),
    ],
)
def test_each_brake_is_named(changes: dict[str, object], words: str) -> None:
    (advice,) = advise(replace(GOOD, **changes), "cpu", FAST)  # type: ignore[arg-type]
    assert words in advice


def test_a_precision_that_fails_is_named() -> None:
    (advice,) = advise(GOOD, "cpu", (Trial("bf16", 0.25, problem="cpu fails the self-check"), FAST[1]))
    assert advice == "bf16 is not used: cpu fails the self-check"


def test_the_diagnosis_of_this_machine(tiny: str) -> None:
    found = diagnosis.diagnose(tiny, "cpu")
    assert found.problems == ()
    assert found.model == "tiny" and found.weights == len(weights.bundled())
    assert found.trials[-1].precision == "fp32" and found.precision == found.trials[0].precision
    assert all(0 <= trial.largest <= trial.allowed and trial.speed > 0 for trial in found.trials if trial.largest)
    assert found.machine.computing <= found.machine.threads <= found.machine.allowed <= found.machine.processors
    assert found.versions["torch"] == torch.__version__
    with pytest.raises(UnavailableError, match="cuda:9"):
        diagnosis.diagnose(tiny, "cuda:9")


def test_what_does_not_work_is_a_problem(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "verify", lambda: ["unet.safetensors is damaged"])
    monkeypatch.setattr(probes, "LARGEST_DEVIATION", {"fp32": -1.0, "bf16": -1.0, "fp16": -1.0})
    found = diagnosis.diagnose(tiny, "cpu")
    assert found.problems[0] == "unet.safetensors is damaged"
    assert any("fails the self-check" in problem for problem in found.problems[1:])
    assert found.precision == "" and all(trial.speed == 0 for trial in found.trials)


def test_the_word_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    assert diagnosis._huge_pages(tmp_path / "enabled") == "madvise"
    assert diagnosis._huge_pages(tmp_path / "missing") == ""
