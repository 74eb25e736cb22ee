"""A recipe of soft rates trained, measured, and run as spikes from Python and from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.convert import spiking
from bitspike.errors import BitspikeError
from bitspike.neurons import SoftNeuron
from bitspike.run.checkpoint import write_json
from bitspike.run.results import collect
from bitspike.studies.spiking import MOST_POINTS, _stops, evaluate_spiking

SMALL = ["model.layers=['8c3','a3s2','8l3','d0.2','64']", "training.epochs=20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    return bitspike.train("soft-lif-digits", tmp_path_factory.mktemp("runs") / "soft", overrides=SMALL)


def test_it_is_trained_like_any_other_and_predicts_without_noise(run: bitspike.Run) -> None:
    assert run.result["test"]["accuracy"] > 0.9
    assert any(isinstance(m, SoftNeuron) and m.noise.kind == "alpha-rc" for m in run.model.modules())
    x = run.dataset().test.x[:30]
    assert x.shape[-1] == 8
    assert torch.equal(run.predict(x), bitspike.load(run.path).predict(x))


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    short = [*SMALL, "training.epochs=1"]
    states = []
    for name in ("a", "b"):
        torch.manual_seed(len(states))
        states.append(bitspike.train("soft-lif-digits", tmp_path / name, overrides=short).model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_as_spikes_it_answers_nearly_as_its_twin(run: bitspike.Run) -> None:
    windows = [(0.01, 0.06), (0.1, 0.2)]
    told: list[tuple[int, int]] = []
    found = evaluate_spiking(
        run, time=0.2, window=windows, most=120, keep=True, progress=lambda done, all: told.append((done, all))
    )
    assert told[-1] == (120, 120)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert found["twin"] == pytest.approx(float((found["twin_answers"] == found["targets"]).double().mean()))
    assert found["accuracy"] > found["twin"] - 0.06
    assert [(w["start"], w["end"]) for w in found["windows"]] == windows
    assert found["windows"][0]["accuracy"] <= found["windows"][1]["accuracy"] + 0.02
    assert found["accuracy"] == pytest.approx(float((found["answers"][1] == found["targets"]).double().mean()))
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert [layer["neurons"] for layer in layers.values()] == [8 * 64, 8 * 16, 64]
    assert found["spikes"] == pytest.approx(sum(layer["spikes"] for layer in layers.values()))
    assert 0 < found["mean_rate"] < 500
    x = run.dataset().test.x[:1]
    assert layers["spikes1"]["rate"] > 0
    energy = found["energy"]
    assert [row["name"] for row in energy["by_layer"]] == ["conv1", "local3", "dense5", "readout"]
    assert energy["by_layer"][0]["spikes_per_synapse"] is None
    assert energy["network"]["neuron_updates"] == 200 * (8 * 64 + 8 * 16 + 64)
    # Of other examples, and each from rest: about as many spikes.
    assert energy["network"]["spikes"] == pytest.approx(found["spikes"], rel=0.2)
    assert spiking(run.model).present(x, 0.05).shape == (1, 1, 10)


def test_the_curve_over_time_is_of_the_same_presentations(run: bitspike.Run) -> None:
    found = evaluate_spiking(run, time=0.1, window=0.03, most=60, counted=1)
    assert [row["time"] for row in found["over_time"]] == pytest.approx([0.01 * k for k in range(1, 11)])
    assert found["over_time"][-1]["accuracy"] == found["accuracy"]
    asked = evaluate_spiking(run, time=0.1, window=[(0, 0.02), (0.02, 0.05), (0.07, 0.1)], most=60, counted=1)
    curve = {round(row["time"], 3): row["accuracy"] for row in found["over_time"]}
    assert [row["accuracy"] for row in asked["windows"]] == [curve[0.02], curve[0.05], curve[0.1]]
    assert [len(asked[name]) for name in ("windows", "over_time")] == [3, 10]
    # Steps longer than 10 ms, and a time that is no multiple of 10 ms.
    coarse = evaluate_spiking(run, time=0.06, window=0.02, dt=0.02, most=5, counted=1)
    assert [row["time"] for row in coarse["over_time"]] == pytest.approx([0.02, 0.04, 0.06])
    odd = evaluate_spiking(run, time=0.025, window=0.025, most=5, counted=1)
    assert [row["time"] for row in odd["over_time"]] == pytest.approx([0.01, 0.02, 0.025])


def test_a_long_curve_keeps_to_a_number_of_points() -> None:
    stops = _stops(2.0, 0.001, 1.9, 2.0)
    assert len(stops) == MOST_POINTS
    assert stops[0] == pytest.approx((0.0, 0.05))
    assert stops[-1] == pytest.approx((1.9, 2.0))


def test_the_command_prints_and_writes_the_same(run: bitspike.Run) -> None:
    asked = ["--spiking", "--time", "100", "--window", "40", "--most", "60", "--synapse", "first-order", "--tau-s", "3"]

    def command(*options: str) -> str:
        done = CliRunner().invoke(app, ["evaluate", str(run.path), *options], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    found = json.loads(command(*asked, "--reset", "--json"))
    assert (found["time"], found["reset"], found["examples"], found["synapse"]) == (0.1, True, 60, "first-order")
    assert found["tau_s"] == 0.003
    assert found["windows"][0]["start"] == pytest.approx(0.06)
    want = evaluate_spiking(run, time=0.1, window=0.04, synapse="first-order", tau_s=0.003, reset=True, most=60)
    assert found["accuracy"] == want["accuracy"]
    shown = command(*asked).splitlines()
    assert shown[0].endswith("60 validation images of 100 ms, back to back, answers over 60 to 100 ms")
    assert [line.split()[0] for line in shown[1:4]] == ["accuracy", "twin", "spikes"]
    assert shown[4].startswith("  spikes1          512 neurons,")
    assert shown[-1] == f"report: {run.path / 'report.html'}"
    assert "60 validation images (back to back, 100 ms each)" in (run.path / "report.html").read_text()
    assert (
        json.loads(command("--spiking", "--time", "20", "--window", "5", "--synapse", "none", "--json"))["tau_s"] == 0
    )
    for options, message in (
        (["--window", "40"], "--window: got 40.0, wanted it only with --spiking"),
        (["--reset"], "--reset: got True, wanted it only with --spiking"),
        (["--spiking", "--draws", "2"], "--draws: got 2, wanted no --draws with --spiking"),
        (["--spiking", "--time", "50", "--window", "80"], "spiking window: got the last 80 ms of 50, wanted a part of"),
        (["--spiking", "--window", "nan"], "spiking window: got the last nan ms of 200, wanted a part of"),
        (["--spiking", "--window", "inf"], "spiking window: got the last inf ms of 200, wanted"),
        (
            ["--spiking", "--time", "40"],
            r"spiking window: got the last 50 ms of 40, wanted a part of the time .--window",
        ),
    ):
        with pytest.raises(BitspikeError, match=f"^{message}"):
            command(*options)


def test_results_hold_what_was_measured_as_spikes(run: bitspike.Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "a")
    reading = evaluate_spiking(run, time=0.05, window=0.02, most=40, counted=5)
    write_json(tmp_path / "a" / "spiking.json", reading)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    recipe = tmp_path / "b" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 1", 1))
    write_json(tmp_path / "b" / "spiking.json", {**reading, "accuracy": reading["accuracy"] + 0.02})
    content = collect([tmp_path / "a", tmp_path / "b"])
    assert [entry["spiking"]["twin"] for entry in content["runs"]] == [reading["twin"]] * 2
    assert content["mean"]["spiking"]["accuracy"] == pytest.approx(reading["accuracy"] + 0.01)
    assert content["runs"][0]["spiking"]["seconds"] > 0
    assert "by_layer" not in content["runs"][0]["spiking"]["energy"]
    write_json(tmp_path / "b" / "spiking.json", {**reading, "tau_s": 0.003})
    with pytest.raises(BitspikeError, match=r"spiking.json of '.*b' was not measured as that of '.*a' was"):
        collect([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "b" / "spiking.json").unlink()
    with pytest.raises(BitspikeError, match=r"spiking.json of '.*b' was not measured"):
        collect([tmp_path / "a", tmp_path / "b"])


def test_seeds_are_added_to_a_file_of_results(run: bitspike.Run, tmp_path: Path) -> None:
    def seeded(seed: int, **changes: object) -> Path:
        shutil.copytree(run.path, tmp_path / str(seed), ignore=shutil.ignore_patterns("spiking.json"))
        recipe = tmp_path / str(seed) / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("seed = 0", f"seed = {seed}", 1))
        environment = tmp_path / str(seed) / "environment.json"
        environment.write_text(json.dumps(json.loads(environment.read_text()) | changes))
        return environment.parent

    out = tmp_path / "out.json"
    reading = evaluate_spiking(run, time=0.05, window=0.02, most=40, counted=5)
    bitspike.write_results([seeded(2)], out)
    second = seeded(1, processor="another")
    write_json(second / "spiking.json", {**reading, "accuracy": 0.25})
    content = bitspike.write_results([second], out, add=True)
    assert content == json.loads(out.read_text())
    assert content["seeds"] == [1, 2]
    assert [entry.get("hardware", {}).get("processor") for entry in content["runs"]] == [
        None,
        run.environment["processor"],
    ]
    assert content["hardware"]["processor"] == "another"
    # Seed 2 was not measured as spikes, so no mean over seeds is.
    assert "spiking" not in content["mean"]
    assert content["mean"]["test"]["nll"] == pytest.approx(run.result["test"]["nll"])
    write_json(tmp_path / "2" / "spiking.json", {**reading, "accuracy": 0.75})
    content = bitspike.write_results([tmp_path / "2"], out, add=True)
    assert content["seeds"] == [1, 2]
    assert content["mean"]["spiking"]["accuracy"] == 0.5
    write_json(tmp_path / "2" / "spiking.json", {**reading, "tau_s": 0.003})
    with pytest.raises(BitspikeError, match=r"spiking.json of '.*2' was not measured as that of 'seed 1 in the file'"):
        bitspike.write_results([tmp_path / "2"], out, add=True)
    write_json(tmp_path / "other.json", {**content, "recipe_hash": "0"})
    with pytest.raises(BitspikeError, match=r"^results --add: the file is of another recipe than the runs$"):
        bitspike.write_results([second], tmp_path / "other.json", add=True)
    write_json(tmp_path / "none.json", [])
    with pytest.raises(BitspikeError, match=r"^results --add: got a file of something else, wanted"):
        bitspike.write_results([second], tmp_path / "none.json", add=True)


def test_a_cropped_run_takes_images_as_the_data_set_gives_them(tmp_path: Path) -> None:
    cropped = bitspike.train(
        "soft-lif-digits", tmp_path / "run", overrides=[*SMALL, "training.epochs=1", "data.crop=6"]
    )
    x = cropped.dataset().test.x[:9]
    assert cropped.predict(x).shape == (9, 10)
    with torch.no_grad():
        middle = cropped.model(x[None, :, :, 1:7, 1:7])[0].softmax(-1)
    assert torch.allclose(cropped.predict(x, scaled=False).float(), middle, atol=1e-5)
    found = evaluate_spiking(cropped, time=0.02, window=0.01, most=5)
    assert found["layers"][0]["neurons"] == 8 * 36


def test_a_run_that_cannot_be_run_as_spikes_is_refused(tmp_path: Path) -> None:
    short = ["training.epochs=1", "model.layers=['8']"]
    lif = bitspike.train("digits-full", tmp_path / "lif", overrides=short)
    with pytest.raises(BitspikeError, match=r"^spiking spikes1: got LIF, wanted units of soft rates"):
        evaluate_spiking(lif)
    values = bitspike.train("regression-1d-full", tmp_path / "values", overrides=short)
    with pytest.raises(BitspikeError, match=r"^--spiking: got a run of regression"):
        evaluate_spiking(values)
