"""``denoiser estimate`` through its doors."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiser.batch import EstimateOptions, estimate_files
from denoiser.batch.estimation import PAGES
from denoiser.cli.main import main
from denoiser.errors import ExitCode, UsageError
from tests.cli.helpers import Invoke
from tests.images.samples import make_bad_tree, make_tree


def write_noise(path: Path, sigma: float, shape: tuple[int, ...] = (160, 200), quality: int | None = None) -> None:
    values = np.random.default_rng(0).normal(120, sigma, shape)
    settings = {} if quality is None else {"quality": quality}
    Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8)).save(path, **settings)


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(tmp_path / "a.png", 20)
    write_noise(tmp_path / "b.jpg", 10, (96, 96, 3), quality=90)
    assert main(["estimate", str(tmp_path)]) == ExitCode.OK
    out, err = capsys.readouterr()
    sigma = re.search(r"a\.png.*gray.*?(\d+\.\d+)", out)
    assert sigma is not None and float(sigma[1]) == pytest.approx(20, rel=0.1)
    assert all(word in out for word in ("b.jpg", "red", "green", "blue", "JPEG 90", "white", "unet"))
    assert "2 files estimated, 0 failed" in err
    assert max(map(len, out.splitlines())) <= 80


def test_a_narrow_terminal_cuts_no_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path / "a.png", 20)
    tables = []
    for columns in ("80", "40"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["estimate", str(tmp_path)]) == ExitCode.OK
        tables.append(capsys.readouterr().out)
    assert tables[0].split("sigma and")[0] == tables[1].split("sigma and")[0]


def test_floats_without_a_range_are_told_and_leave_room_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = np.random.default_rng(0).normal(3e4, 6e3, (96, 96, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", counts)
    np.save(tmp_path / "b.npy", counts / 1e5)
    assert main(["estimate", str(tmp_path)]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "a.npy: holds floats above 1" in err and "give --white" in err
    assert re.search(r"a\.npy +│ red +│ 1\.[56]e\+06 │", out)
    assert max(map(len, out.splitlines())) <= 80
    for quiet in ([str(tmp_path / "b.npy")], [str(tmp_path), "--white", "65535"]):
        assert main(["estimate", *quiet]) == ExitCode.OK
        assert "--white" not in capsys.readouterr().err


def test_json_is_the_versioned_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(tmp_path / "a.jpg", 10, (96, 96, 3), quality=75)
    assert main(["estimate", str(tmp_path), "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "denoiser.estimate/1"
    (file,) = document["files"]
    assert (file["source"], file["count"], file["failure"]) == (str(tmp_path / "a.jpg"), 1, "")
    (page,) = file["pages"]
    assert set(page) == {
        *("page", "height", "width", "sampled", "sigma", "kind", "channels", "shared", "grid", "quality"),
        *("model", "reason"),
    }
    assert (page["quality"], page["model"], page["sampled"]) == (75, "unet-photo", 96 * 96)
    assert [set(each) for each in page["channels"]] == 3 * [
        {"sigma", "gain", "read", "horizontal", "vertical", "rolloff"}
    ]


def test_csv_has_a_line_for_each_channel_and_each_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noise(tmp_path / "a.png", 10, (96, 96, 3))
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert main(["estimate", str(tmp_path), "--csv"]) == ExitCode.SOME_FAILED
    out, err = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["channel"] for line in lines] == ["red", "green", "blue", ""]
    assert float(lines[0]["sigma"]) == pytest.approx(10, rel=0.1)
    assert "text file" in lines[3]["failure"] and "b.png" in err


def test_every_format_is_read_and_bad_files_are_named(tmp_path: Path) -> None:
    good, bad = make_tree(tmp_path / "in"), make_bad_tree(tmp_path / "in" / "bad ones")
    report = estimate_files(tmp_path / "in", EstimateOptions(max_memory=100_000_000))
    assert {each.source for each in report.failures} == set(bad)
    assert {each.source for each in report.files} == {*good, *bad}
    assert report.exit_code is ExitCode.SOME_FAILED
    json.dumps(report.to_json(), allow_nan=False)


def test_stacks_are_sampled_and_16_bit_knows_its_white(tmp_path: Path) -> None:
    levels = np.arange(20, dtype=np.float64)[:, None, None] + 10
    stack = np.random.default_rng(1).normal(2000, levels * 4095 / 255, (20, 96, 96))
    tifffile.imwrite(tmp_path / "s.tif", np.rint(stack.clip(0, 65535)).astype(np.uint16))
    (file,) = estimate_files(tmp_path / "s.tif", EstimateOptions(white=4095)).files
    assert (file.count, len(file.pages)) == (20, PAGES)
    assert (file.pages[0].page, file.pages[-1].page) == (0, 19)
    for page in file.pages:
        assert page.estimate.sigma == pytest.approx(10 + page.page, rel=0.1)


def test_large_pictures_are_looked_at_in_part(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, (2000, 1500)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, rowsperstrip=16)
    (file,) = estimate_files(tmp_path / "a.tif").files
    (page,) = file.pages
    assert page.sampled <= 1 << 19 < page.height * page.width
    assert page.estimate.sigma == pytest.approx(25.5, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["--include", "*.bmp"], ExitCode.NOTHING_TO_DO, "no readable image"),
        (["--json", "--csv"], ExitCode.USAGE, "choose one"),
        (["--white", "nan"], ExitCode.USAGE, "--white"),
        (["--white", "1", "--black", "2"], ExitCode.USAGE, "--black"),
        (["--jobs", "0"], ExitCode.USAGE, "--jobs"),
        (["--nonsense"], ExitCode.USAGE, "--nonsense"),
    ],
)
def test_exit_codes(
    arguments: list[str], code: ExitCode, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(tmp_path / "a.png", 10, (40, 40))
    assert main(["estimate", str(tmp_path), *arguments]) == code
    out, err = capsys.readouterr()
    assert hint in err and out == ""


def test_white_must_lie_above_black() -> None:
    with pytest.raises(UsageError, match="--white 0"):
        EstimateOptions(white=0)


def test_torch_is_not_needed_and_stdin_is_read(tmp_path: Path, invoke: Invoke) -> None:
    write_noise(tmp_path / "a.png", 20)
    (tmp_path / "work" / "torch.py").write_text("raise ImportError('torch was imported')")
    done = invoke("estimate", "-", "--csv", input=(tmp_path / "a.png").read_bytes())
    assert done.returncode == 0, done.stderr
    assert b",gray,2" in done.stdout or b",gray,19" in done.stdout


def test_files_of_one_name_are_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((32, 32), 90, np.uint8)).save(tmp_path / folder / "a.png")
    assert main(["estimate", str(tmp_path)]) == 0
    told = capfd.readouterr().out
    assert "one/a.png" in told and "two/a.png" in told
    assert main(["estimate", str(tmp_path / "one" / "a.png")]) == 0
    assert "one/a.png" not in capfd.readouterr().out
