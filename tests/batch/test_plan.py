"""Inputs -> outputs: stat calls alone, so the inputs are mostly empty files."""

from __future__ import annotations

import os
import socket
import string
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.batch import Action, Destination, Item, Plan, RunOptions, make_plan, run
from denoiser.batch.manifest import Entry, Manifest, Stamp, content_hash
from denoiser.batch.plan import share_out
from denoiser.errors import UsageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode())


def plan(inputs: str | Sequence[str], output: str = "out", options: RunOptions | None = None) -> Plan:
    destination = Destination.of(output)
    inputs = [inputs] if isinstance(inputs, str) else inputs
    return make_plan(inputs, destination, options or RunOptions(), "key", Manifest(destination.root))


def targets(made: Plan) -> list[str]:
    return [item.target.as_posix() for item in made.items if item.target]


def failures(made: Plan) -> dict[str, str]:
    return {item.source.as_posix(): item.reason for item in made.items if item.action is Action.FAIL}


# Where outputs go.


def test_the_tree_is_mirrored_in_bytewise_order() -> None:
    touch("in/b.png", "in/ä ö/ü.TIF", "in/a/deep er/x.jpeg", "in/Z.webp", "in/note.txt")
    made = plan("in")
    assert targets(made) == ["out/Z.webp", "out/a/deep er/x.jpeg", "out/b.png", "out/ä ö/ü.TIF"]
    assert (made.found, made.ignored) == (4, 1)
    assert not Path("out").exists()


def test_one_file_into_a_file() -> None:
    touch("a.jpg")
    assert targets(plan("a.jpg", "sub/b.png")) == ["sub/b.png"]
    assert plan("a.jpg", "sub/b.png").items[0].format == "png"
    assert targets(plan("a.jpg", "sub/")) == ["sub/a.jpg"]
    Path("dir.png").mkdir()
    assert targets(plan("a.jpg", "dir.png")) == ["dir.png/a.jpg"]


def test_a_file_of_a_format_that_cannot_be_written_is_no_directory() -> None:
    touch("in/a.png")
    with pytest.raises(UsageError, match=r"out\.HEIC: a picture cannot be written as \.HEIC; .*\.png, .* or in /"):
        plan("in/a.png", "out.HEIC")
    assert targets(plan("in/a.png", "out.HEIC/")) == targets(plan("in", "out.HEIC")) == ["out.HEIC/a.png"]
    Path("out.HEIC").mkdir()
    assert targets(plan("in/a.png", "out.HEIC")) == ["out.HEIC/a.png"]


def test_a_file_cannot_be_the_output_of_a_directory() -> None:
    touch("in/a.png", "plain")
    with pytest.raises(UsageError, match=r"b\.png"):
        plan("in", "b.png")
    with pytest.raises(UsageError, match="plain"):
        plan("in/a.png", "plain")
    with pytest.raises(UsageError, match="written as tiff, which its suffix contradicts"):
        plan("in/a.png", "b.png", RunOptions(format="tiff"))


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (RunOptions(format="png"), "a.ome.png"),
        (RunOptions(format="tiff"), "a.ome.tif"),
        (RunOptions(suffix="_clean"), "a_clean.ome.tif"),
        (RunOptions(suffix="_clean", format="npy"), "a_clean.npy"),
    ],
)
def test_names_follow_format_and_suffix(options: RunOptions, target: str) -> None:
    touch("in/a.ome.tif")
    expected = target if options.format != "png" else "a.png"
    assert targets(plan("in", "out", options)) == [f"out/{expected}"]


def test_several_directories_are_mirrored_into_one() -> None:
    touch("a/x.png", "b/y.png", "b/sub/x.png")
    assert targets(plan(["a", "b"])) == ["out/sub/x.png", "out/x.png", "out/y.png"]


def test_an_input_named_twice_is_one() -> None:
    touch("in/x.png")
    assert targets(plan(["in", "in/x.png", "./in"])) == ["out/x.png"]


def test_globs_that_the_shell_left_alone_keep_their_place() -> None:
    touch("in/a/x.png", "in/b/x.png", "in/b/y.jpg", "in/[1].png")
    assert targets(plan("in/**/*.png")) == ["out/[1].png", "out/a/x.png", "out/b/x.png"]
    assert targets(plan("in/[1].png")) == ["out/[1].png"]
    assert failures(plan("in/*.tif"))["in/*.tif"] == "no file matches this pattern"


