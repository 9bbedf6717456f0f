"""From one format to another: what is lost is named, what moves arrives, what cannot be held is refused."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from denoiser import images
from denoiser.errors import InputError, UsageError
from denoiser.images import Target, losses, refusal
from tests.images.samples import ICC, TAKEN, XMP, exif, exif_of, picture

FORMATS = ("png", "jpeg", "webp", "bmp", "tiff", "npy")


def transfer(source: Path, target: Path, format: str, quality: int | None = None) -> tuple[str, ...]:
    with images.open_source(source) as opened:
        pages = (iter([opened.read(i, 0, page.height)]) for i, page in enumerate(opened.header.pages))
        images.save(target, opened.header, pages, Target(format, quality))
        return losses(opened.header, format)


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    path = tmp_path / "camera.jpg"
    Image.fromarray(picture("u1", 3)).save(
        path, quality=95, exif=exif(), icc_profile=ICC, xmp=XMP, dpi=(240, 240), comment=b"by hand"
    )
    return path


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(
        path, picture("u2", 4), photometric="rgb", extrasamples=["unassalpha"], iccprofile=ICC, resolution=(300, 300),
        description="a slide", metadata=None, datetime=TAKEN, extratags=[(274, 3, 1, 6, True)],
    )  # fmt: skip
    return path


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_description_of_a_photograph_moves(camera: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / f"out.{format}"
    assert transfer(camera, target, format) == (("resolution", "text") if format == "webp" else ())
    with Image.open(camera) as first, Image.open(target) as second:
        wanted, got = exif_of(first), exif_of(second)
        assert {tag: got.get(tag) for tag in wanted if tag != 34853} == {t: v for t, v in wanted.items() if t != 34853}
        assert got[34853] == wanted[34853]
        assert second.info["icc_profile"] == ICC
        xmp = second.tag_v2[700] if format == "tiff" else second.info["xmp"]
        assert (xmp.encode() if isinstance(xmp, str) else xmp) == XMP
        if format != "webp":
            assert second.info["dpi"] == pytest.approx((240, 240), rel=1e-3)
        if format == "png":
            assert second.text["Comment"] == "by hand"
        if format == "tiff":
            assert second.tag_v2[270] == "by hand"


def test_description_of_a_slide_moves_to_jpeg(deep: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jpg"
    assert transfer(deep, target, "jpeg") == ("16 bit", "alpha", "exact pixel values")
    with Image.open(target) as image:
        assert (image.mode, image.info["dpi"], image.info["icc_profile"]) == ("RGB", (300, 300), ICC)
        assert image.getexif()[274] == 6 and image.getexif()[306] == TAKEN
        assert image.info["comment"] == b"a slide"


def test_exif_of_a_tiff_moves_to_png(camera: Path, tmp_path: Path) -> None:
    transfer(camera, tmp_path / "between.tif", "tiff")
    transfer(tmp_path / "between.tif", tmp_path / "out.png", "png")
    with Image.open(tmp_path / "out.png") as image:
        found = exif_of(image)
    assert found[0x8769][0x9003] == TAKEN and found[0x8825][1] == "N" and found[0x0112] == 6


def test_losses_are_named(deep: Path, tmp_path: Path) -> None:
    with images.open_source(deep) as source:
        found = {format: losses(source.header, format) for format in FORMATS}
        assert losses(source.header, "keep") == ()
    assert found["tiff"] == ()
    assert found["png"] == ()
    assert found["webp"] == ("16 bit", "resolution", "text")
    assert found["bmp"] == ("16 bit", "ICC profile", "EXIF", "text")
    assert found["npy"] == ("ICC profile", "EXIF", "resolution", "text")
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.zeros((3, 20, 20), "f4"), photometric="minisblack")
    with images.open_source(stack) as source:
        assert losses(source.header, "png")[:2] == ("pages", "floating-point values")


@pytest.mark.parametrize(
    ("dtype", "channels", "format", "reason"),
    [
        ("f4", 1, "png", "floating-point"),
        ("i2", 1, "png", "signed"),
        ("u1", 5, "png", "5 channels"),
        ("u2", 2, "jpeg", "2 channels"),
        ("f8", 3, "jpeg", "floating-point"),
    ],
)
def test_what_cannot_be_held_is_refused(tmp_path: Path, dtype: str, channels: int, format: str, reason: str) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, picture(dtype, channels), photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=f"in.tif: .*{reason}.*choose tiff or npy"):
        transfer(source, tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("progressive", [False, True])
def test_data_behind_a_jpeg_are_named(tmp_path: Path, progressive: bool) -> None:
    path, small = tmp_path / "a.jpg", tmp_path / "small.jpg"
    Image.fromarray(picture("u1", 3)).save(small)
    thumbnail = small.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)  # longer than what is looked at
    Image.fromarray(noise).save(path, quality=95, progressive=progressive, comment=thumbnail)
    plain = path.read_bytes()
    assert len(plain) > 1 << 16
    video = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 1000
    for behind, found in ((b"", False), (bytes(5000), False), (b"\r\n", False), (video, True), (thumbnail, True)):
        path.write_bytes(plain + behind)
        with images.open_source(path) as opened:
            lost = losses(opened.header, "jpeg")
            assert lost == (("data behind the picture (a video, or a second picture)",) if found else ())
            assert opened.read(0, 0, 300).shape == (300, 400, 3)
    small.write_bytes(thumbnail + thumbnail)
    with images.open_source(small) as opened:
        assert len(losses(opened.header, "png")) == 1


def test_pages_are_never_dropped(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((3, 20, 20, 1), np.uint8))
    with pytest.raises(InputError, match="one page and this file has 3"):
        transfer(tmp_path / "in.npy", tmp_path / "out.png", "png")
    assert transfer(tmp_path / "in.npy", tmp_path / "out.tif", "tiff") == ()
    assert tifffile.imread(tmp_path / "out.tif").shape == (3, 20, 20)


def test_pages_that_differ_are_no_array(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(np.zeros((20, 20), "u1"))
        writer.write(np.zeros((20, 21), "u1"))
    with images.open_source(tmp_path / "in.tif") as source:
        assert "differ" in (refusal(source.header, "npy") or "")


def test_cmyk_stays_cmyk_or_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture("u1", 4), "CMYK").save(tmp_path / "in.jpg", quality=95)
    transfer(tmp_path / "in.jpg", tmp_path / "out.tif", "tiff")
    with Image.open(tmp_path / "in.jpg") as first, Image.open(tmp_path / "out.tif") as second:
        assert second.mode == "CMYK" and np.array_equal(np.asarray(first), np.asarray(second))
    with pytest.raises(InputError, match="cannot hold CMYK"):
        transfer(tmp_path / "in.jpg", tmp_path / "out.png", "png")


def test_16_bit_become_8_bit_by_scaling(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    tifffile.imwrite(tmp_path / "in.tif", ramp)
    transfer(tmp_path / "in.tif", tmp_path / "out.bmp", "bmp")
    with Image.open(tmp_path / "out.bmp") as image:
        assert np.array_equal(np.asarray(image), np.rint(ramp / 257))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_small_for_photographs_and_for_flat_pictures(tmp_path: Path, channels: int) -> None:
    random = np.random.default_rng(0)
    waves = np.sin(np.arange(300) / 20)[:, None, None] * np.cos(np.arange(400) / 30)[:, None] * 90 + 128
    photograph = np.rint(waves + random.normal(0, 4, (300, 400, channels))).astype(np.uint8)
    flat = np.full((300, 400, channels), 255, np.uint8)
    flat[100:110, 50:300] = 0
    for pixels, most in ((photograph, 1.03), (flat, 1.0)):
        array = pixels[:, :, 0] if channels == 1 else pixels
        Image.fromarray(array).save(tmp_path / "in.bmp")
        transfer(tmp_path / "in.bmp", tmp_path / "out.png", "png")
        with Image.open(tmp_path / "out.png") as image:
            assert np.array_equal(np.asarray(image), array)
        with_runs = imagecodecs.png_encode(array, level=1, strategy=3, filter=128)
        assert (tmp_path / "out.png").stat().st_size <= most * len(with_runs) + 100


def test_32_bit_become_16_bit_by_scaling(tmp_path: Path) -> None:
    values = np.array([[0, 32768, 32769, 65537, 2**32 - 1]], np.uint32)
    tifffile.imwrite(tmp_path / "in.tif", values)
    assert transfer(tmp_path / "in.tif", tmp_path / "out.png", "png") == ("32 bit",)
    got = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert got.tolist() == [[0, 0, 1, 1, 65535]]


def test_gray_becomes_colour_where_there_is_no_gray(tmp_path: Path) -> None:
    pixels = picture("u1", 2)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    for format in ("webp", "bmp"):
        transfer(tmp_path / "in.png", tmp_path / f"out.{format}", format)
        with Image.open(tmp_path / f"out.{format}") as image:
            assert np.array_equal(np.asarray(image), pixels[..., [0, 0, 0, 1]])


def test_bmp_holds_colours_and_alpha(tmp_path: Path) -> None:
    pixels = picture("u1", 4)
    Image.fromarray(pixels).save(tmp_path / "in.png", dpi=(150, 150))
    transfer(tmp_path / "in.png", tmp_path / "out.bmp", "bmp")
    transfer(tmp_path / "out.bmp", tmp_path / "again.bmp", "keep")
    for name in ("out.bmp", "again.bmp"):
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), pixels)
            assert image.info["dpi"] == pytest.approx((150, 150), rel=1e-3)


def test_webp_of_exact_pixels_is_lossless_unless_a_quality_is_given(tmp_path: Path) -> None:
    pixels = picture("u1", 3)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    transfer(tmp_path / "in.png", tmp_path / "exact.webp", "webp")
    transfer(tmp_path / "in.png", tmp_path / "lossy.webp", "webp", quality=80)
    with Image.open(tmp_path / "exact.webp") as exact, Image.open(tmp_path / "lossy.webp") as lossy:
        assert np.array_equal(np.asarray(exact), pixels)
        assert not np.array_equal(np.asarray(lossy), pixels)


def test_long_profiles_are_spread_over_segments(tmp_path: Path) -> None:
    profile = np.random.default_rng(0).bytes(150_000)
    Image.fromarray(picture("u1", 3)).save(tmp_path / "in.png", icc_profile=profile)
    transfer(tmp_path / "in.png", tmp_path / "out.jpg", "jpeg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.info["icc_profile"] == profile


def test_unknown_formats_are_usage_errors(camera: Path) -> None:
    with images.open_source(camera) as source, pytest.raises(UsageError, match="'gif'"):
        losses(source.header, "gif")


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_has_limits(quality: int) -> None:
    with pytest.raises(UsageError, match="quality"):
        Target(quality=quality)
