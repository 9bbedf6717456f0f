"""``--model auto``: each file gets the network that suits its noise, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import denoiser
from denoiser import inference, models, weights
from denoiser.batch import RunOptions, Status, run
from denoiser.batch.auto import Chooser
from denoiser.batch.estimation import estimate_files
from denoiser.batch.job import Job
from denoiser.errors import ExitCode, UnavailableError, UsageError
from denoiser.estimate import MODELS, Advice
from denoiser.inference import Denoiser, InferenceOptions, Piece
from denoiser.inference.engine import CpuEngine
from denoiser.noise import NumpyRandom, parse
from denoiser.tiling import Sheet
from tests.batch.fakes import FakeDenoiser, tree

UNET, PHOTO = MODELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two small networks that change a picture in different ways."""
    import torch

    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        module = models.build("unet", {"channels": [8, 16], "blocks": [1, 1]})
        with torch.no_grad():
            for parameter in module.parameters():
                if not parameter.any():  # the last layer, which would change nothing
                    parameter.normal_(0, 0.01)
        card = weights.Card("unet", models.config_of(module), name=name, purpose="tests", noise="none", licence="CC0")
        weights.save(folder / f"{name}.safetensors", module, card)
    return bundle(folder)


def bundle(folder: Path) -> Path:
    """Write the checksums that bundled files have beside them."""
    lines = [f"{weights.file_hash(path)}  {path.name}\n" for path in sorted(folder.glob("*.safetensors"))]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


@pytest.fixture
def bundled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """These two are all that is bundled."""
    monkeypatch.setattr(weights, "_folders", lambda: (folder,))
    return folder


def noisy(noise: str, seed: int, height: int = 96, width: int = 88) -> Any:
    clean = np.full((1, height, width, 3), 0.5, np.float32)
    values = parse(noise).apply(clean, NumpyRandom(np.random.default_rng(seed)))[0]
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


def make_inputs(folder: Path) -> dict[str, str]:
    """Pictures of both kinds in turn; name -> the network for it."""
    folder.mkdir(parents=True)
    expected = {}
    for index in range(6):
        white = index % 2 == 0
        pixels = noisy("gaussian:15" if white else "correlated:sigma=15,length=1", index, 96 + 8 * index)
        name = f"{index}.png"
        Image.fromarray(pixels).save(folder / name)
        expected[name] = UNET if white else PHOTO
    stack = np.stack([noisy("correlated:sigma=15,length=1", seed) for seed in (10, 11)])
    tifffile.imwrite(folder / "stack.tif", stack, photometric="rgb")
    return expected | {"stack.tif": PHOTO}


def options(**values: Any) -> RunOptions:
    return RunOptions(**{"device": "cpu", "precision": "fp32", "max_memory": 1 << 29, "model": "auto", **values})


def test_every_file_is_what_its_own_network_makes_of_it(tmp_path: Path, bundled: Path) -> None:
    expected = make_inputs(tmp_path / "in")
    notes: list[str] = []

    class Listening:
        def start(self, *arguments: object) -> None: ...
        def advance(self, files: int = 0, megapixels: float = 0.0) -> None: ...
        def finish(self) -> None: ...
        def note(self, message: str, level: str = "info") -> None:
            notes.append(f"{level} {message}")

    report = run(tmp_path / "in", tmp_path / "out", options(verify_tiles=4, tile=64), Listening())
    assert report.exit_code is ExitCode.OK
    assert report.engine["model"] == f"auto ({UNET}, {PHOTO})"
    told = {Path(file["source"]).name: file["choice"] for file in report.to_json()["files"]}
    assert {name: choice["model"] for name, choice in told.items()} == expected
    assert all("sigma 1" in choice["reason"] for choice in told.values())
    assert any(note.startswith("debug ") and f"1.png: {PHOTO}, {told['1.png']['reason']}" in note for note in notes)
    manifest = (tmp_path / "out" / ".denoiser" / "manifest.jsonl").read_text(encoding="utf-8")
    remembered = {entry["target"]: entry["figures"]["model"] for entry in map(json.loads, manifest.splitlines())}
    assert remembered == expected
    assert report.verification is not None and report.verification.largest is not None
    assert report.verification.windows == 4 and report.verification.largest < 1
    made = tree(tmp_path / "out")
    for model in MODELS:
        run(tmp_path / "in", tmp_path / model, options(model=model, tile=64))
        for name, content in tree(tmp_path / model).items():
            assert (content == made[name]) == (expected[name] == model), name