@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_list_files(separator: str) -> None:
    touch("in/a/x.png", "in/b/x.png", "in/new\nline.png")
    listed = ["in/a/x.png", "in/b/x.png"] + (["in/new\nline.png"] if separator == "\0" else [])
    Path("list.txt").write_bytes(separator.join(listed).encode())
    assert targets(plan("@list.txt")) == [f"out/{name}" for name in listed]
    with pytest.raises(UsageError, match=r"nothing\.txt"):
        plan("@nothing.txt")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_lists_begin_with_what_tells_their_encoding(encoding: str) -> None:
    touch("in/ä/x.png", "in/b.png")
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    Path("list.txt").write_bytes(f"{mark}in/ä/x.png\r\nin/b.png\r\n".encode(encoding))
    assert targets(plan("@list.txt")) == ["out/in/b.png", "out/in/ä/x.png"]
    Path("list.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(UsageError, match="begins as UTF-16"):
        plan("@list.txt")


@pytest.mark.parametrize(
    ("inputs", "output", "what"), [("", "out", "INPUT"), ("in", "", "OUT"), ("@", "out", "--from")]
)
def test_an_empty_argument_is_not_the_current_directory(inputs: str, output: str, what: str) -> None:
    touch("in/a.png")
    with pytest.raises(UsageError, match=f"^{what}"):
        plan(inputs, output)
    with pytest.raises(UsageError, match=f"^{what}"):
        run([inputs], output)


def test_a_list_from_outside_cannot_lead_out_of_the_output_directory() -> None:
    touch("x.png", "sub/here")
    Path("list.txt").write_text("sub/../../" + Path.cwd().name + "/x.png\n" + str(Path("x.png").resolve()))
    assert {Path(target) for target in targets(plan("@list.txt"))} == {Path("out/x.png")}


# What is read.


def test_hidden_system_and_output_files_are_passed_over() -> None:
    touch("in/a.png", "in/.hidden.png", "in/.git/b.png", "in/@eaDir/c.jpg", "in/Thumbs.db", "in/._a.png")
    touch("in/out/a.png", "in/residual/a.png.tif", "in/__MACOSX/d.png")
    made = plan("in", "in/out", RunOptions(save_residual=Path("in/residual")))
    assert targets(made) == ["in/out/a.png"]
    assert made.ignored == 3


def test_include_and_exclude() -> None:
    touch("in/a.png", "in/a_preview.jpg", "in/raw/b.png", "in/raw/old/c.png", "in/tmp/d.png")
    assert targets(plan("in", options=RunOptions(include=("*.png",)))) == [
        "out/a.png",
        "out/raw/b.png",
        "out/raw/old/c.png",
        "out/tmp/d.png",
    ]
    assert targets(plan("in", options=RunOptions(exclude=("tmp", "*_preview.*", "raw/old/*")))) == [
        "out/a.png",
        "out/raw/b.png",
    ]
    assert targets(plan("in", options=RunOptions(include=("raw/*",)))) == ["out/raw/b.png", "out/raw/old/c.png"]
    assert targets(plan("in", options=RunOptions(recursive=False))) == ["out/a.png", "out/a_preview.jpg"]


@pytest.mark.parametrize(
    ("glob", "fitting"),
    [
        ("**/*.tif", ["a.tif", "sub/b.tif", "x/sub/c.tif"]),
        ("**/sub/*", ["sub/b.tif", "x/sub/c.tif"]),
        ("**/sub/", ["sub/b.tif", "x/sub/c.tif"]),
        ("sub/", ["sub/b.tif"]),
        ("/sub/", ["sub/b.tif"]),
        ("x/", ["x/d.png", "x/sub/c.tif"]),
    ],
)
def test_globs_of_directories(glob: str, fitting: list[str]) -> None:
    every = ["a.tif", "sub/b.tif", "x/d.png", "x/sub/c.tif"]
    touch(*(f"in/{name}" for name in every))
    assert targets(plan("in", options=RunOptions(include=(glob,)))) == [f"out/{name}" for name in fitting]
    left = [f"out/{name}" for name in every if name not in fitting]
    assert targets(plan("in", options=RunOptions(exclude=(glob,)))) == left


def test_a_directory_is_excluded_by_its_name_at_any_depth() -> None:
    touch("in/sub/a.png", "in/x/sub/b.png", "in/c.png")
    assert targets(plan("in", options=RunOptions(exclude=("**/sub",)))) == ["out/c.png"]


def test_arguments_that_are_no_images_fail_but_files_in_directories_do_not() -> None:
    touch("notes.txt", "in/notes.txt", "in/a.png")
    Path("photo").write_bytes(b"\x89PNG\r\n\x1a\n")
    made = plan(["notes.txt", "photo", "nothing.png", "in"])
    assert set(failures(made)) == {"notes.txt", "nothing.png"}
    assert targets(made) == ["out/a.png", "out/photo"]
    assert made.found == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links() -> None:
    touch("in/a.png", "elsewhere/b.png", "elsewhere/sub/c.png")
    Path("in/link.png").symlink_to(Path("in/a.png").resolve())
    Path("in/other").symlink_to(Path("elsewhere").resolve())
    Path("in/broken.png").symlink_to("gone.png")
    Path("in/itself.png").symlink_to("itself.png")
    Path("in/notes.txt").symlink_to("gone.txt")
    Path("elsewhere/sub/up").symlink_to(Path("in").resolve())
    made = plan("in")
    assert targets(made) == ["out/a.png", "out/link.png", "out/other/b.png", "out/other/sub/c.png"]
    reasons = failures(made)
    assert reasons["in/broken.png"] == "a broken symbolic link to gone.png"
    assert reasons["in/itself.png"] == "a loop of symbolic links"
    assert "leads back" in reasons["in/other/sub/up"]
    assert len(reasons) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="paths so long need a setting there")
