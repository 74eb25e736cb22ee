"""From a file to a trained run: sequences of different lengths, classes for each step, groups, a new labelled file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bitspike
from bitspike.data import load, prepare
from bitspike.errors import BitspikeError
from bitspike.layers.ends import lengths_of
from bitspike.run.batches import Batches
from bitspike.run.recipe_files import parse_recipe

RECIPE = """
name = "own"
[data]
set = "folder"
[encoder]
name = "sequence"
steps = 8
[model]
layers = ["12"]
[optimizer]
lr = 0.03
[training]
epochs = {epochs}
batch = 16
[evaluation]
energy_examples = 10
"""


def sequences(folder: Path, per_step: bool = False, count: int = 60) -> Path:
    """u, v and w are the channel that is high; NaN behind the ends."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(4, 9, count)
    lengths[0] = 8
    y = np.repeat(np.arange(count)[:, None] % 3, 8, 1)
    if per_step:
        y[:, 4:] = (y[:, 4:] + 1) % 3
    x = draw.normal(0, 0.2, (count, 8, 3)) + np.eye(3)[y]
    for i, length in enumerate(lengths):
        x[i, length:] = np.nan
    labels = np.array(["u", "v", "w"])[y if per_step else y[:, 0]]
    np.savez(folder / "a.npz", x=x, y=labels, lengths=lengths)
    return folder / "a.npz"


def recipe(path: Path, *overrides: str, epochs: int = 15) -> Any:
    return parse_recipe(RECIPE.format(epochs=epochs), "own", [f"data.options.path={path}", *overrides])


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("ragged")
    path = sequences(folder)
    return bitspike.train(recipe(path), folder / "run"), path


def test_sequences_of_different_lengths_are_learned_and_answered(ragged: tuple[Any, Path]) -> None:
    run, path = ragged
    assert run.result["test"]["accuracy"] >= 0.9
    form = run.environment["data"]["form"]
    assert form["lengths"] is True
    x, names = prepare(path, form)
    assert isinstance(x, torch.Tensor)
    answers = run.predict(x)
    assert answers.shape == (60, 3)
    assert len(names) == 60
    # A sequence alone, with nothing behind it, has the same answer.
    short = int((~x[1].isnan().any(1)).sum())
    padded = torch.full_like(x[:1], torch.nan)
    padded[0, :short] = x[1, :short]
    torch.testing.assert_close(run.predict(padded)[0], answers[1])
    with pytest.raises(BitspikeError, match=r"^predict x\[0\]: got a sequence of NaN alone, wanted at least one step$"):
        run.predict(torch.full((1, 8, 3), torch.nan))
    holes = x[:1].clone()
    holes[0, 1] = torch.nan
    with pytest.raises(BitspikeError, match=r"^predict x: got values that are not finite"):
        run.predict(holes)


def test_the_ragged_form_and_a_long_csv_are_the_same_sequences(ragged: tuple[Any, Path], tmp_path: Path) -> None:
    run, path = ragged
    arrays = dict(np.load(path))
    x, lengths = arrays["x"], arrays["lengths"]
    rows = [x[i, :length] for i, length in enumerate(lengths)]
    np.savez(tmp_path / "r.npz", samples=np.concatenate(rows), lengths=lengths, labels=arrays["y"])
    lines = [
        f"{i},{t},{','.join(map(repr, row.tolist()))},{arrays['y'][i]}"
        for i in range(60)
        for t, row in enumerate(rows[i])
    ]
    (tmp_path / "l.csv").write_text("example,t,a,b,c,label\n" + "\n".join(lines))
    first = load("folder", path=path)
    assert first.train.lengths is not None
    for other in (load("folder", path=tmp_path / "r.npz"), load("folder", path=tmp_path / "l.csv")):
        assert torch.equal(first.train.x, other.train.x)
        assert torch.equal(first.test.y, other.test.y)
        assert torch.equal(first.train.lengths, other.train.lengths)
    form = run.environment["data"]["form"]
    wanted = prepare(path, form)[0]
    for name in ("r.npz", "l.csv"):
        x, _ = prepare(tmp_path / name, form)
        assert torch.equal(torch.nan_to_num(x, 9), torch.nan_to_num(wanted, 9))


