"""Object stores: the same run through the memory store of fsspec, and through an S3 server where one is installed."""

from __future__ import annotations

import io
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from denoiser.batch import Report, RunOptions, Stop, page, run, staging, stores
from denoiser.batch.stores import Address, Store
from denoiser.errors import ExitCode, InputError, OutputError, UnavailableError, UsageError
from tests.batch.fakes import FakeDenoiser, picture, smoothed

Runs = Callable[..., Report]


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(seed)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in memory with five pictures, a text, and one damaged file below ``in``."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for index in range(5):
        system.pipe_file(f"/in/dir {index % 2}/{index}.png", png(index))
    system.pipe_file("/in/notes.txt", b"nothing")
    system.pipe_file("/in/bad.png", png(9)[:-20])
    yield system
    system.store.clear()


@pytest.fixture
def runs() -> Runs:
    def call(output: str | Path = "memory://out", inputs: str | Path = "memory://in", **values: Any) -> Report:
        network: Any = values.pop("network", None) or FakeDenoiser()
        progress, stop = values.pop("progress", None), values.pop("stop", None)
        options = RunOptions(**{"jobs": 2, "max_memory": 1 << 28, **values})
        return run(inputs, output, options, progress, network, stop)

    return call


def outputs(system: Any, base: str = "/out") -> list[str]:
    return sorted(key for key in system.store if key.startswith(f"{base}/") and "/.denoiser/" not in key)


def statuses(report: Report) -> list[str]:
    return [str(result.status) for result in report.files]


GOOD = [f"/out/dir {index % 2}/{index}.png" for index in (0, 2, 4, 1, 3)]


def test_a_store_is_denoised_as_a_folder_would_be(memory: Any, runs: Runs) -> None:
    report = runs()
    assert report.exit_code is ExitCode.SOME_FAILED
    assert statuses(report) == ["failed", *["done"] * 5]
    assert str(report.output) == "memory://out"
    assert str(report.files[1].source) == "memory://in/dir 0/0.png"
    assert str(report.files[1].target) == "memory://out/dir 0/0.png"
    assert outputs(memory) == GOOD
    for index in range(5):
        made = np.asarray(Image.open(io.BytesIO(memory.cat_file(f"/out/dir {index % 2}/{index}.png"))))
        np.testing.assert_array_equal(made, smoothed(picture(index)))
    state = [key for key in memory.store if "/.denoiser/" in key]
    assert state == ["/out/.denoiser/manifest.jsonl"], "one manifest, and nothing pending"
    assert "denoiser-" not in json.dumps(report.to_json()), "no name of the local folder is told"


def test_a_second_run_does_what_is_new_or_changed(memory: Any, runs: Runs) -> None:
    runs()
    before = {key: memory.store[key].created for key in GOOD}
    memory.rm_file("/in/bad.png")
    report = runs()
    assert statuses(report) == ["skipped"] * 5
    assert report.exit_code is ExitCode.OK
    assert {key: memory.store[key].created for key in GOOD} == before
    memory.pipe_file("/in/dir 0/0.png", png(100))
    memory.pipe_file("/in/new.png", png(101))
    memory.rm_file("/out/dir 1/1.png")
    memory.pipe_file("/out/dir 1/3.png", b"edited by hand")
    report = runs()
    found = {result.source.name: str(result.status) for result in report.files}
    assert {name for name, status in found.items() if status == "done"} == {"0.png", "1.png", "new.png"}
    assert len(found) == 6 and set(found.values()) == {"done", "skipped"}
    assert memory.cat_file("/out/dir 1/3.png") == b"edited by hand"
    assert any("left alone" in warning for result in report.files for warning in result.warnings)
    assert statuses(runs(strength=0.5)).count("done") == 5


def test_local_and_remote_go_together(memory: Any, runs: Runs, tmp_path: Path) -> None:
    assert runs(tmp_path / "out").totals()["done"] == 5
    assert (tmp_path / "out" / "dir 0" / "2.png").exists()
    assert statuses(runs(tmp_path / "out")).count("skipped") == 5
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(3))
    assert statuses(runs("memory://b", tmp_path / "in")) == ["done"]
    assert outputs(memory, "/b") == ["/b/a.png"]
    assert statuses(runs("memory://c/one.png", "memory://in/dir 0/0.png")) == ["done"]
    assert outputs(memory, "/c") == ["/c/one.png"]
    assert statuses(runs("memory://c/one.png", "memory://in/dir 0/0.png")) == ["skipped"]


