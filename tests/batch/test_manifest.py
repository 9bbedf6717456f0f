from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.batch import manifest as module
from denoiser.batch.manifest import Entry, Manifest, Stamp, content_hash
from denoiser.errors import OutputError

STAMPS = st.builds(Stamp, st.integers(0, 2**50), st.integers(0, 2**62))
ENTRIES = st.builds(Entry, st.text(), STAMPS, st.text("0123456789abcdef"), STAMPS, st.text(), st.none() | STAMPS)


def make(place: str = "a.png", size: int = 10, mtime: int = 5, key: str = "k") -> Entry:
    return Entry(place, Stamp(1, 2), "00", Stamp(size, mtime), key)


def write(root: Path, *entries: Entry, share: str = "") -> None:
    manifest = Manifest(root, share)
    manifest.open()
    for entry in entries:
        manifest.append(entry)
    manifest.close()


@given(ENTRIES)
def test_a_line_gives_its_entry_back(entry: Entry) -> None:
    assert entry.line().count(b"\n") == 1
    assert Entry.parse(entry.line()) == entry


@given(ENTRIES, st.data())
def test_a_torn_line_is_none_or_whole(entry: Entry, data: st.DataObject) -> None:
    line = entry.line()
    cut = data.draw(st.integers(0, len(line) - 2))
    assert Entry.parse(line[:cut]) is None


@pytest.mark.parametrize("line", [b"", b"[]", b"null", b"{}", b'{"v": 2}', b"\xff", b'{"v":1,"target":1,"source":[1]}'])
def test_other_lines_say_nothing(line: bytes) -> None:
    assert Entry.parse(line) is None


@pytest.mark.parametrize("field", ["target", "source", "output", "content", "key", "residual"])
@pytest.mark.parametrize("value", [["a"], [1, "x"], [None, 1], 5, {"a": 1}])
def test_lines_with_odd_values_say_nothing(field: str, value: object) -> None:
    record = json.loads(make().line()) | {field: value}
    assert Entry.parse(json.dumps(record).encode()) is None


def test_a_line_nested_without_end_says_nothing() -> None:
    assert Entry.parse(b"[" * 100_000) is None


def test_names_that_are_no_utf8_survive() -> None:
    entry = make(os.fsdecode(b"caf\xe9.png"))
    assert Entry.parse(entry.line()) == entry


def test_a_torn_last_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    write(tmp_path, make("a"), make("b"))
    path = tmp_path / ".denoiser" / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    write(tmp_path, make("c"))
    assert set(Manifest(tmp_path).entries) == {"a", "c"}


def test_a_line_cut_short_by_a_full_disk_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(tmp_path)
    manifest.open()
    manifest.append(make("a"))
    write_all = os.write
    monkeypatch.setattr(module.os, "write", lambda file, data: write_all(file, data[:9]))
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            manifest.append(make("b"))
    monkeypatch.undo()
    manifest.append(make("c"))  # by another thread, when a temporary file is gone
    manifest.append(make("d"))
    manifest.close()
    assert set(Manifest(tmp_path).entries) == {"a", "c", "d"}


def test_the_file_that_is_there_decides_which_entry_speaks(tmp_path: Path) -> None:
    write(tmp_path, make(size=10, mtime=1, key="old"), make(size=10, mtime=2, key="new"))
    manifest = Manifest(tmp_path)

    def current(size: int, mtime: int) -> tuple[str | None, bool]:
        entry, certain = manifest.current("a.png", Stamp(size, mtime))
        return entry and entry.key, certain

    # The second line was written, then the run was killed before the rename: the first still speaks.
    assert current(10, 1) == ("old", True)
    assert current(10, 2) == ("new", True)
    assert current(10, 3) == ("new", False)
    assert current(11, 2) == (None, False)
    assert manifest.current("b.png", Stamp(10, 1)) == (None, False)


@given(st.integers(0, 2**62), st.sampled_from([100, 1_000, 10**7, 10**9, 2 * 10**9]))
def test_times_cut_by_a_file_system_match(mtime: int, step: int) -> None:
    stamp = Stamp(1, mtime)
    assert stamp.matches(Stamp(1, mtime - mtime % step))
    assert not stamp.matches(Stamp(1, mtime + 1))
    assert not stamp.matches(Stamp(2, mtime))


def test_shares_write_apart_and_read_all(tmp_path: Path) -> None:
    write(tmp_path, make("a"), share="1of2")
    write(tmp_path, make("b"), share="2of2")
    assert {path.name for path in (tmp_path / ".denoiser").iterdir()} == {"manifest-1of2.jsonl", "manifest-2of2.jsonl"}
    assert set(Manifest(tmp_path, "1of2").entries) == {"a", "b"}


def test_changes_by_another_run_are_noticed(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert not manifest.changed()
    write(tmp_path, make())
    assert manifest.changed()
    manifest.load()
    assert not manifest.changed()


def test_compaction_keeps_what_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_LINES", 5)
    output = tmp_path / "a.png"
    output.write_bytes(b"x" * 10)
    there = Stamp.of(output.stat())
    history = [make(size=n, mtime=n) for n in range(20)]
    speaking = make(size=there.size, mtime=there.mtime_ns, key="speaks")
    write(tmp_path, *history, speaking, make(size=99, key="killed before the rename"), make("gone.png"))
    write(tmp_path, make("new.png"))
    lines = (tmp_path / ".denoiser" / "manifest.jsonl").read_bytes().splitlines()
    assert [Entry.parse(line) for line in lines] == [speaking, make("new.png")]


def test_what_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file.*manifest\.jsonl"):
        Manifest(tmp_path / "file").open()


def test_the_content_hash_is_blake2b(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 9999)
    assert content_hash(path) == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