def test_an_ensemble_is_that_of_the_network_of_each_file(tmp_path: Path, bundled: Path) -> None:
    expected = make_inputs(tmp_path / "in")
    report = run(tmp_path / "in", tmp_path / "out", options(ensemble=4))
    assert report.engine["ensemble"] == 4
    for name in ("0.png", "1.png"):
        network = denoiser.load(expected[name], device="cpu", precision="fp32", ensemble=4)
        stored = np.asarray(Image.open(tmp_path / "in" / name))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), network.denoise(stored))


def test_each_network_has_the_memory_of_a_single_one(
    tmp_path: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    class Listening(InferenceOptions):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            given.append(self.max_memory)

    monkeypatch.setattr(inference, "InferenceOptions", Listening)
    make_inputs(tmp_path / "in")
    for model in ("auto", *MODELS):
        run(tmp_path / "in", tmp_path / model, options(model=model))
    assert given == [1 << 28] * 3


def test_a_second_run_skips_until_either_network_changes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "weights"
    own.mkdir()
    for name in MODELS:
        (own / f"{name}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    monkeypatch.setattr(weights, "_folders", lambda: (bundle(own),))
    make_inputs(tmp_path / "in")
    assert run(tmp_path / "in", tmp_path / "out", options()).count(Status.DONE) == 7
    assert run(tmp_path / "in", tmp_path / "out", options()).count(Status.SKIPPED) == 7
    (own / f"{PHOTO}.safetensors").write_bytes((folder / f"{UNET}.safetensors").read_bytes())
    assert run(tmp_path / "in", tmp_path / "out", options()).count(Status.DONE) == 7


def test_without_one_of_the_networks_it_is_not_available(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / f"{UNET}.safetensors").write_bytes((folder / f"{UNET}.safetensors").read_bytes())
    monkeypatch.setattr(weights, "_folders", lambda: (bundle(tmp_path / "weights"),))
    make_inputs(tmp_path / "in")
    with pytest.raises(UnavailableError, match=f"{PHOTO} is not among the bundled models") as caught:
        run(tmp_path / "in", tmp_path / "out", options())
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert not (tmp_path / "out").exists()


def test_a_dry_run_and_an_uncertainty_that_is_not_stated(tmp_path: Path, bundled: Path) -> None:
    make_inputs(tmp_path / "in")
    report = run(tmp_path / "in", tmp_path / "out", options(dry_run=True))
    assert report.estimate is not None and report.count(Status.PLANNED) == 7
    with pytest.raises(UsageError, match=UNET):
        run(tmp_path / "in", tmp_path / "out", options(save_uncertainty=tmp_path / "u"))


def test_a_page_whose_noise_cannot_decide_goes_to_the_first_network(tmp_path: Path, bundled: Path) -> None:
    smooth = "correlated:sigma=15,length=1"
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(noisy(smooth, 0, 63, 65)).save(folder / "small.png")
    Image.fromarray(noisy(smooth, 0, 64, 64)).save(folder / "large.png")
    tifffile.imwrite(folder / "float.tif", noisy(smooth, 0).astype(np.float32) / 255, photometric="rgb")
    expected = {"float.tif": (UNET, "no known range"), "large.png": (PHOTO, "sigma"), "small.png": (UNET, "too small")}
    report = run(folder, tmp_path / "out", options())
    told = {result.source.name: result.choice for result in report.files}
    for name, (model, words) in expected.items():
        assert told[name]["model"] == model and words in told[name]["reason"]
    estimated = {each.source.name: each.pages[0].advice for each in estimate_files(folder).files}
    # A run looks less closely, which may show in the figures.
    assert {name: (each.model, each.reason.split(" (")[0]) for name, each in estimated.items()} == {
        name: (each["model"], each["reason"].split(" (")[0]) for name, each in told.items()
    }
    ranged = run(folder / "float.tif", tmp_path / "ranged.tif", options(white=1.0))
    assert ranged.files[0].choice["model"] == PHOTO


def test_it_is_the_default(tmp_path: Path, bundled: Path) -> None:
    make_inputs(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "named", options())
    report = run(tmp_path / "in", tmp_path / "out", RunOptions(device="cpu", precision="fp32"))
    assert report.options["model"] == "auto"
    assert tree(tmp_path / "out") == tree(tmp_path / "named")


def test_the_weights_of_both_are_in_the_hash(bundled: Path) -> None:
    assert (weights.names("auto"), weights.names("a.safetensors")) == (MODELS, ("a.safetensors",))
    both = [weights.file_hash(bundled / f"{name}.safetensors") for name in MODELS]
    assert weights.model_hash("auto") == "+".join(both)
    assert weights.model_hash(PHOTO) == both[1]


def job(model: str) -> Job:
    made = Job(None, 0)  # type: ignore[arg-type]
    made.advice = Advice(model, "")
    return made


def test_bands_begin_and_end_where_both_networks_can() -> None:
    networks: dict[str, Any] = {name: FakeDenoiser(batch=3) for name in MODELS}
    networks[PHOTO].row_multiple, networks[PHOTO].context_rows = 6, 7
    chooser = Chooser(networks)
    assert (chooser.row_multiple, chooser.context_rows) == (12, 12)


@pytest.fixture(scope="module")
def networks(folder: Path) -> dict[str, Denoiser]:
    loaded: dict[str, Denoiser] = {}
    for name in MODELS:
        module, card = weights.load(folder / f"{name}.safetensors")
        options = InferenceOptions(device="cpu", precision="fp32", max_memory=1 << 29)
        loaded[name] = Denoiser(module, card, options, beside=loaded.get(UNET))
    return loaded


def pieces(order: Sequence[str], height: int, width: int) -> list[Piece]:
    random = np.random.default_rng(0)
    return [
        Piece(random.integers(0, 256, (height, width, 3), dtype=np.uint8), 1 / 255, 1.0, tag=(job(name), None))
        for name in order
    ]


@pytest.mark.parametrize("side", [24, 300, 1500])
def test_pieces_go_to_the_network_of_their_file_in_order(networks: dict[str, Denoiser], side: int) -> None:
    order = [UNET, UNET, PHOTO, UNET, PHOTO, PHOTO, UNET, PHOTO]
    given = pieces(order, side, side + 40)
    made = list(Chooser(networks).stream(iter(given)))
    assert [piece for piece, _ in made] == given
    alone = {name: [one for one, each in zip(given, order, strict=True) if each == name] for name in MODELS}
    expected = {id(piece): values for name in MODELS for piece, values in networks[name].stream(alone[name])}
    for piece, values in made:
        assert np.array_equal(values, expected[id(piece)])


def test_pieces_of_no_file_go_to_the_first_network(networks: dict[str, Denoiser]) -> None:
    piece = Piece(np.full((30, 30, 3), 99, np.uint8), 1 / 255, 1.0)
    ((_, made),) = Chooser(networks).stream([piece])
    ((_, expected),) = networks[UNET].stream([piece])
    assert np.array_equal(made, expected)


def test_small_pieces_share_batches_and_processors_do_not_wait_for_another_network(
    networks: dict[str, Denoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []

    def listen(engine: CpuEngine, items: Any, key: Any, places: int, share: int) -> Any:
        begun.append((key.lane, len(items)))
        return submit(engine, items, key, places, share)

    submit = CpuEngine.submit
    monkeypatch.setattr(CpuEngine, "submit", listen)
    chooser = Chooser(networks)
    list(chooser.stream(pieces([MODELS[index % 2] for index in range(40)], 24, 24)))
    assert sorted(begun) == [(0, 20), (1, 20)]
    begun.clear()
    results = chooser.stream(iter(pieces([UNET, PHOTO] * 6, 600, 600)))
    next(results)
    assert {lane for lane, _ in begun} == {0, 1}  # before the first result was asked for a second time
    results.close()  # type: ignore[attr-defined]
    assert networks[UNET]._engine.workers == networks[PHOTO]._engine.workers


def test_pages_that_go_down_in_bands_are_those_of_their_own_network(networks: dict[str, Denoiser]) -> None:
    height, width, step = 480, 96, 120
    given: list[Piece] = []
    for number, name in enumerate([UNET, PHOTO, UNET]):
        page = pieces([name], height, width)[0]
        sheet, context = Sheet(number, 0, height), networks[name].context_rows
        for start in range(0, height, step):
            first, last = max(0, start - context), min(height, start + step + context)
            if number == 1 and start == 2 * step:
                break  # its file failed
            given.append(
                replace(
                    page,
                    values=page.values[first:last],
                    above=start - first,
                    below=last - min(height, start + step),
                    sheet=sheet,
                    row=first,
                )
            )
    made = [values for _, values in Chooser(networks).stream(iter(given))]
    for piece, values in zip(given, made, strict=True):
        name = piece.tag[0].advice.model  # type: ignore[index]
        ((_, expected),) = networks[name].stream([replace(piece, sheet=None, row=0)])
        np.testing.assert_allclose(values, expected, atol=1e-5)
