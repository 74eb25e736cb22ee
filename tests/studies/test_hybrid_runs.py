from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.convert import hybridise
from bitspike.errors import BitspikeError
from bitspike.neurons import at_step
from bitspike.reports import report
from bitspike.studies.hybrid import chosen, hybrid_of, sweep_run

from ..commands import commands

STATIC = [
    "data.set='digits'", "data.shift=0", "model.layers=['8c3p2','32']", "training.epochs=6", "training.batch=32",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    return bitspike.train("cnn-mnist", tmp_path_factory.mktemp("runs") / "static", overrides=STATIC)


def test_an_ordinary_network_is_trained_like_any_other(run: bitspike.Run) -> None:
    assert run.result["test"]["accuracy"] > 0.9
    assert run.result["bits"]["spikes_per_neuron"] == 0
    digits = run.dataset()
    again = bitspike.load(run.path)
    assert torch.equal(again.predict(digits.test.x[:20]), run.predict(digits.test.x[:20]))


def test_the_sweep_of_a_run_is_stored_and_drawn(run: bitspike.Run) -> None:
    found = sweep_run(run, (1, 2), (0.25, 4.0, 16.0), examples=200, within=0.1)
    stored = json.loads((run.path / "sweep.json").read_text())
    assert stored == json.loads(json.dumps(found))
    static = next(row for row in found["test"] if row["counts"] is None)
    assert static["accuracy"] == pytest.approx(run.result["test"]["accuracy"])
    assert [(r["steps"], r["counts"]) for r in found["test"]] == [
        (1, None), (1, 16.0), (1, 4.0), (1, 0.25), (2, 16.0), (2, 4.0), (2, 0.25),
    ]  # fmt: skip
    best = found["chosen"]
    assert best["validation"]["accuracy"] >= found["validation"][0]["accuracy"] - 0.1
    assert best["test"]["spikes"] == next(
        r["spikes"] for r in found["test"] if (r["steps"], r["counts"]) == (best["steps"], best["counts"])
    )
    page = report(run.path).read_text()
    assert 'id="spiking"' in page
    assert "sweep.json" in page
    assert f"{best['test']['spikes']:.2f} spikes and {best['test']['bits']:.2f} bits" in page
    # A kernel of 3 meets a row of 8 pixels at 8 + 7 + 7 places; the pool leaves 16 places of eight channels.
    first, dense = 8 * 22 * 22, 8 * 16 * 32 + 32 * 10
    assert found["static"] == {"dense": first + dense, "first": first}


def test_the_command_sweeps_a_run_and_results_hold_it(run: bitspike.Run, tmp_path: Path) -> None:
    asked = ["--steps", "1", "--counts", "0.25,6", "--most", "50", "--examples", "60", "--within", "20"]
    done, wrong = commands(["hybridise", run.path, *asked], ["hybridise", run.path, "--steps", "x"], codes=[0, 2])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("validation static")
    assert lines[4].startswith("test       1 x 6")
    assert lines[6].startswith("chosen     1 x 6")
    assert lines[7] == f"report: {run.path / 'report.html'}"
    stored = bitspike.write_results([run.path], tmp_path / "out.json")
    assert stored["sweeps"] == [json.loads((run.path / "sweep.json").read_text())]
    with pytest.raises(BitspikeError, match=r"^hybridise within: got inf, wanted a share of accuracy"):
        sweep_run(run, within=math.inf)
    assert wrong.stderr == "bitspike: --steps: got 'x', wanted numbers separated by commas, such as 1,2,4\n"


def test_the_cheapest_setting_within_the_bounds_is_chosen() -> None:
    def row(steps: int, counts: float | None, accuracy: float, spikes: float = 0.0, bits: float = 0.0) -> Any:
        return {"steps": steps, "counts": counts, "accuracy": accuracy, "spikes": spikes, "bits": bits}

    rows = [
        row(1, None, 0.99), row(1, 16.0, 0.99, 3.0, 3.0), row(1, 8.0, 0.989, 1.5, 4.5), row(1, 4.0, 0.988, 1.2, 2.0),
        row(2, 4.0, 0.989, 1.9, 2.0), row(1, 2.0, 0.97, 0.5, 1.0),
    ]  # fmt: skip
    found = {"validation": rows, "test": [dict(r, accuracy=0.5) for r in rows]}
    best = chosen(found, {"spikes": 2.0, "bits": 4.0, "within": 0.0025})
    assert best is not None
    assert (best["steps"], best["counts"], best["test"]["accuracy"]) == (1, 4.0, 0.5)
    assert chosen(found, {"spikes": 0.1, "bits": 4.0, "within": 0.0025}) is None


def test_the_hybrid_of_a_run_has_its_static_limit(run: bitspike.Run) -> None:
    hybrid = hybrid_of(run, 3, examples=100)
    x = run.dataset().test.x[:20]
    with torch.no_grad(), at_step(hybrid, None):
        assert torch.allclose(hybrid(x), run.model(x.unsqueeze(0))[0])
    assert list(hybrid.quantised()) == ["spikes1", "spikes2"]


def test_layers_may_have_counts_of_their_own(run: bitspike.Run) -> None:
    plain = hybrid_of(run, examples=100).quantised()
    other = hybrid_of(run, examples=100, relative={"spikes1": 0.5}).quantised()
    assert torch.allclose(other["spikes1"].final, plain["spikes1"].final / 2)
    assert torch.equal(other["spikes2"].final, plain["spikes2"].final)


def test_a_limit_does_not_touch_the_network_that_is_compared_with(run: bitspike.Run) -> None:
    found = sweep_run(run, (1,), (40.0,), limit=1, percentile=0.5, examples=100)
    static, clipped = found["test"]
    assert static["accuracy"] == pytest.approx(run.result["test"]["accuracy"])
    assert clipped["most_levels"] <= 41
    assert clipped["bits"] < 5.36


def test_a_spiking_run_is_refused(tmp_path: Path) -> None:
    spiking = bitspike.train("digits-full", tmp_path / "spiking", overrides=["training.epochs=1", "model.layers=['8']"])
    with pytest.raises(BitspikeError, match=r"^hybridise run: .*wanted a run of an ordinary network"):
        sweep_run(spiking)
    with pytest.raises(BitspikeError, match=r"^hybridise model: got .* with no nonlinearity"):
        hybridise(spiking.model)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"counts": (8.0, math.inf)}, "hybridise counts: got inf, wanted finite numbers above 0"),
        ({"counts": (0.0,)}, "hybridise counts: got 0.0"),
        ({"steps": (0,)}, "hybridise steps: got 0"),
        ({"relative": {"spikes1": 0.0}}, "hybridise relative: got 0.0"),
    ],
)
def test_numbers_that_count_nothing_are_refused_before_anything_is_written(
    run: bitspike.Run, asked: Any, line: str
) -> None:
    before = (run.path / "sweep.json").read_bytes() if (run.path / "sweep.json").exists() else None
    with pytest.raises(BitspikeError, match=f"^{line}"):
        sweep_run(run, **{"steps": (1,), "counts": (8.0,), "examples": 100} | asked)
    after = (run.path / "sweep.json").read_bytes() if (run.path / "sweep.json").exists() else None
    assert before == after


