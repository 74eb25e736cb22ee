"""Examples that are in memory: what is taken, how it is divided, and what is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SubsetRandomSampler, TensorDataset

from bitspike.data import load
from bitspike.data.given import given
from bitspike.data.normalise import restore
from bitspike.errors import BitspikeError

X = torch.arange(240).reshape(40, 3, 2).float()
Y = torch.arange(40) % 4


class Pairs(Dataset[Any]):
    def __init__(self, jitter: float = 0.0) -> None:
        self.jitter, self.asked = jitter, 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        if i >= 40:
            raise IndexError(i)
        self.asked += 1
        return X[i] + self.jitter * self.asked, int(Y[i])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


def test_the_same_examples_in_any_form_are_the_same_data_set() -> None:
    forms = [
        (X, Y), [X.numpy(), Y.numpy()], (X.tolist(), Y.tolist()), TensorDataset(X, Y), Pairs(),
        DataLoader(Pairs(), batch_size=8, shuffle=True),
    ]  # fmt: skip
    made = [given(data, time=True) for data in forms]
    first = made[0][0]
    assert (first.classes, first.shape, first.steps, first.kind) == (("0", "1", "2", "3"), (2,), 3, "classification")
    assert [len(part) for part in (first.train, first.validation, first.test)] == [28, 4, 8]
    for other, _ in made[1:]:
        for part in ("train", "validation", "test"):
            one, two = getattr(first, part), getattr(other, part)
            assert torch.equal(one.x, two.x)
            assert torch.equal(one.y, two.y)
            assert torch.equal(one.index, two.index)
            assert torch.equal(X[one.index], one.x)
    assert [batch for _, batch in made] == [None] * 5 + [8]


def test_parts_given_apart_stay_what_they_are() -> None:
    dataset, _ = given((X, Y), time=True, validation=(X[:8] + 1, Y[:8]), test=(X[:9] + 2, Y[:9]))
    assert torch.equal(dataset.train.x, X)
    assert torch.equal(dataset.validation.x, X[:8] + 1)
    assert torch.equal(dataset.test.x, X[:9] + 2)
    assert set(dataset.digests) == {"data", "validation", "test"}
    dataset, _ = given((X, Y), time=True, test=(X[:9] + 2, Y[:9]))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [35, 5, 9]
    dataset, _ = given((X, Y), time=True, validation=(X[:8] + 1, Y[:8]), test=10)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [30, 8, 10]
    assert torch.equal(dataset.validation.x, X[:8] + 1)


def test_other_values_have_another_digest_and_another_seed_another_split() -> None:
    one, two = given((X, Y), time=True)[0], given((X, Y), time=True, seed=1)[0]
    assert one.digests == two.digests
    assert not torch.equal(one.test.index, two.test.index)
    other = X.clone()
    other[3, 1, 1] += 1
    assert given((other, Y), time=True)[0].digests != one.digests
    assert given((X, (Y + 1) % 4), time=True)[0].digests != one.digests


def test_what_y_is_is_said_by_its_type() -> None:
    words = np.array(["cat", "ant", "bee", "dog"])[Y.numpy()]
    dataset, _ = given((X, words), time=True)
    assert dataset.classes == ("ant", "bee", "cat", "dog")
    assert [dataset.classes[c] for c in dataset.test.y] == words[dataset.test.index.numpy()].tolist()
    dataset, _ = given((X, Y), time=True, classes=["a", "b", "c", "d", "e"])
    assert dataset.classes == ("a", "b", "c", "d", "e")
    assert any("'e' has 0 examples" in note for note in dataset.notes)
    dataset, _ = given((X, Y.double() / 3), time=True)
    assert dataset.kind == "regression"
    torch.testing.assert_close(restore(dataset.test.y, dataset.target)[:, 0], Y[dataset.test.index].double() / 3)
    steps = torch.stack([Y, Y, (Y + 1) % 4], 1)
    steps[0, 2] = -1
    dataset, _ = given((X, steps), time=True)
    assert dataset.per_step
    assert torch.equal(dataset.test.y, steps[dataset.test.index])


def test_a_data_set_of_the_house_is_taken_as_it_is() -> None:
    digits = load("digits")
    assert given(digits, time=False)[0] is digits
    with pytest.raises(BitspikeError, match=r"^data: got a DataSet \('digits'\) with validation, test or classes"):
        given(digits, time=False, test=0.1)


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        (X, {}, r"data: got Tensor, wanted tensors \(x, y\), a torch Dataset of such pairs or a DataLoader"),
        ((X, Y, Y), {}, r"data: got 3 things, wanted tensors"),
        ((X, Y[:-1]), {}, r"data y: got shape \(39,\), wanted \(40, ...\)"),
        ((X[:, 0], Y), {}, r"data x: got shape \(40, 2\), which has no time axis, wanted .* encoder='direct'"),
        ((X / 0, Y), {}, r"data x\[0, 0, 0\]: got nan, wanted a finite number"),
        ((X, Y * 0), {}, r"data y: got only the class '0', wanted at least 2 classes"),
        ((X, Y), {"classes": ["a", "b"]}, r"data y: got int64 from 0 to 3, wanted class numbers 0 to 1"),
        ((X, Y), {"classes": ["a", "a"]}, r"classes: got \('a', 'a'\), wanted at least 2 names, each once"),
        ((X, Y), {"test": (X[:, :2], Y)}, r"test x: got shape \(40, 2, 2\), wanted \(N, 3, 2\), as data x"),
        (Pairs(jitter=1.0), {}, r"data\[0\]: got other values the second time, wanted a dataset without random"),
        (DataLoader(Pairs(), 8), {}, r"data: got a DataLoader with a SequentialSampler, wanted .* with shuffle=True"),
        (DataLoader(Pairs(), 8, shuffle=True, drop_last=True), {}, r"data: got a DataLoader with drop_last=True"),
        (DataLoader(Pairs(), 8, shuffle=True, collate_fn=list), {}, r"data: got a DataLoader with a collate_fn of its"),
        (DataLoader(Pairs(), 8, sampler=RandomSampler(Pairs(), num_samples=9)), {}, r"data: .* RandomSampler"),
        ((X, Y), {"test": DataLoader(Pairs(), 8, sampler=SubsetRandomSampler([1, 2]))}, r"test: .* SubsetRandom"),
        ((X, Y), {"validation": 0}, r"validation: got 0, wanted a share above 0"),
        (DataLoader(Stream(), 8), {}, r"data: got a DataLoader of an IterableDataset"),
        (Stream(), {}, r"data: got Stream, wanted tensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused_by_name(data: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        given(data, time=True, **more)
