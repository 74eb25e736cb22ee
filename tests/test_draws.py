"""Named draws: a name gives the same numbers everywhere, another name others."""

import numpy as np
import pytest
import torch

from bitspike import draws


def test_a_name_is_its_keys_and_their_types():
    assert draws.seed_of(1, "encode") == draws.seed_of(np.int64(1), "encode") == draws.seed_of(np.uint8(1), "encode")
    assert len({draws.seed_of(*keys) for keys in [(1,), ("1",), (1, 1), (11,), ("1\x1f1",), (True,)]}) == 6


@pytest.mark.parametrize("kind", [draws.uniform, draws.normal])
def test_fewer_draws_are_the_first_of_more(kind):
    many = kind(5000, "test", 3)
    assert torch.equal(kind(1025, "test", 3), many[:1025])
    assert not torch.equal(kind(5000, "test", 4), many)
    assert abs(float(many.mean()) - (0.5 if kind is draws.uniform else 0.0)) < 0.06


def test_a_row_depends_on_its_example_alone():
    rows = draws.uniform_per_example([7, 3, 9], (4,), "encode")
    assert torch.equal(rows[1:], draws.uniform_per_example(torch.tensor([3, 9]), (4,), "encode"))


def test_global_draws_leave_the_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with draws.global_draws("own", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with draws.global_draws("own", 1):
        assert torch.equal(torch.rand(3), inside)
