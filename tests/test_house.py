"""The house is in order: what users and packagers expect is there, and an installed wheel is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import denoiser

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_that_people_look_for() -> None:
    for name in ("README.md", "CHANGELOG.md", "ARCHITECTURE.md", "LICENSE", "Makefile", "constraints.txt", ".ci/run"):
        assert (REPOSITORY / name).stat().st_size > 0, name
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    if os.name != "nt":
        assert os.access(REPOSITORY / ".ci/run", os.X_OK)


def test_ci_runs_what_the_readme_says() -> None:
    assert "make test" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert (REPOSITORY / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "make test"


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (REPOSITORY / link).exists(), f"{document}: {link}"


def test_constraints_pin_every_dependency() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    assert not any("+" in version or "/" in version for version in pins.values())
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    for requirement in (requirement for group in groups for requirement in group):
        assert re.split(r"[<>=!~ ]", requirement)[0] in pins, requirement


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_the_tested_versions_lie_in_the_promised_ranges(requirement: str) -> None:
    from packaging.requirements import Requirement  # comes with pytest

    parsed = Requirement(requirement)
    assert parsed.specifier.contains(metadata.version(parsed.name).split("+")[0])


def test_public_names() -> None:
    assert set(denoiser.__all__) <= set(dir(denoiser))
    for name in denoiser.__all__:
        assert getattr(denoiser, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        denoiser.nonsense  # noqa: B018


def test_import_is_light() -> None:
    look = "import denoiser, sys; print({'torch', 'numpy', 'PIL', 'typer', 'rich'} & set(sys.modules))"
    assert run(sys.executable, "-c", look, cwd=REPOSITORY).strip() == "set()"


def test_changelog_knows_the_version() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{denoiser.__version__}]" in text


def test_no_machine_is_named_in_the_repository() -> None:
    """Configuration that works on one machine alone does not belong here."""
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        assert not re.search(r"file://|/home/|/root/|--index-url|--find-links", text), name


@pytest.mark.slow
def test_a_wheel_from_the_sdist_finds_its_weights(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, REPOSITORY, cwd=tmp_path)
    (sdist,) = tmp_path.glob("*.tar.gz")
    (wheel,) = tmp_path.glob("*.whl")
    weights = {path.name for path in (REPOSITORY / "weights").glob("*.safetensors")} | {"SHA256SUMS"}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {f"weights/{name}" for name in weights} <= in_sdist
    assert {"README.md", "LICENSE", "tests/conftest.py", "examples/nightly.sh"} <= in_sdist
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    assert {f"denoiser/_weights/{name}" for name in weights} <= in_wheel
    assert not [name for name in in_wheel if name.startswith(("tests/", "weights/"))]

    place = tmp_path / "installed"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", place, wheel, cwd=tmp_path)
    env = {"PYTHONPATH": str(place)}
    where = run(sys.executable, "-c", "import denoiser; print(denoiser.__file__)", cwd=tmp_path, env=env)
    assert Path(where.strip()).is_relative_to(place)
    assert "whole" in run(sys.executable, "-m", "denoiser", "models", "verify", cwd=tmp_path, env=env)
    listed = run(sys.executable, "-m", "denoiser", "models", "list", cwd=tmp_path, env=env)
    assert "unet" in listed