def test_padding_is_taken_for_what_it_is_said_to_be(tmp_path: Path) -> None:
    arrays = dict(np.load(sequences(tmp_path)))
    lengths = arrays.pop("lengths")
    np.savez(tmp_path / "n.npz", **arrays)
    with pytest.raises(BitspikeError, match=r"n.npz x\[\d+, \d+, 0\]: got nan, wanted a finite number"):
        load("folder", path=tmp_path / "n.npz", time=True)
    data = load("folder", path=tmp_path / "n.npz", time=True, padding="nan")
    assert data.train.lengths is not None
    assert data.train.lengths.tolist() == lengths[data.train.index.numpy()].tolist()
    arrays["x"] = np.nan_to_num(arrays["x"])
    np.savez(tmp_path / "z.npz", **arrays)
    zeros = load("folder", path=tmp_path / "z.npz", time=True, padding="zero")
    assert torch.equal(zeros.train.x, data.train.x)
    assert load("folder", path=tmp_path / "z.npz", time=True).train.lengths is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.full(60, 9)}, r"a.npz lengths: got 60 lengths up to 9, in sum 540, wanted"),
        ({"lengths": np.zeros(60)}, r"a.npz lengths\[0\]: got 0.0, wanted lengths from 1 to the steps there are"),
        ({"lengths": np.full(60, 4.5)}, r"a.npz lengths: got float64 of shape \(60,\), wanted whole numbers"),
        ({"lengths": np.full(59, 4)}, r"a.npz lengths: got 59 lengths up to 4, in sum 236, wanted"),
        ({"y": np.zeros((60, 7), int)}, r"a.npz y: got int64 of shape \(60, 7\), wanted \(N,\), \(N, 8\) for a label"),
    ],
)
def test_lengths_and_labels_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    arrays = dict(np.load(sequences(tmp_path)))
    np.savez(tmp_path / "a.npz", **{**arrays, **change})
    with pytest.raises(BitspikeError, match=message):
        load("folder", path=tmp_path / "a.npz")


def test_a_class_for_each_step(tmp_path: Path) -> None:
    path = sequences(tmp_path, per_step=True)
    with pytest.raises(
        BitspikeError, match=r"^learner.decoder: got 'mean-logit' with a class for each step, wanted 'l"
    ):
        bitspike.train(recipe(path), tmp_path / "no")
    run = bitspike.train(recipe(path, "learner.decoder=last", epochs=20), tmp_path / "run")
    # Answers that hold for a whole sequence are right on half the steps at best.
    assert run.result["test"]["accuracy"] >= 0.75
    data = run.dataset()
    assert data.per_step
    steps = int((data.test.y >= 0).sum())
    assert steps == int(data.test.lengths.sum())
    assert int(np.sum(run.result["confusion"])) == steps
    x, _ = prepare(path, run.environment["data"]["form"])
    answers = run.predict(x)
    assert answers.shape == (60, 8, 3)
    assert torch.equal(answers.isnan().any(-1), x.isnan().any(-1))
    parts = [run.evaluate(part) for part in ("train", "validation", "test")]
    weights = [int((getattr(data, part["split"]).y >= 0).sum()) for part in parts]
    mean = np.average([part["accuracy"] for part in parts], weights=weights)
    assert run.evaluate(file=path)["accuracy"] == pytest.approx(float(mean))
    bitspike.report(run.path)


def test_labels_for_each_step_of_a_long_csv(tmp_path: Path) -> None:
    rows = "".join(f"{i},{t},{i + t},{'uv'[(i + t) % 2]}\n" for i in range(12) for t in range(3 + i % 2))
    (tmp_path / "a.csv").write_text("example,t,v,label\n" + rows)
    with pytest.raises(BitspikeError, match=r"row 3, column 'label': got 'v', wanted 'u' as .*per_step = true"):
        load("folder", path=tmp_path / "a.csv")
    data = load("folder", path=tmp_path / "a.csv", per_step=True)
    assert data.per_step
    row = data.train.index.tolist().index(0) if 0 in data.train.index else None
    if row is not None:
        assert data.train.y[row].tolist() == [0, 1, 0, -1]