def test_what_cannot_be_is_refused_and_touches_nothing(memory: Any, runs: Runs, tmp_path: Path) -> None:
    before = dict(memory.store)
    for output, inputs, values in (
        ("memory://in", "memory://in", {}),
        ("memory://out", "memory://in/*.png", {}),
        ("ftp://host/out", "memory://in", {}),
        ("memory://out", "memory://in", {"save_residual": tmp_path}),
        ("memory://out", "memory://in", {"device": "cuda:0,cuda:1"}),
    ):
        with pytest.raises(UsageError) as caught:
            runs(output, inputs, **values)
        assert "denoiser-" not in str(caught.value), "no name of the local folder is told"
    with pytest.raises(InputError, match="memory://nowhere"):
        runs("memory://out", "memory://nowhere")
    assert memory.store == before


def test_outputs_below_the_input_are_no_inputs(memory: Any, runs: Runs) -> None:
    memory.rm_file("/in/bad.png")
    assert runs("memory://in/clean").totals()["done"] == 5
    again = runs("memory://in/clean")
    assert statuses(again) == ["skipped"] * 5
    assert again.found == 5


def test_a_dry_run_writes_nothing(memory: Any, runs: Runs) -> None:
    before = dict(memory.store)
    assert statuses(runs(dry_run=True)) == ["planned"] * 6
    assert memory.store == before


def test_shares_together_make_the_whole(memory: Any, runs: Runs) -> None:
    memory.rm_file("/in/bad.png")
    for index in range(3):
        assert runs(shard=(index, 3)).exit_code is ExitCode.OK
    assert outputs(memory) == GOOD
    assert statuses(runs()) == ["skipped"] * 5


