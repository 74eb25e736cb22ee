"""A measurement of one's own, in one file: made, stored, printed, drawn, checked and averaged like any other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app

OWN = '''
import torch

import bitspike
from bitspike.errors import refuse
from bitspike.reports.sections import Section
from bitspike.reports.style import panel, styled, tell


@styled
def drawn(shares):
    figure, axes = panel()
    axes.bar(list(shares), list(shares.values()))
    return tell(figure, "Silent neurons by layer")


@bitspike.register("measurement", "silence")
class Silence(bitspike.Measurement):
    """Neurons that never fire."""

    file = "silence.json"

    def __init__(self, most: int = 50):
        self.most = most

    def measure(self, run, part, data=None, progress=None):
        recorded = run.record(getattr(run.dataset(data), part).x[: self.most], states=False)
        never = {name: float((r.spikes.sum((0, 1)) == 0).float().mean()) for name, r in recorded.items()}
        return {"split": part, "examples": self.most, "never": never, "mean": sum(never.values()) / len(never)}

    @classmethod
    def check(cls, found, place):
        if not isinstance(found.get("never"), dict):
            refuse(f"{place} never", type(found.get("never")).__name__, "a table of shares")

    @classmethod
    def sections(cls, run, found):
        return [Section("silence", "Who never speaks", "Shares of silent neurons.", [drawn(found["never"])])]
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "silence.py").write_text(OWN)
    monkeypatch.setenv("BITSPIKE_PLUGINS", str(tmp_path / "own"))
    small = ["model.layers=['16']", "training.epochs=1"]
    return bitspike.train("digits-st", tmp_path / "run", overrides=small).path


def test_one_file_is_enough(run: Path) -> None:
    def command(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    said = command("evaluate", str(run), "--measure", "silence", "--set", "most=20").splitlines()
    found = json.loads((run / "silence.json").read_text())
    assert found["examples"] == 20
    assert 0 <= found["never"]["spikes1"] <= 1
    assert any(line.split() == ["mean", f"{found['mean']:.4g}"] for line in said)
    page = (run / "report.html").read_text()
    assert "Who never speaks" in page
    assert "Silent neurons by layer" in page
    assert ", silence.json and history.npz" in page
    command("results", str(run), "--out", str(run.parent / "all.json"))
    assert json.loads((run.parent / "all.json").read_text())["mean"]["silence"]["mean"] == pytest.approx(found["mean"])
    (run / "silence.json").write_text('{"never": 3}')
    with pytest.raises(bitspike.BitspikeError, match=r"silence.json never: got int, wanted a table of shares"):
        bitspike.report(run)
    os.remove(run / "silence.json")
    bitspike.report(run)
    for asked, message in (
        (["--measure", "silenc"], "--measure: got 'silenc', wanted one of .*did you mean 'silence'"),
        (["--measure", "silence", "--set", "least=3"], "silence option least: got 3, wanted one of the options most"),
        (["--set", "most=3"], "--set: got most=3, wanted it only with --measure"),
    ):
        with pytest.raises(bitspike.BitspikeError, match=message):
            command("evaluate", str(run), *asked)
