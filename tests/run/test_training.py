"""Whole runs on the embedded digits: what is written, resume to the bit, evaluation, prediction, results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import bitspike
from bitspike import notices
from bitspike.errors import BitspikeError
from bitspike.run.results import collect
from bitspike.run.trainer import Interrupted, Trainer

from ..commands import commands
from .fast import FAST, without_seconds

OWN = str(Path(__file__).parents[2] / "examples" / "own_data.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bitspike.train("digits-bayes", tmp_path_factory.mktemp("runs") / "r", overrides=FAST)


def test_the_run_folder_is_complete(run):
    names = {path.name for path in run.path.iterdir()}
    files = {
        ".lock",
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "history.npz",
        "predictions.npz",
    }
    assert names == {*files, "split.npz", "checkpoints"}
    with np.load(run.path / "split.npz") as split:
        numbers = np.concatenate([split[part] for part in ("train", "validation", "test")])
    assert len(set(numbers.tolist())) == len(numbers) == 1797
    result = run.result
    assert {"accuracy", "nll", "brier", "ece", "scaled"} <= set(result["test"])
    assert {"nll", "ece", "temperature"} <= set(result["test"]["scaled"])
    assert {"test_map", "test_single_draw", "bits", "energy", "epochs", "seconds"} <= set(result)
    assert {"weights_stored", "average", "significant", "spikes_per_neuron"} <= set(result["bits"])
    assert len(result["over_time"]) == 4
    assert result["over_time"][-1]["accuracy"] == result["test"]["accuracy"]
    epochs = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in epochs] == [1, 2]
    with np.load(run.path / "history.npz") as history:
        assert history["counts/dense1.layer.weight"].sum(1).tolist() == [64 * 32] * 2
    with np.load(run.path / "predictions.npz") as kept:
        accuracy = (kept["probabilities"][-1].argmax(1) == kept["targets"]).mean()
    assert accuracy == pytest.approx(result["test"]["accuracy"])


def test_stored_bits_count_every_draw(run):
    binary, real = 64 * 32 + 32 * 10, 4 * (32 + 10)
    assert run.result["bits"]["weights_stored"] == 3 * binary + 32 * real


def test_a_loaded_run_predicts_what_was_measured(run):
    loaded = bitspike.load(run.path)
    reading = loaded.evaluate("test")
    assert reading["accuracy"] == run.result["test"]["accuracy"]
    assert reading["nll"] == pytest.approx(run.result["test"]["nll"], rel=1e-6)
    from bitspike.data import load

    test = load("digits").test
    p = loaded.predict(test.x[:7])
    assert torch.allclose(p.sum(1), torch.ones(7), atol=1e-5)
    assert torch.allclose(p, loaded.predict(test.x)[:7], atol=1e-6)
    assert loaded.predict(test.x[:7], over_time=True).shape == (4, 7, 10)
    assert loaded.classes == tuple("0123456789")


def test_the_same_seed_gives_the_same_run_and_another_does_not(run, tmp_path):
    again = bitspike.train("digits-bayes", tmp_path / "a", overrides=FAST)
    other = bitspike.train("digits-bayes", tmp_path / "b", overrides=FAST, seed=1)
    assert without_seconds(again.result) == without_seconds(run.result)
    assert other.result["test"]["nll"] != run.result["test"]["nll"]
    content = collect([again.path, other.path])
    assert content["seeds"] == [0, 1]
    values = [r.result["test"]["scaled"]["nll"] for r in (again, other)]
    assert content["mean"]["test"]["scaled"]["nll"] == pytest.approx(np.mean(values))
    assert content["std"]["test"]["scaled"]["nll"] == pytest.approx(np.std(values, ddof=1))
    assert len(content["data"]["sha256"]) >= 1
    with pytest.raises(BitspikeError, match=r"results: got seeds \[0, 0\], wanted runs of different seeds"):
        collect([run.path, again.path])


def test_a_wrong_encoder_or_device_is_one_line(tmp_path):
    with pytest.raises(BitspikeError, match=r"encoder.name: got 'events' for data with values, wanted one of 'direct'"):
        bitspike.train("digits-st", tmp_path / "a", overrides=["encoder={name='events'}"])
    with pytest.raises(BitspikeError, match=r"--device tpux"):
        bitspike.train("digits-st", tmp_path / "b", device="tpux")
    with pytest.raises(BitspikeError, match=r"training.criterion: got 'rmse', wanted one of nll, accuracy"):
        bitspike.train("digits-st", tmp_path / "c", overrides=[*FAST, "training.criterion='rmse'"])


def test_regression_measures_in_the_datas_units(tmp_path):
    overrides = ["training.epochs=1", "encoder.steps=20", "model.layers=['16']", "evaluation.draws=3"]
    run = bitspike.train("regression-1d-bayes", tmp_path / "r", overrides=overrides)
    with np.load(run.path / "predictions.npz") as kept:
        value, spread = np.split(kept["prediction"][-1], 2, -1)
        residual = kept["targets"] - value
        # x - 0.1 x^2 + cos(pi x / 2) on [-1, 5) leaves the unit interval.
        assert kept["targets"].max() > 2
        assert run.result["test"]["rmse"] == pytest.approx(float(np.sqrt((residual**2).mean())), rel=1e-4)
        nll = 0.5 * np.log(2 * np.pi * spread**2) + residual**2 / (2 * spread**2)
    assert run.result["test"]["nll"] == pytest.approx(float(nll.mean()), rel=1e-3)
    (raw,) = commands(["predict", run.path, "-", "--raw"], codes=[2])
    assert raw.stderr.startswith("bitspike: --raw: got it for values, wanted it left out")


def test_sorted_data_gives_the_same_network_as_shuffled_data(tmp_path):
    """Batch statistics are settled on shuffled examples: class folders and tables come sorted by class."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0.2, 0.8, (4, 12))
    y = np.repeat(np.arange(4), 400)
    x = np.clip(centres[y] + rng.normal(0, 0.15, (1600, 12)), 0, 1)
    np.savez(tmp_path / "sorted.npz", x=x.astype(np.float32), y=y)
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "sorted"\n[data]\nset = "folder"\noptions = {{ path = "{tmp_path}/sorted.npz" }}\n'
        '[encoder]\nname = "direct"\nsteps = 4\n[model]\nlayers = ["32"]\n'
        '[weights]\nprecision = "bayesian"\n[latent_optimizer]\nlr = 0.3\n[optimizer]\nlr = 0.01\n'
        "[training]\nepochs = 4\nbatch = 32\n[evaluation]\nbatch = 250\n"
    )
    run = bitspike.train(recipe, tmp_path / "run")
    last = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert run.result["test"]["accuracy"] > last["validation"]["accuracy"] - 0.05
    assert run.result["test_map"]["accuracy"] > last["validation"]["accuracy"] - 0.07


