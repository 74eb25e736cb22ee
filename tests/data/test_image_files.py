"""What an image file holds is what the network gets, or it is refused by name."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitspike.data import DataSet, centred, load, prepare
from bitspike.errors import BitspikeError

SIDE = 4


def stroke(number: int, column: bool) -> np.ndarray:
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[(slice(None), number % SIDE) if column else (number % SIDE, slice(None))] = 1
    return ink


def folder(root: Path, make: Callable[[np.ndarray], Image.Image], suffix: str = "png") -> Path:
    """Columns in class a, rows in class b, eight each."""
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number in range(8):
            make(stroke(number, name == "a")).save(root / name / f"{number}.{suffix}")
    return root


def wanted(data: DataSet, low: float, high: float) -> None:
    """Every training image is its stroke, with `low` for paper and `high` for ink."""
    assert isinstance(data.train.x, torch.Tensor)
    for x, y, index in zip(data.train.x, data.train.y.tolist(), data.train.index.tolist(), strict=True):
        ink = torch.from_numpy(stroke(index % 8, y == 0)).float()
        torch.testing.assert_close(x, (low + (high - low) * ink).expand_as(x), atol=1e-6, rtol=0)


def rgba(colour: int) -> Callable[[np.ndarray], Image.Image]:
    return lambda ink: Image.fromarray(np.dstack([np.full((SIDE, SIDE, 3), colour, np.uint8), 255 * ink]))


def la(ink: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.full_like(ink, 255), 255 * ink]), "LA")


def palette(ink: np.ndarray) -> Image.Image:
    image = Image.fromarray(ink, "P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.info["transparency"] = 0
    return image


FORMATS: dict[str, tuple[str, Callable[[np.ndarray], Image.Image], float, float]] = {
    "black ink in alpha": ("png", rgba(0), 1, 0),
    "white ink in alpha": ("png", rgba(255), 0, 1),
    "white ink in alpha, WebP": ("webp", rgba(255), 0, 1),
    "white ink, grey and alpha": ("png", la, 0, 1),
    "white ink, transparent palette": ("png", palette, 0, 1),
    "1-bit": ("png", lambda ink: Image.fromarray(ink.astype(bool)), 0, 1),
    "CMYK": ("tif", lambda ink: Image.fromarray(np.dstack([*[0 * ink] * 3, 51 * ink]), "CMYK"), 1, 0.8),
    "12 bits in 16": ("png", lambda ink: Image.fromarray(4095 * ink.astype(np.uint16)), 0, 4095 / 65535),
    "16-bit, big-endian TIFF": ("tif", lambda ink: Image.fromarray(65535 * ink.astype(">u2")), 0, 1),
    "float up to 0.9": ("tif", lambda ink: Image.fromarray(np.float32(0.9) * ink), 0, 0.9),
    "float up to 102": ("tif", lambda ink: Image.fromarray(np.float32(102) * ink), 0, 0.4),
    "int32 up to 255": ("tif", lambda ink: Image.fromarray(255 * ink.astype(np.int32)), 0, 1),
    "int32 up to 4095": ("tif", lambda ink: Image.fromarray(4095 * ink.astype(np.int32)), 0, 4095 / 65535),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_its_own_values_in_training_and_prediction(tmp_path: Path, kind: str) -> None:
    suffix, make, low, high = FORMATS[kind]
    data = load("folder", path=folder(tmp_path, make, suffix))
    wanted(data, low, high)
    form = json.loads(json.dumps(data.form))
    assert isinstance(data.test.x, torch.Tensor)
    for x, y, index in zip(data.test.x, data.test.y.tolist(), data.test.index.tolist(), strict=True):
        alone, _ = prepare(tmp_path / "ab"[y] / f"{index % 8}.{suffix}", form)
        assert torch.equal(alone[0], x)


def test_what_was_done_is_said(tmp_path: Path) -> None:
    said = {}
    for kind in ("white ink in alpha", "12 bits in 16", "float up to 102"):
        suffix, make, *_ = FORMATS[kind]
        said[kind] = load("folder", path=folder(tmp_path / kind, make, suffix)).notes
    assert said == {
        "white ink in alpha": ("transparent pictures are laid on black",),
        "12 bits in 16": (
            "dark pictures: the largest pixel is 4095 and white is 65535; data.options.white=4095 would use the whole "
            "range",
        ),
        "float up to 102": ("float pixels up to 102, of which 255 is white",),
    }
    wanted(load("folder", path=tmp_path / "12 bits in 16", white=4095), 0, 1)


def test_black_and_white_inks_are_laid_on_grey_and_stay_apart(tmp_path: Path) -> None:
    for name, colour in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        for number in range(8):
            rgba(colour)(stroke(number, True)).save(tmp_path / name / f"{number}.png")
    data = load("folder", path=tmp_path)
    assert isinstance(data.train.x, torch.Tensor)
    for x, y in zip(data.train.x, data.train.y.tolist(), strict=True):
        assert sorted(x.unique().tolist()) == pytest.approx([0, 128 / 255] if y == 0 else [128 / 255, 1])


def test_a_network_of_opaque_pictures_refuses_transparent_and_deeper_ones(tmp_path: Path) -> None:
    form = load("digits").form
    rgba(255)(stroke(1, True)).save(tmp_path / "ink.png")
    with pytest.raises(BitspikeError, match=r"ink.png: got transparent pixels, wanted an opaque image, as in training"):
        prepare(tmp_path / "ink.png", form)
    rgba(255)(np.ones((8, 8), np.uint8)[:SIDE, :SIDE]).save(tmp_path / "solid.png")
    x, _ = prepare(tmp_path / "solid.png", form)
    assert torch.equal(x, torch.ones(1, 1, 8, 8))
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(BitspikeError, match=r"deep.png: got 16-bit pixels, wanted 8-bit, as in training$"):
        prepare(tmp_path / "deep.png", form)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.float32("nan"), r"row 0, column 1: got nan, wanted a finite pixel$"),
        (np.float32(-0.5), r"row 0, column 1: got -0.5, wanted pixels from 0 \(black\) on$"),
        (np.float32(1e6), r"got float pixels up to 1e\+06, wanted up to 65535, or data.options.white"),
        (np.int32(-3), r"row 0, column 1: got -3, wanted pixels from 0"),
    ],
)
def test_pixels_without_a_scale_are_refused_by_name(tmp_path: Path, values: np.generic, message: str) -> None:
    folder(tmp_path, lambda ink: Image.fromarray(ink.astype(values.dtype)), "tif")
    one = np.zeros((SIDE, SIDE), values.dtype)
    one[0, 1] = values
    Image.fromarray(one).save(tmp_path / "b" / "3.tif")
    with pytest.raises(BitspikeError, match=message):
        load("folder", path=tmp_path)


def test_depths_that_differ_within_a_folder_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, lambda ink: Image.fromarray(255 * ink))
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(tmp_path / "b" / "3.png")
    with pytest.raises(BitspikeError, match=r"b/3.png: got 16-bit pixels, wanted 8-bit, as in .*a/0.png$"):
        load("folder", path=tmp_path)


def test_a_pixel_above_what_was_white_in_training_is_refused(tmp_path: Path) -> None:
    data = load("folder", path=folder(tmp_path, FORMATS["float up to 0.9"][1], "tif"))
    Image.fromarray(np.full((SIDE, SIDE), 200, np.float32)).save(tmp_path / "other.tif")
    with pytest.raises(BitspikeError, match=r"other.tif: got a pixel of 200, wanted at most 1, which is white$"):
        prepare(tmp_path / "other.tif", data.form)


def test_a_mean_image_keeps_the_depth(tmp_path: Path) -> None:
    root = folder(tmp_path, FORMATS["16-bit, big-endian TIFF"][1], "tif")
    data = centred(load("folder", path=root), pixel_range=255.0)
    x, _ = prepare(root / "a", json.loads(json.dumps(data.form)))
    assert isinstance(data.train.x, torch.Tensor)
    for row, y, index in zip(data.train.x, data.train.y.tolist(), data.train.index.tolist(), strict=True):
        if y == 0:
            torch.testing.assert_close(x[index], row, atol=1e-4, rtol=0)


def test_a_camera_s_turn_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.zeros((16, 32), np.uint8)
            pixels[:, :16] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.jpg", exif=exif, quality=100)
    data = load("folder", path=tmp_path)
    assert data.shape == (1, 32, 16)
    assert isinstance(data.train.x, torch.Tensor)
    assert float(data.train.x[0, 0, 1, 8]) == pytest.approx(1, abs=0.02)
    assert float(data.train.x[0, 0, -2, 8]) == pytest.approx(0, abs=0.02)


def test_animations_and_16_bit_colour_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (SIDE, SIDE), value) for value in (0, 255)]
    folder(tmp_path / "moving", lambda ink: Image.fromarray(255 * ink), "gif")
    frames[0].save(tmp_path / "moving" / "b" / "2.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(BitspikeError, match=r"b/2.gif: got 2 pictures \(an animation or a stack\), wanted one picture"):
        load("folder", path=tmp_path / "moving")

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    body = zlib.compress(b"\0" + bytes([0, 200] * 3))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    folder(tmp_path / "deep", lambda ink: Image.fromarray(255 * ink))
    (tmp_path / "deep" / "a" / "0.png").write_bytes(png)
    with pytest.raises(
        BitspikeError, match=r"a/0.png: got 16-bit colour or transparency, wanted 8 bits, or 16-bit grey"
    ):
        load("folder", path=tmp_path / "deep")


def test_other_programs_formats_are_not_opened_under_an_image_s_name(tmp_path: Path) -> None:
    folder(tmp_path, lambda ink: Image.fromarray(255 * ink))
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "a" / "0.png", format="EPS")
    with pytest.raises(BitspikeError, match=r"a/0.png: got a damaged file or no image, wanted an image that Pillow"):
        load("folder", path=tmp_path)


def test_sets_and_classes_of_equal_images_and_resized_ones_are_said(tmp_path: Path) -> None:
    folder(tmp_path / "blank", lambda ink: Image.fromarray(0 * ink))
    assert load("folder", path=tmp_path / "blank").notes == (
        "all 11 training examples are equal: nothing can be learnt from them",
    )
    root = folder(tmp_path / "one", lambda ink: Image.fromarray(255 * ink))
    for number in range(8):
        Image.new("L", (SIDE * (1 + number % 2), SIDE), 7).save(root / "b" / f"{number}.png")
    notes = load("folder", path=root).notes
    assert notes[0] == "4 of 16 images are not 4 x 4 and are resized to it"
    assert len(notes) == 2
    assert notes[1].endswith("training examples of class 'b' are equal")
