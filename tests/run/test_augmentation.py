from __future__ import annotations

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.run.augment import (
    augment,
    check_augmentation,
    crop_images,
    flip_images,
    seen,
    seen_shape,
    shift_images,
)
from bitspike.run.recipe import DataPart


def test_half_of_the_images_are_mirrored_drawn_by_example_and_epoch() -> None:
    x, index = torch.rand(400, 3, 4, 5), torch.arange(400)
    one = flip_images(x, index, 0, 1)
    mirrored = (one == x.flip(3)).flatten(1).all(1)
    same = (one == x).flatten(1).all(1)
    assert torch.equal(mirrored, ~same)
    assert 150 < int(mirrored.sum()) < 250
    order = torch.randperm(400)
    assert torch.equal(flip_images(x[order], index[order], 0, 1), one[order])
    for seed, epoch in ((0, 2), (1, 1)):
        assert not torch.equal(flip_images(x, index, seed, epoch), one)


def test_both_together_and_neither() -> None:
    x, index = torch.rand(50, 1, 6, 6), torch.arange(50)
    both = augment(DataPart(set="digits", flip=True, shift=1), x, index, 0, 3)
    assert torch.equal(both, shift_images(flip_images(x, index, 0, 3), index, 1, 0, 3))
    assert augment(DataPart(set="digits"), x, index, 0, 3) is x


def test_what_is_no_image_cannot_be_mirrored() -> None:
    with pytest.raises(BitspikeError, match=r"^data.flip: got true on examples of \(7,\), wanted false, or images"):
        check_augmentation(DataPart(set="digits", flip=True), torch.rand(5, 7))


def test_crops_are_windows_of_the_image_drawn_by_example_and_epoch() -> None:
    x = torch.arange(8 * 9.0).reshape(1, 1, 8, 9) + 100 * torch.arange(200.0).reshape(-1, 1, 1, 1)
    index = torch.arange(200)
    one = crop_images(x, index, 5, 0, 1)
    assert one.shape == (200, 1, 5, 5)
    corners = one[:, 0, 0, 0] - 100 * index
    rows, columns = corners // 9, corners % 9
    assert set(rows.tolist()) == {0, 1, 2, 3}
    assert set(columns.tolist()) == {0, 1, 2, 3, 4}
    window = torch.arange(5.0).view(-1, 1) * 9 + torch.arange(5.0)
    assert torch.equal(one[:, 0], one[:, :1, 0, :1] + window)
    order = torch.randperm(200)
    assert torch.equal(crop_images(x[order], index[order], 5, 0, 1), one[order])
    assert not torch.equal(crop_images(x, index, 5, 0, 2), one)


def test_evaluation_sees_the_middle_and_training_is_cropped_last() -> None:
    part = DataPart(set="digits", crop=4, shift=1, flip=True)
    x, index = torch.rand(20, 1, 8, 9), torch.arange(20)
    assert torch.equal(seen(part, x), x[:, :, 2:6, 2:6])
    made = augment(part, x, index, 0, 2)
    assert torch.equal(made, crop_images(shift_images(flip_images(x, index, 0, 2), index, 1, 0, 2), index, 4, 0, 2))
    assert torch.equal(seen(part, made), made)
    assert seen_shape(part, (1, 8, 9)) == (1, 4, 4)
    with pytest.raises(BitspikeError, match=r"^data.crop: got 9 on examples of \(1, 8, 9\)"):
        check_augmentation(DataPart(set="digits", crop=9), x)


def test_what_comes_in_behind_a_shifted_image_is_its_darkest_pixel() -> None:
    x, index = torch.full((40, 1, 5, 5), -1.0), torch.arange(40)
    assert torch.equal(augment(DataPart(set="digits", shift=2, pixel_low=-1.0), x, index, 0, 1), x)
    centred = augment(DataPart(set="digits", shift=2, pixel_low=-1.0, mean_image=True), x, index, 0, 1)
    assert set(centred.unique().tolist()) == {-1.0, 0.0}


@pytest.mark.parametrize("changed", ["shift", "flip", "crop"])
def test_sequences_of_frames_are_no_images(changed: str) -> None:
    part = DataPart(set="digits", **{changed: True if changed == "flip" else 1})
    frames = torch.rand(6, 4, 8, 8)
    check_augmentation(part, frames)
    with pytest.raises(
        BitspikeError, match=rf"^data.{changed}: got .* on examples of \(4, 8, 8\), the first of which is "
    ):
        check_augmentation(part, frames, steps=4)
