from __future__ import annotations

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.run.augment import augment, check_augmentation, flip_images, shift_images
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
