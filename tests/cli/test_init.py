"""`bitspike init FILE`: what it finds, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.errors import BitspikeError
from bitspike.run.initial import beside, look
from bitspike.run.recipe_files import load_recipe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> str:
    result = CliRunner().invoke(app, ["init", *words])
    if isinstance(result.exception, BitspikeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def flowers(path: Path, rows: int = 40, extra: str = "") -> None:
    source = np.random.RandomState(0)
    lines = [f"length,width,{extra and 'subject,'}label"]
    for i in range(rows):
        kind = i % 2
        a, b = source.normal((kind, 2 - kind), 0.1)
        lines.append(f"{a:.3f},{b:.3f},{f'{extra}{i % 8},' if extra else ''}{('wild', 'garden')[kind]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_table_is_described_and_its_recipe_trains(here: Path) -> None:
    flowers(here / "petals.csv")
    said = init("petals.csv")
    assert "40 examples (" in said
    assert "'wild' 20" in said
    assert "training.updates = 1000" in said
    assert "next: bitspike train petals.toml" in said
    recipe = load_recipe("petals.toml")
    assert recipe.weights.precision == "bayesian"
    assert recipe.training.updates == 1000
    # Every printed reason stands in the file, too.
    text = (here / "petals.toml").read_text(encoding="utf-8")
    for line in said.split("rules:\n")[1].splitlines()[:-1]:
        assert "# " + line.split(": ", 1)[1] in text
    quick = ["training.updates=60", 'model.layers=["16"]', "compute.back_end='reference'"]
    run = bitspike.train("petals.toml", here / "run", overrides=quick)
    assert run.result["test"]["accuracy"] == 1.0


def test_a_test_file_beside_it_is_the_test_part(here: Path) -> None:
    x, y = np.zeros((12, 20, 2)), np.array(["a", "b"] * 6)
    x[1::2] = 1
    np.savez(here / "walk_train.npz", x=x, y=y)
    np.savez(here / "walk_test.npz", x=x[:4], y=y[:4])
    said = init("walk_train.npz", "--weights", "straight-through", "--out", "other.toml")
    assert "test part: walk_test.npz" in said
    recipe = load_recipe("other.toml")
    assert recipe.name == "walk"
    assert recipe.data.options["test_path"] == "walk_test.npz"
    assert (recipe.encoder.name, recipe.weights.precision) == ("windows", "straight-through")
    flowers(here / "petals.csv")
    flowers(here / "petals_test.csv")
    assert beside(Path("petals.csv")) == Path("petals_test.csv")
    assert beside(Path("petals_test.csv")) is None


def test_sequences_of_different_lengths_are_answered_at_their_own_ends(here: Path) -> None:
    source = np.random.RandomState(0)
    lengths = np.array([6, 9, 30, 23] * 6)
    np.savez(here / "steps.npz", x=source.normal(size=(24, 30, 2)), y=np.arange(24) % 2, lengths=lengths)
    init("steps.npz")
    recipe = load_recipe("steps.toml")
    quick = ["training.updates=4", 'model.layers=["8"]', "compute.back_end='reference'", "encoder.stride=2"]
    run = bitspike.train("steps.toml", here / "run", overrides=quick)
    assert recipe.encoder.model_dump() == {"name": "windows", "steps": 30, "width": 4, "stride": 1}
    x = torch.from_numpy(source.normal(size=(2, 30, 2))).float()
    longer = x.clone()
    x[:, 9:], longer[:, 20:] = torch.nan, torch.nan
    assert torch.equal(run.predict(x, over_time=True)[4], run.predict(x))  # 9 steps are five windows
    assert torch.equal(run.predict(longer, over_time=True)[:4], run.predict(x, over_time=True)[:4])
    assert not torch.equal(run.predict(longer), run.predict(x))
    np.savez(here / "steps.npz", x=source.normal(size=(24, 30, 2)), y=source.randint(0, 2, (24, 30)))
    with pytest.raises(BitspikeError, match=r"encoder\.stride: got 2 with a class for each step, wanted 1"):
        bitspike.train("steps.toml", here / "other", overrides=[*quick, "learner.decoder='last'"])


def test_padding_groups_and_pictures_are_found(here: Path) -> None:
    x = np.random.RandomState(0).normal(size=(20, 8, 2))
    x[3, 6:] = np.nan
    np.savez(here / "padded.npz", x=x, y=np.arange(20) % 2)
    facts, _ = look(Path("padded.npz"))
    assert facts.options["padding"] == "nan"
    assert facts.lengths == (6, 8, 8)
    flowers(here / "people.csv", extra="p")
    init("people.csv")
    assert load_recipe("people.toml").data.options["group"] == "subject"
    np.savez(here / "dots.npz", x=np.random.RandomState(0).randint(0, 256, (20, 9, 9)), y=np.arange(20) % 2)
    init("dots.npz")
    assert load_recipe("dots.toml").encoder.name == "direct"
    np.savez(here / "grey.npz", x=np.random.RandomState(0).rand(20, 1, 16, 16), y=np.arange(20) % 2)
    init("grey.npz")
    model = load_recipe("grey.toml").model
    assert model.layers == ["16c5s2", "32c3s2", "128"]


@pytest.mark.parametrize("rows", [40, 199, 260])
def test_the_split_that_is_told_is_the_one_that_is_made(here: Path, rows: int) -> None:
    flowers(here / "petals.csv", rows)
    said = init("petals.csv").splitlines()[0]
    run = bitspike.train("petals.toml", here / "run", overrides=["training.updates=2", "model.layers=['4']"])
    made = [len(run.split(part)) for part in ("train", "validation", "test")]
    assert f"{rows} examples ({' / '.join(map(str, made))} for training, validation, test)" in said


def test_what_cannot_be_is_refused_in_one_line(here: Path) -> None:
    flowers(here / "petals.csv")
    (here / "petals.toml").write_text("mine")
    with pytest.raises(BitspikeError, match="which exists, wanted another path, or --overwrite"):
        init("petals.csv")
    assert (here / "petals.toml").read_text() == "mine"
    init("petals.csv", "--overwrite")
    with pytest.raises(BitspikeError, match="which is not there"):
        init("nothing.csv")
    with pytest.raises(BitspikeError, match="which is not there"):
        init("a" * 300 + ".csv")
    with pytest.raises(BitspikeError, match="--out"):
        init("petals.csv", "--out", "b" * 300 + ".toml")
    with pytest.raises(BitspikeError, match="--weights: got 'ternary', wanted bayesian, straight-through or full"):
        init("petals.csv", "--weights", "ternary")
    with pytest.raises(BitspikeError, match=r"folder option group: got '', of which petals\.csv has none"):
        init("petals.csv", "--out", "other.toml", "--group", "")
    with pytest.raises(BitspikeError, match=r"ends in \.toml"):
        init("petals.csv", "--out", ".")
    (here / "one.csv").write_text("a,label\n1,x\n2,x\n3,x\n")
    with pytest.raises(BitspikeError, match="at least 2 classes"):
        init("one.csv")
    np.savez(here / "hole.npz", x=np.array([[1.0, np.nan], [1.0, 2.0]] * 9), y=np.arange(18) % 2)
    with pytest.raises(BitspikeError, match="a finite number"):
        init("hole.npz")
    assert not list(here.glob("hole.toml"))
