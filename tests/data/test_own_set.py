"""A data set of one's own, in one file: trained on, predicted from, measured, reported and listed like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..commands import commands

OWN = '''
import numpy as np
import torch

import bitspike
from bitspike.data.given import given

SHARED = 8


@bitspike.register("data", "waves")
class Waves:
    """Sines and cosines under noise."""

    generated = True

    class Options(bitspike.Options):
        noise: float = 0.1
        """Standard deviation."""
        count: int = 200

    def __init__(self, noise, count):
        self.noise, self.count = noise, count

    def load(self, seed):
        source = torch.Generator().manual_seed(seed)
        t = torch.linspace(0, 6.28, SHARED)
        y = torch.arange(self.count) % 2
        x = torch.where(y[:, None] == 0, t.sin(), t.cos())
        x = x + self.noise * torch.randn(x.shape, generator=source)
        return given((x, y), time=False, classes=["sine", "cosine"], seed=seed)[0]

    @staticmethod
    def where():
        return "made on the spot"

    @staticmethod
    def prepare(source, form):
        return torch.from_numpy(np.fromfile(source, np.float32)).reshape(-1, *form["shape"]), [str(source)]


@bitspike.register("data", "plain")
def plain(seed: int, folder=None, count: int = 60):
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    return given((x, (x[:, 0] > 0.5).long()), time=False, seed=seed)[0]
'''
RECIPE = """
name = "own"
[data]
set = "{name}"
{options}
[encoder]
name = "direct"
steps = 4
[model]
layers = ["16"]
[training]
epochs = 4
batch = 16
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sets.py").write_text(OWN)
    return tmp_path


def test_one_file_is_enough(place: Path) -> None:
    import numpy as np

    (place / "own.toml").write_text(RECIPE.format(name="waves", options="[data.options]\nnoise = 0.05"))
    np.cos(np.linspace(0, 6.28, 8)).astype(np.float32).tofile(place / "new.wave")
    commands(["--plugins", "own", "train", "own.toml", "--out", "run", "--seed", "3"], cwd=place)
    environment = json.loads((place / "run" / "environment.json").read_text())
    assert environment["data"]["name"] == "waves"
    assert json.loads((place / "run" / "result.json").read_text())["test"]["accuracy"] > 0.9
    (place / "run" / "report.html").unlink()
    asked = (["predict", "run", "new.wave"], ["evaluate", "run"], ["report", "run"], ["doctor", "--json"])
    explain = ["recipes", "own.toml", "--explain"]
    predicted, _, _, listed, explained = commands(
        *(["--plugins", "own", *some] for some in (*asked, explain)), cwd=place
    )
    assert predicted.stdout.split()[1] == "cosine"
    assert "waves" in (place / "run" / "report.html").read_text()
    found = json.loads(listed.stdout)["data"]
    assert found["waves"] == "made on the spot"
    assert found["plain"].endswith(":plain")
    assert "data.options.noise = 0.05  (number; 0.1)\n    Standard deviation." in explained.stdout


def test_a_function_is_a_set_and_its_options_are_read_strictly(place: Path) -> None:
    (place / "own.toml").write_text(RECIPE.format(name="plain", options=""))
    changes = ("data.options.count=40", "data.options.count='40'", "data.options.coun=40", "data.set='wave'")
    lines = (
        ["--plugins", "own", "train", "own.toml", "--out", f"run-{number}", "--set", change]
        for number, change in enumerate(changes)
    )
    _, text, near, unknown = commands(*lines, cwd=place, codes=[0, 2, 2, 2])
    counts = json.loads((place / "run-0" / "environment.json").read_text())["data"]["examples"]
    assert sum(counts.values()) == 40
    assert "plain option count: got '40', wanted a valid integer" in text.stderr
    assert "plain option coun: got 40, wanted one of the options count" in near.stderr
    assert "got 'wave', wanted one of 'digits'" in unknown.stderr