def test_windows_end_where_their_sequences_end(tmp_path: Path) -> None:
    path = sequences(tmp_path)
    windows = ["encoder.name='windows'", "encoder.width=3", "encoder.stride=2"]
    run = bitspike.train(recipe(path, *windows, epochs=1), tmp_path / "run")
    dataset = run.dataset()
    batches = Batches(run.recipe, run.encoder, dataset.test, torch.device("cpu"), torch.float32)
    events, _ = batches.events(torch.arange(len(dataset.test)), 0)
    assert dataset.test.lengths is not None
    assert torch.equal(lengths_of(events), (dataset.test.lengths + 1) // 2)
    x, _ = prepare(path, run.environment["data"]["form"])
    over = run.predict(x, over_time=True)
    end = (int((~x[3].isnan().any(1)).sum()) + 1) // 2
    assert torch.equal(over[-1, 3], over[end - 1, 3])
    steps = sequences(tmp_path, per_step=True)
    with pytest.raises(BitspikeError, match=r"^encoder.stride: got 2 with a class for each step, wanted 1"):
        bitspike.train(recipe(steps, *windows, "learner.decoder=last", epochs=1), tmp_path / "no")


def test_a_new_labelled_file_is_measured(ragged: tuple[Any, Path], tmp_path: Path) -> None:
    run, path = ragged
    arrays = dict(np.load(path))
    test = run.dataset().test.index.numpy()
    np.savez(tmp_path / "new.npz", **{key: value[test] for key, value in arrays.items()})
    again, before = run.evaluate(file=tmp_path / "new.npz"), run.evaluate("test")
    for key in ("accuracy", "nll", "ece"):
        assert again[key] == pytest.approx(before[key], abs=1e-6)
    assert "note" not in again
    assert "trained on examples of this file" in run.evaluate(file=path)["note"]
    assert (again["split"], again["examples"]) == (str(tmp_path / "new.npz"), len(test))
    arrays["y"] = np.where(arrays["y"] == "u", "z", arrays["y"])
    np.savez(tmp_path / "new.npz", **arrays)
    new = re.escape(str(tmp_path / "new.npz"))
    with pytest.raises(BitspikeError, match=rf"^{new} y\[0\]: got 'z', which is no class of training, wanted one of u"):
        run.evaluate(file=tmp_path / "new.npz")


def test_folds_test_every_example_once(tmp_path: Path) -> None:
    path = sequences(tmp_path)
    found = bitspike.cross_validate(recipe(path, epochs=1), 3, tmp_path / "own")
    assert [run.path.name for run in found.runs] == ["own-fold-1", "own-fold-2", "own-fold-3"]
    tested = np.concatenate([np.load(run.path / "split.npz")["test"] for run in found.runs])
    assert sorted(tested.tolist()) == list(range(60))
    scores = [run.result["test"]["accuracy"] for run in found.runs]
    assert found.mean["test"]["accuracy"] == pytest.approx(np.mean(scores))
    assert found.std["test"]["accuracy"] == pytest.approx(np.std(scores, ddof=1))


def test_a_split_that_follows_the_seed(tmp_path: Path) -> None:
    from bitspike.run.assemble import load_data

    path = sequences(tmp_path)

    def split(*overrides: str) -> list[int]:
        index = load_data(recipe(path, *overrides)).test.index
        return list(index.tolist())

    assert split() == split("seed=3") == split("data.split_seed=0")
    assert split("data.split_seed='seed'", "seed=3") == split("data.split_seed=3") != split()
    assert recipe(path).recipe_hash() == recipe(path, "data.split_seed=0").recipe_hash()
