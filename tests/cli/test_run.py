"""``denoiser run`` from end to end with a tiny network: every exit code, streams, signals, the plan."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import denoiser
from denoiser.cli.main import build_app, main
from denoiser.errors import ExitCode
from tests.cli.helpers import REPOSITORY, Invoke


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments), "--device", "cpu", "--precision", "fp32"])


def test_the_tree_is_mirrored_and_a_second_run_does_nothing(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(pictures, out, "--model", tiny_model) == ExitCode.OK
    summary = capfd.readouterr().err.splitlines()[-1]
    assert summary.startswith("3 denoised: ")
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if ".denoiser" not in path.parts}
    assert names == {"a.png", "b.jpg", "sub dir/ü.png"}
    before = {name: (out / name).stat().st_mtime_ns for name in names}
    assert run(pictures, out, "--model", tiny_model) == ExitCode.OK
    assert capfd.readouterr().err.splitlines()[-1].startswith("3 skipped")
    assert before == {name: (out / name).stat().st_mtime_ns for name in names}


def test_the_three_doors_give_the_same_pixels(pictures: Path, tiny_model: Path, tmp_path: Path, invoke: Invoke) -> None:
    settings = ["--model", str(tiny_model), "--device", "cpu", "--precision", "fp32"]
    assert invoke("run", pictures, tmp_path / "1", *settings).returncode == ExitCode.OK
    result = CliRunner().invoke(build_app(), ["run", str(pictures), str(tmp_path / "2"), *settings])
    assert result.exit_code == ExitCode.OK
    options = denoiser.RunOptions(model=str(tiny_model), device="cpu", precision="fp32")
    assert denoiser.run([str(pictures)], tmp_path / "3", options).exit_code == ExitCode.OK
    model = denoiser.load(tiny_model, device="cpu", precision="fp32")
    clean = model.denoise(np.asarray(Image.open(pictures / "a.png")))
    for folder in "123":
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / folder / "a.png")), clean)


def test_some_failed(pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pictures / "bad.png").write_bytes((pictures / "a.png").read_bytes()[:60])
    assert run(pictures, tmp_path / "out", "--model", tiny_model) == ExitCode.SOME_FAILED
    err = capfd.readouterr().err
    assert err.count("bad.png") == 1, "a failure is told once"
    assert "error:" in err
    assert "3 denoised, 1 failed" in err.splitlines()[-1]
    assert (tmp_path / "out" / "b.jpg").exists()


def test_a_budget_of_one_byte_is_too_small_for_any_file(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--max-memory", 1) == ExitCode.SOME_FAILED
    told = capfd.readouterr().err
    assert told.count("raise --max-memory") == 3
    assert told.count("leave room for narrow windows alone") == 1


def test_the_summary_counts_the_files_of_each_chosen_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clean = np.full((96, 96, 3), 128, np.uint8)
    (tmp_path / "in").mkdir()
    for name, kind in (("a", "gaussian:15"), ("b", "correlated:sigma=15,length=1"), ("c", "gaussian:20")):
        Image.fromarray(denoiser.corrupt(clean, kind)).save(tmp_path / "in" / f"{name}.png")
    assert run(tmp_path / "in", tmp_path / "out") == ExitCode.OK
    assert capfd.readouterr().err.splitlines()[-1].startswith("3 denoised (2 by unet, 1 by unet-photo): ")


def test_usage_output_over_input(pictures: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (pictures / "a.png").read_bytes()
    assert run(pictures, pictures, "--model", tiny_model, "--exists", "overwrite") == ExitCode.USAGE
    assert "error: " in capfd.readouterr().err
    assert (pictures / "a.png").read_bytes() == before


def test_nothing_to_do(tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    assert run(tmp_path / "empty", tmp_path / "out", "--model", tiny_model) == ExitCode.NOTHING_TO_DO
    err = capfd.readouterr().err
    assert "empty" in err
    assert err.startswith("error: ")
    assert run(tmp_path / "empty", tmp_path / "out", "--model", tiny_model, "--quiet") == ExitCode.NOTHING_TO_DO
    assert capfd.readouterr().err != "", "an error is told even when quiet"


@pytest.mark.parametrize("option", [("--model", "no-such-model"), ("--device", "cuda:99"), ("--device", "abacus")])
def test_unavailable_before_anything_is_touched(
    pictures: Path, tiny_model: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    arguments = ["run", str(pictures), str(tmp_path / "out"), "--model", str(tiny_model), *option]
    assert main(arguments) in (ExitCode.UNAVAILABLE, ExitCode.USAGE)
    assert not list(tmp_path.glob("out/**/*.png"))


def test_output_cannot_be_written(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(pictures, tmp_path / "file" / "out", "--model", tiny_model) == ExitCode.OUTPUT
    assert (tmp_path / "file").read_text() == "in the way"


def test_stopped_at_a_limit(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--max-files", 1) == ExitCode.STOPPED
    assert "2 left for the next run" in capfd.readouterr().err.splitlines()[-1]
    assert run(pictures, tmp_path / "out", "--model", tiny_model) == ExitCode.OK
    assert run(pictures, tmp_path / "late", "--model", tiny_model, "--max-runtime", "0s") == ExitCode.STOPPED


def test_locked(pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from denoiser.lock import Lock

    out = tmp_path / "out"
    with Lock(out):
        assert run(pictures, out, "--model", tiny_model) == ExitCode.LOCKED
        assert str(out) in capfd.readouterr().err
        assert not list(out.glob("*.png"))
        assert run(pictures, out, "--model", tiny_model, "--no-lock") == ExitCode.OK


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_between_files(tiny_model: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    for index in range(80):
        Image.fromarray(np.roll(noise, index, 0)).save(folder / f"{index:03}.png", compress_level=0)
    command = [sys.executable, "-m", "denoiser", "run", folder, out, "--model", tiny_model, "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    finished = list(out.glob("*.png"))
    assert 0 < len(finished) < 80
    assert not list(out.glob(".*denoiser-tmp"))
    for path in finished:
        assert np.asarray(Image.open(path)).shape == (512, 512, 3)


def test_a_stream_in_a_process_of_its_own(pictures: Path, tiny_model: Path, invoke: Invoke) -> None:
    done = invoke("run", "-", "-", "--model", tiny_model, input=(pictures / "a.png").read_bytes())
    assert done.returncode == ExitCode.OK, done.stderr
    result = Image.open(io.BytesIO(done.stdout))
    assert (result.format, result.size, result.mode) == ("PNG", (31, 24), "RGB")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_streams(
    pictures: Path,
    tiny_model: Path,
    tmp_path: Path,
    stdin: Callable[[bytes], None],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    picture = (pictures / "a.png").read_bytes()
    stdin(picture)
    assert run("-", "-", "--strength", 0, "--model", tiny_model) == ExitCode.OK
    assert capfdbinary.readouterr().out == picture
    stdin(picture)
    assert run("-", tmp_path / "named.png", "--model", tiny_model) == ExitCode.OK
    assert capfdbinary.readouterr().out == b""
    assert Image.open(tmp_path / "named.png").size == (31, 24)
    assert run(pictures / "b.jpg", "-", "--model", tiny_model, "--format", "png") == ExitCode.OK
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")


def test_streams_that_make_no_sense(pictures: Path, tiny_model: Path, stdin: Callable[[bytes], None]) -> None:
    stdin(b"not a picture")
    assert run("-", "-", "--model", tiny_model) == ExitCode.SOME_FAILED
    assert run("-", pictures, "-", "--model", tiny_model) == ExitCode.USAGE
    assert run(pictures, "-", "--model", tiny_model) == ExitCode.USAGE
    assert run("-", "-", "--json", "--model", tiny_model) == ExitCode.USAGE


def test_a_plan_writes_nothing(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no path is broken into lines, however long
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--dry-run") == ExitCode.OK
    out, err = capfd.readouterr()
    assert "a.png" in out
    assert "3 to do" in err.splitlines()[-1]
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--dry-run", "--json") == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    assert [file["status"] for file in document["files"]] == ["planned"] * 3
    assert document["totals"]["megapixels"] == pytest.approx((24 * 31 + 40 * 20 + 9 * 17) / 1e6, rel=0.01)
    assert not list(tmp_path.glob("out/*"))


def test_events_and_json_agree(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events = tmp_path / "events.jsonl"
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--json", "--events", events) == ExitCode.OK
    document = json.loads(capfd.readouterr().out)
    lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert {line["target"] for line in lines} == {file["target"] for file in document["files"]}
    assert all(line["schema"] == "denoiser.event/1" for line in lines)


def test_metrics_tell_of_usage_errors_and_not_of_dry_runs(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.prom"
    common = (pictures, tmp_path / "out", "--model", tiny_model, "--prometheus", file)
    assert run(*common, "--dry-run") == ExitCode.OK
    assert not file.exists()
    assert run(*common, "--strength", "3") == ExitCode.USAGE
    assert f'denoiser_last_run_exit_code{{output="{tmp_path / "out"}"}} 2\n' in file.read_text()
    assert run(pictures, tmp_path / "out", "--prometheus", "s3://bucket/a.prom") == ExitCode.USAGE
    assert run(pictures, tmp_path / "out", "--log-file", "s3://bucket/a.log") == ExitCode.USAGE


def test_a_share_is_named_in_the_summary(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(pictures, tmp_path / "out", "--model", tiny_model, "--shard", "0/2") == ExitCode.OK
    assert capfd.readouterr().err.splitlines()[-1].startswith("share 0 of 2: ")


def test_limits_tell_the_truth_where_everything_is_done_again(
    pictures: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    common = (pictures, tmp_path / "out", "--model", tiny_model, "--max-files", "1")
    assert run(*common) == ExitCode.STOPPED
    assert capfd.readouterr().err.splitlines()[-1].endswith("stopped at --max-files; the next run goes on")
    assert run(*common, "--exists", "overwrite") == ExitCode.STOPPED
    assert "only with --exists skip does the next run go on" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_is_an_output_that_cannot_be_written(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "denoiser", "run", str(pictures / "a.png"), "-", "--model", str(tiny_model)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [*command, "--device", "cpu"], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
            cwd=REPOSITORY,
        )  # fmt: skip
    assert done.returncode == ExitCode.OUTPUT
    assert "unexpected" not in done.stderr and "Broken pipe" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are UTF-8 whatever the locale")
def test_names_that_the_locale_cannot_spell(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "mö€.png").write_bytes((pictures / "a.png").read_bytes())
    command = [sys.executable, "-m", "denoiser", "run", str(tmp_path / "names"), str(tmp_path / "out")]
    ascii_alone = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [*command, "--model", str(tiny_model), "--device", "cpu"], capture_output=True, text=True, timeout=120,
        check=False, env=ascii_alone, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == ExitCode.OK, done.stderr
    assert (tmp_path / "out" / "mö€.png").is_file()