def test_resume_and_evaluate_refuse_changed_data(tmp_path, monkeypatch):
    def write(seed):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 80)
        np.savez(tmp_path / "d.npz", x=(rng.random((80, 5)) * 0.5 + 0.5 * y[:, None]).astype(np.float32), y=y)

    overrides = [f"data.options.path='{tmp_path}/d.npz'", "data.class_weights=false", "training.epochs=2"]
    overrides += ["model.layers=['8']", "training.checkpoint_seconds=0"]
    write(1)
    finished = bitspike.train(OWN, tmp_path / "a", overrides=overrides)
    monkeypatch.setattr(Trainer, "_any_process", lambda self, asked: 2)
    with pytest.raises(Interrupted):
        bitspike.train(OWN, tmp_path / "b", overrides=overrides)
    monkeypatch.undo()
    with pytest.raises(BitspikeError, match=r"--resume: precision: got 64-true, wanted what the run began with"):
        bitspike.train(OWN, tmp_path / "b", overrides=overrides, resume=True, precision="64-true")
    write(2)
    with pytest.raises(BitspikeError, match=r"--resume: digests: got .*d\.npz.*wanted what the run began with"):
        bitspike.train(OWN, tmp_path / "b", overrides=overrides, resume=True)
    with pytest.raises(BitspikeError, match=r"data: got SHA-256 .*wanted the data of the run"):
        finished.evaluate()


