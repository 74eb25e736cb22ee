"""The files of CONTRIBUTING.md, written beside no file of ours: trained, measured, asked and shown by the command."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from .commands import commands

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def files() -> dict[str, str]:
    """Path to content of every block of the guide that is headed by a path."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "own").mkdir()
    for path, content in files().items():
        (folder / path).write_text(content)
    (trained,) = commands(["--plugins", "own", "train", "own.toml"], cwd=folder)
    assert "Warning" not in trained.stderr
    return folder


def test_they_train_answer_and_are_measured_and_shown(home: Path) -> None:
    result = json.loads((home / "runs/own/result.json").read_text())
    assert result["test"]["accuracy"] > 0.7
    (home / "points.csv").write_text("0.1,0.2\n0.9,0.8\n")
    # The run knows where its files lie.
    evaluated, measured, predicted, reported, shown = commands(
        ["evaluate", "runs/own", "--json"],
        ["evaluate", "runs/own", "--measure", "silence", "--set", "most=20"],
        ["predict", "runs/own", "points.csv"],
        ["report", "runs/own"],
        ["show", "runs/own"],
        cwd=home,
    )
    assert json.loads(evaluated.stdout)["accuracy"] == result["test"]["accuracy"]
    silent = json.loads((home / "runs/own/silence.json").read_text())["silent"]
    assert 0 <= silent <= 1
    assert ["silent", f"{silent:.4g}"] in [line.split() for line in measured.stdout.splitlines()]
    assert len(predicted.stdout.splitlines()) >= 2
    assert "mean-logit" in shown.stdout
    assert reported.stdout.strip() == "runs/own/report.html"


def test_they_stand_where_ours_do(home: Path) -> None:
    printed, listed, explained, refused = commands(
        ["doctor", "--kernel", "leaky", "--plugins", "own"],
        ["doctor", "--json", "--plugins", "own"],
        ["--plugins", "own", "recipes", "own.toml", "--explain"],
        ["--plugins", "own", "train", "own.toml", "--set", "weights.zeros=1.0"],
        cwd=home,
        codes=[0, 0, 0, 2],
    )
    assert "v' = " in printed.stdout
    ours = {"neuron leaky", "precision ternary", "learner sign-descent", "data rings", "measurement silence"}
    assert ours <= set(json.loads(listed.stdout)["own"])
    assert "model.neuron.leak = 0.7  (number; 0.5)" in explained.stdout
    assert "ternary: -1, 0 and 1, straight through" in explained.stdout
    assert "unknown key 'weights.zeros'; did you mean 'zero'?" in refused.stderr


def test_a_run_whose_files_are_gone_says_so_in_one_line(home: Path) -> None:
    shutil.move(home / "own", home / "elsewhere")
    try:
        (refused,) = commands(["evaluate", "runs/own"], cwd=home, codes=[2])
        assert len(refused.stderr.splitlines()) == 1
        assert "wanted one of " in refused.stderr
        assert refused.stderr.endswith("/own' are not there (--plugins DIR)\n")
        commands(["evaluate", "runs/own", "--plugins", "elsewhere"], cwd=home)
    finally:
        shutil.move(home / "elsewhere", home / "own")


def test_a_run_says_when_its_own_files_have_changed_or_were_passed_over(home: Path) -> None:
    shutil.copytree(home / "own", home / "changed")
    (home / "empty").mkdir()
    step, silence = home / "changed/leaky.py", home / "changed/silence.py"
    step.write_text(step.read_text().replace("p.leak * state.v + x", "p.leak * state.v - x"))
    silence.write_text(silence.read_text() + "# of which the recipe knows nothing\n")
    # A process each: what was read once stays read.
    (as_made,) = commands(["evaluate", "runs/own"], cwd=home)
    (changed,) = commands(["--plugins", "changed", "evaluate", "runs/own"], cwd=home)
    (passed,) = commands(["--plugins", "empty", "evaluate", "runs/own"], cwd=home, codes=[2])
    said = "not as it was when the run was made: the own file of neuron leaky; answers may be others"
    assert said in changed.stderr
    assert "the own file" not in as_made.stderr
    assert passed.stderr.endswith("/own' were not read, as others are named (--plugins DIR)\n")


CUT = """
import os
import signal
from pathlib import Path

import bitspike
from bitspike.data import load


@bitspike.register("data", "cut")
def cut(seed: int):
    if not Path("was-cut").exists():
        Path("was-cut").touch()
        os.kill(os.getpid(), signal.SIGTERM)
    return load("digits")
"""
SMALL = """
name = "cut"
data.set = "cut"
encoder.steps = 2
model.layers = ["8"]
training.epochs = 1
"""


def test_what_a_stopped_training_prints_goes_on_with_own_files_and_all_seeds(tmp_path: Path) -> None:
    (tmp_path / "own files").mkdir()
    (tmp_path / "own files" / "cut.py").write_text(CUT)
    (tmp_path / "cut.toml").write_text(SMALL)
    (stopped,) = commands(["--plugins", "own files", "train", "cut.toml", "--seeds", "2"], cwd=tmp_path, codes=[143])
    words = shlex.split(stopped.stderr.splitlines()[-1].partition("to go on: ")[2])
    assert words[:3] == ["bitspike", "--plugins", "own files"]
    commands(words[1:], cwd=tmp_path)
    assert sorted(path.parent.name for path in tmp_path.glob("runs/*/result.json")) == ["cut-seed-0", "cut-seed-1"]
