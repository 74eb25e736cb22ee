"""The mean training image taken off, in any range, and new images alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import centred, load, prepare, restore
from bitspike.errors import BitspikeError


@pytest.mark.parametrize(
    ("mean", "high", "low"),
    [(True, 1.0, 0.0), (True, 255.0, 0.0), (False, 16.0, 0.0), (False, 1.0, -1.0), (True, 1.0, -1.0)],
)
def test_values_are_centred_on_the_training_part_and_new_images_alike(
    tmp_path: Path, mean: bool, high: float, low: float
) -> None:
    from PIL import Image

    plain, data = load("digits"), centred(load("digits"), mean, high, low)
    span, least = high - low, 0.0 if mean else low
    average = plain.train.x.double().mean(0) * mean  # type: ignore[union-attr]
    for name in ("train", "validation", "test"):
        before, after = getattr(plain, name), getattr(data, name)
        assert torch.allclose(after.x.double(), (before.x.double() - average) * span + least, atol=1e-5 * span)
        assert torch.equal(after.y, before.y)
    raw = (plain.test.x[:3] * 16).round()
    assert torch.allclose(restore(data.test.x[:3], data.normalisation), raw.double(), atol=1e-4)
    np.savez(tmp_path / "x.npz", x=raw.numpy())
    x, _ = prepare(tmp_path / "x.npz", data.form)
    assert torch.allclose(x, data.test.x[:3], atol=1e-5 * span)
    # A file of 8-bit grey is read from black to white.
    image = (plain.test.x[0, 0] * 255).round().byte().numpy()
    Image.fromarray(image).save(tmp_path / "x.png")
    x, _ = prepare(tmp_path / "x.png", data.form)
    assert torch.allclose(x[0], data.test.x[0], atol=0.003 * span)


def test_what_has_no_pixels_from_0_to_1_is_refused() -> None:
    with pytest.raises(BitspikeError, match=r"^data.mean_image, pixel_range or pixel_low: got two-moons, vector input"):
        centred(load("two-moons"))
    with pytest.raises(BitspikeError, match=r"^data.pixel_low: got 1.0, wanted less than data.pixel_range 1"):
        centred(load("digits"), pixel_low=1.0)
