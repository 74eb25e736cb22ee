"""The files of CONTRIBUTING.md, written beside no file of ours: trained, measured, asked and shown by the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("bitspike"))
GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def files() -> dict[str, str]:
    """Path to content of every block of the guide that is headed by a path."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return dict(blocks)


def bitspike(*arguments: object, cwd: Path, code: int = 0, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("BITSPIKE_PLUGINS", None)
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
        env=environment, input=text,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "own").mkdir()
    for path, content in files().items():
        (folder / path).write_text(content)
    bitspike("--plugins", "own", "train", "own.toml", cwd=folder)
    return folder


def test_they_train_answer_and_are_measured_and_shown(home: Path) -> None:
    result = json.loads((home / "runs/own/result.json").read_text())
    assert result["test"]["accuracy"] > 0.7
    # The run knows where its files lie.
    reading = json.loads(bitspike("evaluate", "runs/own", "--json", cwd=home).stdout)
    assert reading["accuracy"] == result["test"]["accuracy"]
    said = bitspike("evaluate", "runs/own", "--measure", "silence", "--set", "most=20", cwd=home).stdout
    silent = json.loads((home / "runs/own/silence.json").read_text())["silent"]
    assert 0 <= silent <= 1
    assert ["silent", f"{silent:.4g}"] in [line.split() for line in said.splitlines()]
    (home / "points.csv").write_text("0.1,0.2\n0.9,0.8\n")
    assert len(bitspike("predict", "runs/own", "points.csv", cwd=home).stdout.splitlines()) >= 2
    assert bitspike("report", "runs/own", cwd=home).stdout.strip() == "runs/own/report.html"


def test_they_stand_where_ours_do(home: Path) -> None:
    printed = bitspike("doctor", "--kernel", "leaky", "--plugins", "own", cwd=home).stdout
    assert "v' = " in printed
    found = json.loads(bitspike("doctor", "--json", "--plugins", "own", cwd=home).stdout)["own"]
    ours = {"neuron leaky", "precision ternary", "learner sign-descent", "data rings", "measurement silence"}
    assert ours <= set(found)
    said = bitspike("--plugins", "own", "recipes", "own.toml", "--explain", cwd=home).stdout
    assert "model.neuron.leak = 0.7  (number; 0.5)" in said
    assert "ternary: -1, 0 and 1, straight through" in said
    refused = bitspike("--plugins", "own", "train", "own.toml", "--set", "weights.zeros=1.0", cwd=home, code=2)
    assert "unknown key 'weights.zeros'; did you mean 'zero'?" in refused.stderr


def test_a_run_whose_files_are_gone_says_so_in_one_line(home: Path) -> None:
    shutil.move(home / "own", home / "elsewhere")
    try:
        refused = bitspike("evaluate", "runs/own", cwd=home, code=2).stderr
        assert len(refused.splitlines()) == 1
        assert "wanted one of " in refused
        assert refused.endswith("/own' are not there (--plugins DIR)\n")
        bitspike("evaluate", "runs/own", "--plugins", "elsewhere", cwd=home)
    finally:
        shutil.move(home / "elsewhere", home / "own")