def test_a_cropped_run_is_measured_on_what_it_was_trained_on(tmp_path: Path) -> None:
    small = [*STATIC[:2], "model.layers=['8c3p3','16']", "training.epochs=2", "training.batch=32", "data.crop=6"]
    cropped = bitspike.train("cnn-mnist", tmp_path / "crop", overrides=small)
    found = sweep_run(cropped, (1,), (15.0,), examples=100)
    whole = next(row for row in found["test"] if row["counts"] is None)
    assert whole["accuracy"] == pytest.approx(cropped.result["test"]["accuracy"])
    rated = bitspike.train(
        "cnn-mnist",
        tmp_path / "rate",
        overrides=[*STATIC[:3], "training.epochs=1", "encoder.name=rate", "encoder.steps=2"],
    )
    with pytest.raises(BitspikeError, match=r"^hybridise run: got encoder.name = 'rate', wanted 'direct'"):
        sweep_run(rated, (1,), (15.0,))


def test_a_total_below_every_setting_and_other_doors_are_refused(run: bitspike.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("sweep.json"))
    for total in (2.0, math.nan):
        with pytest.raises(BitspikeError, match=r"^--total: got .*, wanted 4 or more, the least of steps times counts"):
            sweep_run(bitspike.load(folder), (1, 2), (4.0, 8.0), total=total)
    assert not (folder / "sweep.json").exists()
    assert report(folder).exists()
    for options, said in (
        (["--measure", "hybridised"], "--measure: got hybridised, wanted `bitspike hybridise RUN`"),
        (["--spiking", "--dt", "1e-6"], "--dt: got 1e-06 ms, wanted at most 1,000,000 steps in 200 ms"),
    ):
        found = CliRunner().invoke(app, ["evaluate", str(folder), *options])
        assert isinstance(found.exception, BitspikeError)
        assert str(found.exception).startswith(said)


def test_counts_of_all_layers_may_be_relative(run: bitspike.Run) -> None:
    usual, thrice = hybrid_of(run), hybrid_of(run, relative={"*": 3.0})
    for name, quantiser in thrice.quantised().items():
        assert torch.allclose(quantiser.dt, 3 * usual.quantised()[name].dt)