def test_limits_and_stops_keep_what_is_done_and_the_next_run_goes_on(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.rm_file("/in/bad.png")
    monkeypatch.setattr(staging, "CHUNK_FILES", 2)
    assert runs(max_files=3).exit_code is ExitCode.STOPPED
    assert len(outputs(memory)) == 3
    stop = Stop()
    stop.request(ExitCode.TERMINATED)
    assert runs(stop=stop).exit_code is ExitCode.TERMINATED
    assert statuses(runs()) == ["skipped"] * 3 + ["done"] * 2


def test_a_kill_leaves_no_half_output_and_what_was_pending_is_done_again(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends after two outputs of a chunk, before the chunk's manifest is written."""
    memory.rm_file("/in/bad.png")
    monkeypatch.setattr(staging, "CHUNK_FILES", 3)
    put = Store.put
    written: list[str] = []

    def killed(store: Store, path: Path, relative: str) -> Any:
        if len([each for each in written if each.endswith(".png")]) >= 2:
            raise KeyboardInterrupt
        written.append(relative)
        return put(store, path, relative)

    with monkeypatch.context() as context:
        context.setattr(Store, "put", killed)
        context.setattr(staging.Journal, "end", lambda journal, made: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            runs(jobs=1)
    assert len(outputs(memory)) == 2
    for key in outputs(memory):
        Image.open(io.BytesIO(memory.cat_file(key))).load()
    assert [key for key in memory.store if "pending" in key] == ["/out/.denoiser/pending.json"]
    assert statuses(runs()) == ["done"] * 5
    assert outputs(memory) == GOOD
    assert statuses(runs()) == ["skipped"] * 5


def test_what_a_dead_share_had_pending_is_made_once(memory: Any, runs: Runs) -> None:
    memory.rm_file("/in/bad.png")
    assert statuses(runs()) == ["done"] * 5
    made = [key.removeprefix("/out/") for key in outputs(memory)]
    memory.rm_file("/out/.denoiser/manifest.jsonl")
    memory.pipe_file("/out/.denoiser/pending-0of2.json", json.dumps(made[:2]).encode())
    assert sorted(statuses(runs())) == ["done"] * 2 + ["skipped"] * 3, "the others may be anybody's"
    assert [key for key in memory.store if "pending" in key] == []
    memory.pipe_file(f"/out/{made[0]}", b"somebody's")
    assert statuses(runs()) == ["skipped"] * 5
    assert memory.cat_file(f"/out/{made[0]}") == b"somebody's"


def test_what_was_pending_stays_so_until_it_is_made(memory: Any, runs: Runs) -> None:
    memory.rm_file("/in/bad.png")
    assert statuses(runs()) == ["done"] * 5
    made = [key.removeprefix("/out/") for key in outputs(memory)]
    memory.rm_file("/out/.denoiser/manifest.jsonl")
    memory.pipe_file("/out/.denoiser/pending.json", json.dumps(made).encode())
    assert statuses(runs(max_files=2)).count("done") == 2
    assert sorted(json.loads(memory.cat_file("/out/.denoiser/pending.json"))) == sorted(made[2:])
    assert statuses(runs()).count("done") == 3
    assert [key for key in memory.store if "pending" in key] == []
    assert statuses(runs()) == ["skipped"] * 5


def test_an_object_from_elsewhere_is_left_alone_after_a_kill(memory: Any, runs: Runs) -> None:
    memory.rm_file("/in/bad.png")
    assert statuses(runs()) == ["done"] * 5
    place = outputs(memory)[0].removeprefix("/out/")
    memory.pipe_file("/out/.denoiser/pending-0of2.json", json.dumps([place]).encode())
    assert statuses(runs()) == ["skipped"] * 5, "the manifest tells of it"
    assert [key for key in memory.store if "pending" in key] == []


def test_state_that_another_share_renews_meanwhile_is_read_again(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.rm_file("/in/bad.png")
    assert runs().exit_code is ExitCode.OK
    memory.pipe_file("/out/.denoiser/manifest-0of2-00000000-000000.jsonl", b"")
    get = Store.get

    def meanwhile(store: Store, relative: str, path: Path, stamp: Any) -> None:
        if "0of2" in relative:
            memory.rm_file(f"/out/{relative}")
        get(store, relative, path, stamp)

    monkeypatch.setattr(Store, "get", meanwhile)
    assert statuses(runs()) == ["skipped"] * 5


def test_lines_are_kept_where_the_manifest_was_compacted(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.rm_file("/in/bad.png")
    stale = json.dumps({"v": 1, "target": "gone.png"}) + "\n"
    memory.pipe_file("/out/.denoiser/manifest.jsonl", stale.encode() * 3000)
    monkeypatch.setattr(staging, "CHUNK_FILES", 2)
    monkeypatch.setattr(staging.Journal, "close", lambda journal: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runs(jobs=1)
    monkeypatch.undo()
    assert statuses(runs()) == ["skipped"] * 5


def test_requests_that_fail_now_and_then_are_made_again(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.rm_file("/in/bad.png")
    monkeypatch.setattr(stores, "PAUSES", (0.0,) * 4)
    dropped: set[tuple[str, str]] = set()

    def flaky(name: str) -> Callable[..., Any]:
        request = getattr(type(memory), name)

        def call(*arguments: Any, **settings: Any) -> Any:
            # Each request by itself: threads that counted together could drop one and the same again and again.
            asked = name, str(arguments[:2])
            if asked not in dropped:
                dropped.add(asked)
                raise ConnectionResetError("dropped")
            return request(memory, *arguments, **settings)

        return call

    for name in ("find", "get_file", "put_file", "info", "rm_file"):
        monkeypatch.setattr(memory, name, flaky(name))
    assert runs().exit_code is ExitCode.OK
    monkeypatch.undo()
    assert {name for name, _ in dropped} >= {"find", "get_file", "put_file"} and len(dropped) > 10
    assert outputs(memory) == GOOD


def test_a_store_that_is_gone_ends_the_run_with_its_exit_code(
    memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PAUSES", (0.0,))

    def gone(*arguments: Any) -> None:
        raise PermissionError(13, "access denied")

    monkeypatch.setattr(memory, "put_file", gone)
    report = runs()
    assert report.exit_code is ExitCode.OUTPUT
    assert "memory://out" in report.message and "access denied" in report.message
    assert outputs(memory) == []


def test_an_object_that_cannot_be_read_fails_alone(memory: Any, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAUSES", (0.0,))
    get = type(memory).get_file

    def missing(key: str, *arguments: Any) -> None:
        if key.endswith("2.png"):
            raise FileNotFoundError(key)
        get(memory, key, *arguments)

    monkeypatch.setattr(memory, "get_file", missing)
    report = runs()
    assert {result.source.name for result in report.failures} == {"2.png", "bad.png"}
    assert report.totals()["done"] == 4


def test_a_report_of_a_store_shows_a_few_files_of_all_chunks(
    memory: Any, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "CHUNK_FILES", 2)
    monkeypatch.setattr(page, "PICTURES", 2)
    runs(report=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "memory://in → memory://out" in text and "denoiser-" not in text
    assert text.count('class="panel sheet"') in (1, 2), "of the files that are chosen one may have failed"


def test_a_client_that_is_missing_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UnavailableError, match=r"image-denoiser\[s3\]"):
        runs("s3://bucket/out", "s3://bucket/in")


def test_addresses_are_shown_as_they_are_written() -> None:
    address = Address("s3://bucket/in/a.png")
    assert (str(address), address.name, str(address.parent)) == ("s3://bucket/in/a.png", "a.png", "s3://bucket/in")
    assert stores.is_address("s3://a") and not stores.is_address(Path("/data/a"))


@pytest.mark.parametrize(
    "info",
    [{"LastModified": "2024-01-02T03:04:05+00:00"}, {"mtime": 1704164645.0}, {"created": "2024-01-02T03:04:05"}, {}],
)
def test_times_of_objects(info: dict[str, Any]) -> None:
    assert stores._nanoseconds(info) in (1704164645 * 10**9, 0)
    assert bool(stores._nanoseconds(info)) == bool(info)


def test_a_size_that_is_not_what_was_sent_is_found(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"four")
    monkeypatch.setattr(memory, "info", lambda key: {"size": 3})
    with pytest.raises(OutputError, match="not complete"):
        Store.of("memory://out").put(tmp_path / "a", "a")


# A real S3 client and a server in this process.


class Dropping:
    """A WSGI application that hangs up on every so-many-th request without an answer."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.every = 0
        self.requests = 0
        self.dropped = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.requests += 1
        if self.every and self.requests % self.every == 0:
            self.dropped += 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return self.application(environ, start_response)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Dropping, Any]]:
    """An S3 server with a bucket of twelve pictures, and a client of it."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    werkzeug = pytest.importorskip("werkzeug.serving")
    application = Dropping(moto.DomainDispatcherApplication(moto.create_backend_app))
    serving = werkzeug.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    settings = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    url = f"http://127.0.0.1:{serving.server_port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    for name, value in {**settings, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    client = fsspec.filesystem("s3")
    client.mkdir("bucket")
    for index in range(12):
        client.pipe_file(f"bucket/in/dir {index % 3}/ü{index}.png", png(index))
    yield application, client
    client.clear_instance_cache()
    serving.shutdown()
    thread.join()


def s3_outputs(client: Any) -> list[str]:
    client.invalidate_cache()
    return [key for key in client.find("bucket/out") if "/.denoiser/" not in key]


def test_s3_there_and_back(server: tuple[Dropping, Any], runs: Runs) -> None:
    _, client = server
    report = runs("s3://bucket/out", "s3://bucket/in")
    assert report.exit_code is ExitCode.OK and report.totals()["done"] == 12
    assert str(report.files[0].target) == "s3://bucket/out/dir 0/ü0.png"
    made = np.asarray(Image.open(io.BytesIO(client.cat_file("bucket/out/dir 2/ü11.png"))))
    np.testing.assert_array_equal(made, smoothed(picture(11)))
    assert runs("s3://bucket/out", "s3://bucket/in").totals()["skipped"] == 12
    with pytest.raises(InputError, match="s3://no-bucket"):
        runs("s3://bucket/out", "s3://no-bucket/in")
    with pytest.raises(OutputError, match="s3://no-bucket/out"):
        runs("s3://no-bucket/out", "s3://bucket/in")


def test_s3_that_drops_every_tenth_request(server: tuple[Dropping, Any], runs: Runs) -> None:
    application, client = server
    application.every = 10
    report = runs("s3://bucket/out", "s3://bucket/in")
    assert report.exit_code is ExitCode.OK
    application.every = 0
    assert application.dropped >= 3
    assert len(s3_outputs(client)) == 12
    for index in range(12):
        made = np.asarray(Image.open(io.BytesIO(client.cat_file(f"bucket/out/dir {index % 3}/ü{index}.png"))))
        np.testing.assert_array_equal(made, smoothed(picture(index)))
    assert runs("s3://bucket/out", "s3://bucket/in").totals()["skipped"] == 12