def test_another_split_of_the_same_data_is_refused(run, tmp_path):
    copy = tmp_path / "r"
    shutil.copytree(run.path, copy)
    with np.load(copy / "split.npz") as stored:
        parts = dict(stored)
    parts["train"][0], parts["test"][0] = parts["test"][0], parts["train"][0]
    np.savez(copy / "split.npz", **parts)
    with pytest.raises(BitspikeError, match=r"^data: the train part: got other examples, wanted those .*split\.npz"):
        bitspike.load(copy).evaluate()
    (copy / "result.json").unlink()
    with pytest.raises(BitspikeError, match=r"^data: the train part: got other examples"):
        bitspike.train("digits-bayes", copy, overrides=FAST, resume=True)
    (copy / "split.npz").write_bytes(b"PK")
    with pytest.raises(BitspikeError, match=r"split\.npz: got a damaged file"):
        bitspike.train("digits-bayes", copy, overrides=FAST, resume=True)
    (copy / "split.npz").unlink()
    with pytest.raises(BitspikeError, match=r"split\.npz: got no such file"):
        bitspike.train("digits-bayes", copy, overrides=FAST, resume=True)


def test_values_that_a_population_code_cannot_show_are_refused_or_said(tmp_path, capfd, monkeypatch):
    np.savez(tmp_path / "t.npz", x=np.random.default_rng(0).normal(size=(60, 2)), y=np.arange(60) % 2)
    small = ["model.layers=['4']", "encoder.steps=14", "training.epochs=1", "evaluation.draws=2"]
    own = ["data.set='folder'", f"data.options={{path='{tmp_path / 't.npz'}', normalise='standard'}}"]
    with pytest.raises(BitspikeError, match=r"^encoder.name: got 'population', and training values from -\d"):
        bitspike.train("two-moons-bayes", tmp_path / "a", overrides=small + own)
    moons = bitspike.train("two-moons-bayes", tmp_path / "b", overrides=small, quiet=False)
    assert re.search(r"note: \d+\.\d% of the test values lie outside \[0, 1\]", capfd.readouterr().err)
    monkeypatch.setattr(notices, "always", True)
    moons.predict(torch.tensor([[0.5, 1.5]]))
    assert "predict x: 50.0% of the values lie outside [0, 1], where the population" in capfd.readouterr().err


def test_predict_refuses_what_it_cannot_read(run):
    loaded = bitspike.load(run.path)
    good = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.predict(good.numpy()), loaded.predict(good))
    for x, message in (
        (good * float("nan"), "predict x: got values that are not finite"),
        ((good * 255).to(torch.uint8), "predict x: got torch.uint8, wanted floating-point values, normalised"),
        (good[:, :, :7], r"predict x: got \(3, 1, 7, 8\), wanted \(N, 1, 8, 8\)"),
        ("text", "predict x: got str, wanted a tensor or an array"),
    ):
        with pytest.raises(BitspikeError, match=message):
            loaded.predict(x)
    with pytest.raises(BitspikeError, match=r"predict samples: got -1, wanted 0 \(MAP\) or more draws"):
        loaded.predict(good, samples=-1)


def test_the_online_rule_learns_images_through_convolutions(tmp_path):
    overrides = ["data.set='digits'", "encoder={name='rate', steps=14}", "model.layers=['4c3', 'p2', '16']"]
    overrides += ["training.epochs=1", "evaluation.draws=2", "data.options={}"]
    run = bitspike.train("two-moons-bayes", tmp_path / "r", overrides=overrides)
    assert len(run.classes) == 10
    assert run.result["bits"]["binary_weights"] == 4 * 9 + 4 * 16 * 16


def test_large_targets_keep_their_digits(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.random((120, 3))
    rows = [f"{a},{b},{c},{1.7e9 + 3 * a:.6f}" for a, b, c in x]
    (tmp_path / "t.csv").write_text("a,b,c,y\n" + "\n".join(rows) + "\n")
    overrides = [f"data.options.path='{tmp_path}/t.csv'", "data.class_weights=false", "training.epochs=1"]
    run = bitspike.train(OWN, tmp_path / "r", overrides=[*overrides, "training.criterion='rmse'"])
    # The targets spread over three units: an untrained network is off by about one.
    assert 0.05 < run.result["test"]["rmse"] < 3
    assert run.predict(torch.rand(2, 3)).dtype == torch.float64
