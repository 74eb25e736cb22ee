"""Whole runs on the embedded digits: what is written, resume to the bit, evaluation, prediction, results."""

from __future__ import annotations

import json
import signal
import threading

import numpy as np
import pytest
import torch

import bitspike
from bitspike.errors import BitspikeError
from bitspike.run.batches import Batches
from bitspike.run.results import collect
from bitspike.run.trainer import Interrupted, Trainer

FAST = ["training.epochs=2", "model.layers=['32']", "evaluation.draws=3", "encoder.steps=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bitspike.train("digits-bayes", tmp_path_factory.mktemp("runs") / "r", overrides=FAST)


def without_seconds(result):
    return {key: value for key, value in result.items() if key != "seconds"}


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


@pytest.mark.parametrize("recipe", ["digits-st", "digits-bayes", "two-moons-bayes"])
def test_an_interrupted_run_resumes_to_the_bit(recipe, tmp_path, monkeypatch):
    overrides = ["training.epochs=2", "training.checkpoint_seconds=0"]
    if recipe.startswith("digits"):
        overrides += FAST[1:]
    else:
        overrides += ["encoder.steps=14", "model.layers=['16', '16']"]
    whole = bitspike.train(recipe, tmp_path / "whole", overrides=overrides)
    count = Trainer._count
    calls = []

    def stop_in_the_second_epoch(self, metrics):
        calls.append(1)
        self.stop_asked = self.epoch == 1 and self.batch == 2
        count(self, metrics)

    monkeypatch.setattr(Trainer, "_count", stop_in_the_second_epoch)
    with pytest.raises(Interrupted, match="everything is saved in"):
        bitspike.train(recipe, tmp_path / "parts", overrides=overrides)
    stopped_after = len(calls)
    monkeypatch.setattr(Trainer, "_count", lambda self, metrics: (calls.append(1), count(self, metrics))[1])
    parts = bitspike.train(recipe, tmp_path / "parts", overrides=overrides, resume=True)
    assert without_seconds(parts.result) == without_seconds(whole.result)
    assert (parts.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    # It went on where it stopped: together both parts did every batch once.
    assert 0 < stopped_after < len(calls) == whole_batches(whole)


def whole_batches(run):
    from bitspike.run.assemble import load_data

    split = load_data(run.recipe).train
    return 2 * Batches(run.recipe, run.encoder, split, torch.device("cpu"), torch.float32).per_epoch()


def test_ctrl_c_saves_and_stops_after_the_update(tmp_path):
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(Interrupted, match="stopped at epoch"):
        bitspike.train("digits-st", tmp_path / "r", overrides=["training.epochs=100000"])
    timer.join()
    assert (tmp_path / "r" / "checkpoints" / "last.json").exists()


def test_folders_are_protected(run, tmp_path):
    with pytest.raises(BitspikeError, match="already holds a run; --resume goes on with it, --overwrite replaces it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST)
    with pytest.raises(BitspikeError, match=r"holds a run of another recipe \(training.epochs: 2 there, 3 now\)"):
        bitspike.train("digits-bayes", run.path, overrides=[*FAST, "training.epochs=3"], resume=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(BitspikeError, match="exists and is not a run folder; nothing was changed"):
        bitspike.train("digits-bayes", mine, overrides=FAST, overwrite=True)
    assert (mine / "thesis.tex").read_text() == "x"
    with pytest.raises(BitspikeError, match="is not a run folder"):
        bitspike.load(tmp_path)


def test_a_folder_in_use_is_refused(run):
    from bitspike.run.folder import RunFolder

    holder = RunFolder(run.path)
    holder.lock()
    with pytest.raises(BitspikeError, match="another process is training in it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST, resume=True)
    with pytest.raises(BitspikeError, match="another process is training in it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST, overwrite=True)
    holder.unlock()
    assert bitspike.train("digits-bayes", run.path, overrides=FAST, resume=True).result == run.result


def test_a_wrong_encoder_or_device_is_one_line(tmp_path):
    with pytest.raises(BitspikeError, match=r"encoder.name: got 'events' for data with values, wanted 'direct'"):
        bitspike.train("digits-st", tmp_path / "a", overrides=["encoder={name='events'}"])
    with pytest.raises(BitspikeError, match=r"--device tpux"):
        bitspike.train("digits-st", tmp_path / "b", device="tpux")
    with pytest.raises(BitspikeError, match=r"training.criterion: got 'rmse', wanted one of accuracy, nll"):
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