def test_trees_deeper_than_python_recurses() -> None:
    touch("in/a.png")
    os.chdir("in")
    for _ in range(700):
        Path("d").mkdir()
        os.chdir("d")
    touch("b.png")
    os.chdir(Path(*[".."] * 701))
    try:
        assert [item.relative for item in plan("in").items] == ["a.png", "d/" * 700 + "b.png"]
    finally:  # what removes temporary folders may recurse
        Path("in", "d/" * 700, "b.png").unlink()
        os.removedirs("in/" + "d/" * 700)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_loops_that_are_hidden_or_excluded_stop_nothing() -> None:
    touch("in/a.png")
    for name in (".loop", "loop"):
        Path("in", name).symlink_to(name)
    made = plan("in", options=RunOptions(exclude=("loop",)))
    assert (targets(made), failures(made), made.ignored) == (["out/a.png"], {}, 2)
    assert failures(plan("in/loop")) == {"in/loop": "a loop of symbolic links"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_cannot_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    Path("link.png").symlink_to("gone.png")
    monkeypatch.setattr("os.readlink", refuse)
    assert failures(plan("link.png")) == {"link.png": "a broken symbolic link"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_pipes_and_sockets_are_never_opened() -> None:
    touch("in/a.png")
    os.mkfifo("in/pipe.png")
    os.mkfifo("in/pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("in/socket.tif")
        reasons = failures(plan(["in", "in/pipe"]))
    assert reasons["in/pipe.png"].startswith("a named pipe")
    assert reasons["in/socket.tif"].startswith("a socket")
    assert reasons["in/pipe"].startswith("a named pipe")


# What is refused.


def test_two_inputs_of_one_output_are_refused_by_name() -> None:
    touch("in/a.jpg", "in/a.png", "in/b.png")
    with pytest.raises(UsageError, match=r"in/a\.jpg and in/a\.png .* out/a\.tif"):
        plan("in", options=RunOptions(format="tiff"))
    touch("other/b.png")
    with pytest.raises(UsageError, match=r"in/b\.png and other/b\.png"):
        plan(["in", "other"])


def test_names_that_differ_in_composition_alone_are_refused() -> None:
    touch("in/caf\u00e9.png", "in/cafe\u0301.png")
    if len(list(Path("in").iterdir())) == 2:
        with pytest.raises(UsageError, match="would both be written"):
            plan("in")


def test_names_that_differ_in_case_collide_where_the_file_system_folds_case(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/A.png")
    if len(list(Path("in").iterdir())) < 2:
        pytest.skip("this file system folds case by itself")
    assert len(targets(plan("in"))) == 2
    monkeypatch.setattr("denoiser.batch.plan._folds_case", lambda folder: True)
    with pytest.raises(UsageError, match=r"A\.png and in/a\.png"):
        plan("in")


def test_the_input_directory_as_output_is_refused_without_a_suffix() -> None:
    touch("in/a.png", "in/sub/b.png")
    with pytest.raises(UsageError, match="--suffix"):
        plan("in", "in")
    with pytest.raises(UsageError, match="--suffix"):
        plan("in", "in/sub/..")
    assert targets(plan("in", "in", RunOptions(suffix="_x"))) == ["in/a_x.png", "in/sub/b_x.png"]


def test_what_was_made_is_no_input_where_outputs_lie_among_inputs() -> None:
    touch("in/a.png", "in/a_x.png")
    manifest = Manifest(Path("in"))
    manifest.open()
    manifest.append(entry("a_x.png", Path("in/a.png"), Path("in/a_x.png")))
    manifest.close()
    made = plan("in", "in", RunOptions(suffix="_x"))
    assert [(item.place, item.action) for item in made.items] == [("a_x.png", Action.SKIP)]


@pytest.mark.parametrize("kind", ["same", "hard link", "link", "parent"])
def test_an_output_that_would_overwrite_an_input_is_refused(kind: str) -> None:
    touch("in/sub/a.png", "in/sub/b.png", "out/keep")
    if kind == "same":
        arguments = ("in/sub/a.png", "in/sub/a.png")
    elif kind == "hard link":
        os.link("in/sub/b.png", "out/a.png")
        arguments = ("in/sub", "out")
    elif kind == "link":
        Path("out/a.png").symlink_to(Path("in/sub/b.png").resolve())
        arguments = ("in/sub", "out")
    else:
        arguments = ("in/sub/a.png", "in/sub/b.png")
        arguments = (*arguments[:1], "in/sub")
    for exists in ("skip", "overwrite", "error"):
        with pytest.raises(UsageError, match="overwrite the input"):
            plan(arguments[0], arguments[1], RunOptions(exists=exists))


def test_residuals() -> None:
    touch("in/a.png", "in/a.tif")
    made = plan("in", options=RunOptions(save_residual=Path("res")))
    assert [item.residual for item in made.items] == [Path("res/a.png.tif"), Path("res/a.tif.tif")]
    with pytest.raises(UsageError, match="--save-residual"):
        plan("in", options=RunOptions(save_residual=Path("out")))


# What is there already.


def entry(place: str, source: Path, output: Path, key: str = "key") -> Entry:
    return Entry(place, Stamp.of(source.stat()), content_hash(source), Stamp.of(output.stat()), key)


@pytest.fixture
def finished() -> Path:
    """``in/a.png`` was made into ``out/a.png``."""
    touch("in/a.png", "out/a.png")
    manifest = Manifest(Path("out"))
    manifest.open()
    manifest.append(entry("a.png", Path("in/a.png"), Path("out/a.png")))
    manifest.close()
    return Path("in/a.png")


def only(options: RunOptions | None = None) -> Item:
    (item,) = plan("in", options=options).items
    return item


def test_what_is_done_is_skipped(finished: Path) -> None:
    item = only()
    assert (item.action, item.reason, item.warning, item.refresh) == (Action.SKIP, "done before", "", None)


def test_a_touched_input_is_skipped_and_its_new_time_remembered(finished: Path) -> None:
    os.utime(finished, (1, 1))
    item = only()
    assert item.action is Action.SKIP
    assert item.refresh is not None
    assert item.refresh.source == Stamp.of(finished.stat())


def test_a_changed_input_is_done_again(finished: Path) -> None:
    finished.write_bytes(b"other, longer content")
    assert (only().action, only().reason, only().replaces) == (Action.PROCESS, "the input has changed", True)


def test_a_changed_input_of_equal_size_is_done_again(finished: Path) -> None:
    finished.write_bytes(finished.read_bytes()[::-1])
    os.utime(finished, (1, 1))
    assert only().action is Action.PROCESS


def test_a_changed_key_does_it_again(finished: Path) -> None:
    destination = Destination.of("out")
    (item,) = make_plan(["in"], destination, RunOptions(), "other key", Manifest(Path("out"))).items
    assert (item.action, item.reason) == (Action.PROCESS, "the model or the options have changed")


def test_a_missing_output_is_done_again(finished: Path) -> None:
    Path("out/a.png").unlink()
    assert (only().action, only().replaces) == (Action.PROCESS, False)


def test_a_missing_residual_does_it_again(finished: Path) -> None:
    assert only(RunOptions(save_residual=Path("res"))).reason == "its residual is missing"


@pytest.mark.parametrize("same_size", [False, True])
def test_an_edited_output_is_left_alone_when_the_input_changes(finished: Path, same_size: bool) -> None:
    output = Path("out/a.png")
    output.write_bytes(output.read_bytes()[::-1] if same_size else b"painted over")
    os.utime(output, (5, 5))
    finished.write_bytes(b"other content")
    item = only()
    assert item.action is Action.SKIP
    assert "was changed since it was made" in item.warning
    assert "--exists overwrite" in item.warning
    assert only(RunOptions(exists="overwrite")).action is Action.PROCESS


def test_a_foreign_output_is_left_alone() -> None:
    touch("in/a.png", "out/a.png")
    item = only()
    assert item.action is Action.SKIP
    assert "not made by this program" in item.warning
    assert only(RunOptions(exists="overwrite")).replaces


def test_a_copied_output_directory_is_still_done(finished: Path) -> None:
    os.utime("out/a.png", (7, 7))
    assert only().reason == "done before"


def test_a_foreign_residual_is_not_destroyed() -> None:
    touch("in/a.png", "res/a.png.tif")
    assert only(RunOptions(save_residual=Path("res"))).action is Action.SKIP


def test_rename_takes_the_first_free_name() -> None:
    touch("in/a.png", "in/a-2.png", "out/a.png", "out/a-1.png")
    made = plan("in", options=RunOptions(exists="rename"))
    assert targets(made) == ["out/a-2.png", "out/a-3.png"]
    assert [item.place for item in made.items] == ["a-2.png", "a-3.png"]


def test_error_refuses_the_whole_run() -> None:
    touch("in/a.png", "in/b.png", "out/b.png")
    with pytest.raises(UsageError, match=r"1 of 2 outputs exist already, the first is out/b\.png"):
        plan("in", options=RunOptions(exists="error"))


def test_a_directory_in_the_place_of_an_output_fails_its_file() -> None:
    touch("in/a.png", "in/b.png", "out/a.png/x")
    assert list(failures(plan("in"))) == ["in/a.png"]


def test_young_files_are_left_for_the_next_run() -> None:
    touch("in/old.png", "in/new.png")
    os.utime("in/old.png", (time.time() - 100, time.time() - 100))
    made = plan("in", options=RunOptions(min_age=50))
    assert [(item.place, item.action) for item in made.items] == [
        ("new.png", Action.SKIP),
        ("old.png", Action.PROCESS),
    ]


# Shares.

ITEMS = st.lists(
    st.tuples(st.text(string.ascii_letters, min_size=1, max_size=4), st.integers(0, 10**9)),
    unique_by=lambda pair: pair[0],
    max_size=40,
).map(lambda pairs: [Item(Path(n), n, Path("out", n), Action.PROCESS, Stamp(size, 0)) for n, size in pairs])


@given(ITEMS, st.integers(1, 9))
def test_shares_are_disjoint_complete_ordered_and_even(items: list[Item], count: int) -> None:
    shares = [share_out(items, index, count) for index in range(count)]
    assert sorted(item.place for share in shares for item in share) == sorted(item.place for item in items)
    for share in shares:
        assert share == [item for item in items if item in share]
    loads = [sum(item.stamp.size for item in share) for share in shares]
    largest = max((item.stamp.size for item in items), default=0)
    assert max(loads) - min(loads) <= largest + 40 * 64 * 1024


@given(ITEMS, st.integers(1, 5), st.randoms())
def test_a_share_does_not_depend_on_the_order_of_the_inputs(items: list[Item], count: int, random: object) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = share_out(items, 0, count), share_out(shuffled, 0, count)
    assert {item.place for item in one} == {item.place for item in other}


def test_every_failure_belongs_to_one_share() -> None:
    touch("in/a.png", "in/b.png", "in/c.png")
    made = [plan(["in", "nothing.png"], options=RunOptions(shard=(index, 3))) for index in range(3)]
    assert sum(len(each.items) for each in made) == 4
    assert sum(len(failures(each)) for each in made) == 1
    assert {each.found for each in made} == {3}


NAME = st.text("abAB ._é", min_size=1, max_size=6).filter(lambda name: not name.startswith(".") and name.strip(" ."))


@given(st.sets(st.tuples(NAME, st.sampled_from([".png", ".jpg", ".tif", ".ome.tif"])), max_size=12), st.data())
def test_no_two_targets_are_equal_or_the_plan_is_refused(files: set[tuple[str, str]], data: st.DataObject) -> None:
    from tempfile import TemporaryDirectory

    options = RunOptions(
        format=data.draw(st.sampled_from(["keep", "tiff", "png"])), suffix=data.draw(st.sampled_from(["", "_x"]))
    )
    with TemporaryDirectory() as folder:
        for stem, suffix in files:
            Path(folder, stem + suffix).write_bytes(b"")
        try:
            made = plan(folder, f"{folder}/out", options)
        except UsageError:
            assert options.format != "keep"
            return
    names = [item.target for item in made.items]
    assert len(set(names)) == len(names) == len(files)


# What only looks like a path, and what only looks new.


@pytest.mark.parametrize("address", ["s3://bucket/in", "s3:/bucket/in", "gs://bucket/a.png"])
def test_addresses_of_stores_make_no_folders(address: str) -> None:
    """What reaches the plan as an address would be a folder ``s3:``."""
    touch("in/a.png")
    Path("list.txt").write_text(f"{address}\n")
    for inputs, output in ((address, "out"), ("@list.txt", "out"), ("in", address)):
        with pytest.raises(UsageError, match=r"names an object store, where only INPUT and OUT of `denoiser run` may"):
            plan(inputs, output)
    for field in ("report", "events", "save_residual"):
        with pytest.raises(UsageError, match=f"--{field.replace('_', '-')} .*://"):
            RunOptions(**{field: Path(address)})  # type: ignore[arg-type]


def test_a_glob_may_stand_for_no_directory_anywhere() -> None:
    touch("in/raw/a.png", "in/raw/x/b.png", "in/raw/x/y/c.png", "in/other/d.png", "in/[1].png", "in/1.png")
    for glob in ("raw/**/*.png", "./raw/**/*.png", "**/raw/**/*.png"):
        found = targets(plan("in", options=RunOptions(include=(glob,))))
        assert found == ["out/raw/a.png", "out/raw/x/b.png", "out/raw/x/y/c.png"]
    # Two stars within a name are no directories.
    touch("in/rawx.png")
    assert not plan("in", options=RunOptions(include=("raw**/x.png",))).items
    assert "out/[1].png" not in targets(plan("in", options=RunOptions(exclude=("[1].png",))))
    assert targets(plan("in", options=RunOptions(include=("raw/x/**/**/*.png",)))) == [
        "out/raw/x/b.png",
        "out/raw/x/y/c.png",
    ]


def test_outputs_of_earlier_runs_below_the_input_are_told() -> None:
    touch("in/a.png", "in/clean/a.png", "in/clean/.denoiser/manifest.jsonl")
    assert plan("in").made == (Path("in/clean"),)
    assert plan("in", "in/clean").made == ()  # not read at all
    assert plan("in", options=RunOptions(exclude=("clean/",))).made == ()
    assert plan("in/clean").made == ()  # named by the user


def test_files_from_the_future_are_not_ripe() -> None:
    touch("in/a.png", "in/b.png")
    now = time.time()
    os.utime("in/a.png", (now + 30, now + 30))
    os.utime("in/b.png", (now + 900, now + 900))
    made = plan("in", options=RunOptions(min_age=60))
    assert [item.action for item in made.items] == [Action.SKIP, Action.PROCESS]
    assert "from now, by its time" in made.items[0].reason
