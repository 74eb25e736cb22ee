"""The figures of a run's page as functions, on a small run of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

import bitspike
from bitspike.errors import BitspikeError
from bitspike.figures import every

SMALL = ["model.layers=['16']", "training.epochs=2"]


def pixels(figure: Figure, path: Path) -> bytes:
    figure.savefig(path, dpi=40)
    return path.read_bytes()


def test_they_are_drawn_of_a_run_and_of_its_folder(tmp_path: Path) -> None:
    run = bitspike.train("digits-bayes", tmp_path / "run", overrides=SMALL)
    found = {
        name: getattr(bitspike.figures, name)(run)
        for name in ("learning", "reliability", "time_steps", "raster", "weights", "confusion")
    }
    assert all(isinstance(figure, Figure) for figure in found.values())
    # Panels side by side, each with what the page says of it.
    assert len(found["learning"].subfigs) == 2
    assert "Loss" in found["learning"].get_label()
    assert "Accuracy" in found["learning"].get_label()
    titles = [axes.get_title(loc="left") for part in found["learning"].subfigs for axes in part.axes]
    assert titles == ["Loss", "Accuracy"]
    assert pixels(found["learning"], tmp_path / "a.png").startswith(b"\x89PNG")
    for name in ("confusion", "time_steps"):
        again = getattr(bitspike.figures, name)(tmp_path / "run")
        assert pixels(again, tmp_path / "b.png") == pixels(found[name], tmp_path / "c.png")
    panels = every(run)
    assert list(panels) == ["learning", "reliability", "time", "raster", "weights", "confusion"]
    assert len(panels["learning"]) == 2
    for name, message in (
        ("series", r"figures.series: got '.*run', which has no data for it, wanted another run or figure"),
        ("plane", "figures.plane: got"),
    ):
        with pytest.raises(BitspikeError, match=message):
            getattr(bitspike.figures, name)(run)
    with pytest.raises(BitspikeError, match=r"figures.spiking: got .*no data for it"):
        bitspike.figures.measured(run, "spiking")
    with pytest.raises(BitspikeError, match=r"figures.measured: got 'spikin', .* did you mean 'spiking'"):
        bitspike.figures.measured(run, "spikin")
