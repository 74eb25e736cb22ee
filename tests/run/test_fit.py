"""`fit`: a module of one's own becomes an ordinary run, and what cannot be trained is refused by name."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.run.own_net import Net, train_on_waves, waves
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bitspike
from bitspike.cli.app import app
from bitspike.data.given import given
from bitspike.errors import BitspikeError
from bitspike.neurons import LIF
from bitspike.weights import BayesianBinary, quantise

FAST: dict[str, Any] = {"epochs": 12, "lr": 0.02, "batch_size": 16}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bitspike.fit(Net, waves(), tmp_path_factory.mktemp("fit") / "run", **FAST)


def test_a_plain_module_becomes_a_run(run: Any) -> None:
    assert run.result["test"]["accuracy"] >= 0.9
    assert run.result["shipped"]["temperature"] > 0
    assert run.result["bits"]["real_values"] == 4 * 20 + 20 + 20 * 3 + 3
    assert run.result["energy"]["network"]["mac"] > 0
    assert any("the module's own neurons are not counted" in line for line in run.result["warnings"])
    assert run.classes == ("0", "1", "2")
    x, y = waves()
    assert float((run.predict(x).argmax(1) == y).float().mean()) >= 0.9
    assert run.predict(x, over_time=True).shape == (6, 120, 3)
    assert run.evaluate()["accuracy"] == run.result["test"]["accuracy"]
    assert bitspike.report(run.path).exists()
    rows = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == list(range(1, 13))


def test_a_run_comes_back_by_its_import_path_or_with_its_module(run: Any, tmp_path: Path) -> None:
    x, y = waves()
    for again in (bitspike.load(run.path), bitspike.load(run.path, model=Net()), bitspike.load(run.path, model=Net)):
        assert torch.equal(again.predict(x), run.predict(x))
        with pytest.raises(BitspikeError, match=r"^data: got a run on examples that were handed to bitspike.fit"):
            again.evaluate()
        assert "note" in again.evaluate(data=(x, y))
        found = again.evaluate(data=(x + 0.01, y))
        assert found["accuracy"] >= 0.9
        assert "note" not in found
    with pytest.raises(BitspikeError, match=r"tensors do not fit this recipe's model"):
        bitspike.load(run.path, model=nn.Linear(4, 3))
    moved = tmp_path / "moved"
    handed = bitspike.fit(Net(), (x, y), moved, **{**FAST, "epochs": 1})
    with pytest.raises(
        BitspikeError, match=r"^model: this run's network is a module .* bitspike.load\(path, model=..."
    ):
        bitspike.load(moved)
    assert torch.equal(bitspike.load(moved, model=Net()).predict(x), handed.predict(x))


class Shared(nn.Module):
    """One neuron module behind two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, width), nn.Linear(width, 3)
        self.neuron = LIF()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.neuron(self.second(self.neuron(self.first(x)))))
        return y


@pytest.mark.parametrize("width", [5, 8])
def test_one_neuron_module_behind_two_layers_does_not_end_a_run(tmp_path: Path, width: int) -> None:
    run = bitspike.fit(Shared(width), waves(), tmp_path / "run", **{**FAST, "epochs": 1})
    with np.load(run.path / "predictions.npz") as kept:
        assert "raster_events" in kept
        # Its spikes at two places are no layer's.
        assert "raster_1" not in kept


def test_verbs_of_the_command_find_the_module_or_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = waves()
    file, out = str(tmp_path / "new.npz"), str(tmp_path / "run")
    np.savez(file, x=x[:12].numpy(), y=y[:12].numpy())
    (tmp_path / "my_nets.py").write_text((ROOT / "tests" / "run" / "own_net.py").read_text())
    with monkeypatch.context() as there:
        there.syspath_prepend(tmp_path)
        run = bitspike.fit(importlib.import_module("my_nets").Net, (x, y), out, **FAST)
        assert run.recipe.model.factory == "my_nets:Net"
        capsys.readouterr()
        app(["predict", out, file, "--json"], standalone_mode=False)
        answers = [json.loads(line)["class"] for line in capsys.readouterr().out.splitlines()]
        assert answers == [run.classes[c] for c in run.predict(x[:12]).argmax(1)]
        with pytest.raises(BitspikeError, match=r"^data: got a run on examples .*, or a labelled file$"):
            app(["evaluate", out], standalone_mode=False)
        app(["evaluate", out, file], standalone_mode=False)
    monkeypatch.delitem(sys.modules, "my_nets")
    with pytest.raises(BitspikeError, match=r"^model: 'my_nets:Net' cannot be imported \(No module named 'my_nets'\)"):
        app(["predict", out, file], standalone_mode=False)
    app(["compare", out, "--out", str(tmp_path / "page.html")], standalone_mode=False)
    assert "run" in capsys.readouterr().out


@pytest.mark.long
def test_a_killed_fit_ends_the_same(tmp_path: Path) -> None:
    out = tmp_path / "killed"

    def start(*more: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.run.own_net", str(out), *more]
        return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def position() -> tuple[int, int]:
        try:
            state = json.loads((out / "checkpoints" / "last.json").read_text())["state"]
        except FileNotFoundError:
            return 0, 0
        return state["epoch"], state["batch"]

    run = start()
    while position() < (1, 2):  # in the middle of an epoch
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert (1, 2) <= position() < (4, 0)
    again = start("--resume")
    assert again.communicate()[1] == b""
    assert again.returncode == 0
    whole = train_on_waves(tmp_path / "whole")
    assert bitspike.load(out).result | {"seconds": 0} == whole.result | {"seconds": 0}


def test_a_run_goes_on_with_its_own_data_and_module_only(tmp_path: Path) -> None:
    x, y = waves()

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    model = Net()
    hook = model.out.weight.register_hook(stopped)
    with pytest.raises(KeyboardInterrupt):
        bitspike.fit(model, (x, y), tmp_path / "run", **FAST)
    hook.remove()
    with pytest.raises(BitspikeError, match="already holds a run"):
        bitspike.fit(model, (x, y), tmp_path / "run", **FAST)
    with pytest.raises(BitspikeError, match=r"^--resume: digests"):
        bitspike.fit(model, (x + 1, y), tmp_path / "run", resume=True, **FAST)
    with pytest.raises(BitspikeError, match=r"of another recipe \(training.batch"):
        bitspike.fit(model, (x, y), tmp_path / "run", resume=True, **{**FAST, "batch_size": 20})

    class Wider(Net):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = nn.Linear(4, 30), nn.Linear(30, 3)

    with pytest.raises(BitspikeError, match=r"tensor 'module.hidden.weight' has shape"):
        bitspike.fit(Wider(), (x, y), tmp_path / "run", resume=True, name="Net", **FAST)
    assert bitspike.fit(model, (x, y), tmp_path / "run", resume=True, **FAST).result["test"]["accuracy"] >= 0.9


def test_a_loader_says_the_batch_size(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*waves()), batch_size=20, shuffle=True)
    run = bitspike.fit(Net, loader, tmp_path / "run", epochs=1)
    assert run.recipe.training.batch == 20
    with pytest.raises(BitspikeError, match=r"^batch_size: got 16, wanted it left out: the DataLoader's is 20$"):
        bitspike.fit(Net, loader, tmp_path / "other", batch_size=16)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("by", ["quantise", "fit"])
def test_own_modules_learn_bayesian_weights(by: str, tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = Net()
        return quantise(model, lambda: BayesianBinary(relaxed=False, rule="mean", prior=0.4), 0, "latent")

    weights = {"precision": "bayesian", "rule": "mean", "prior": 0.4}
    more: dict[str, Any] = {**FAST, "latent_optimizer": {"lr_sum": 100.0}, "learner": {"rho": 1e-4}}
    more |= {} if by == "quantise" else {"weights": weights}
    run = bitspike.fit(build if by == "quantise" else Net, waves(), tmp_path / "run", **more)
    assert run.recipe.weights.model_dump(include=set(weights)) == weights
    assert run.result["test"]["accuracy"] >= 0.9
    assert run.result["bits"]["binary_weights"] == 4 * 20 + 20 * 3
    assert {"test_ensemble", "test_map", "divergence"} <= run.result.keys()
    assert (run.path / "history.npz").exists()
    again = bitspike.load(run.path, model=build if by == "quantise" else Net)
    assert torch.equal(again.predict(waves()[0]), run.predict(waves()[0]))
    if by == "quantise":
        with pytest.raises(BitspikeError, match=r"^weights: .* the module's weights are bayesian already$"):
            bitspike.fit(build, waves(), tmp_path / "other", weights="straight-through")


class Once(nn.Module):
    """One answer for the whole sequence, (B, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.mean(0))


def test_one_answer_for_the_whole_sequence_is_one_step(tmp_path: Path) -> None:
    run = bitspike.fit(Once, waves(), tmp_path / "run", **FAST)
    assert run.result["test"]["accuracy"] >= 0.9
    assert len(run.result["over_time"]) == 1
    x = waves()[0][:10]
    prefixes = torch.stack([run.learner.predict(x.transpose(0, 1)[:t])[-1] for t in range(1, 7)])
    torch.testing.assert_close(run.predict(x, over_time=True, scaled=False), prefixes)


def test_values_without_time_are_encoded_and_values_are_learned(tmp_path: Path) -> None:
    x = torch.rand(80, 4, generator=torch.Generator().manual_seed(1))
    y = 3 * x[:, :1] + x[:, 1:2] - 5

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    run = bitspike.fit(Mean, (x, y), tmp_path / "run", encoder="direct", steps=3, epochs=60, lr=0.02, batch_size=16)
    assert run.recipe.encoder.steps == 3
    assert run.result["test"]["rmse"] < 0.2
    assert run.predict(x).shape == (80, 2)
    assert run.evaluate(data=(x, y))["rmse"] < 0.2


def test_a_module_made_of_our_layers_has_a_plan(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 16), LIF(tau=2.0), nn.Linear(16, 3))
    run = bitspike.fit(model, waves(), tmp_path / "run", **FAST)
    assert run.result["test"]["accuracy"] >= 0.9
    assert run.result["energy"]["network"]["spikes"] > 0
    x = waves()[0][:10]
    plan = run.plan()
    answers, _ = plan.run(run.encode(x))
    torch.testing.assert_close(answers, run.predict(x, over_time=True, scaled=False))


def test_layers_of_the_house_need_no_module(tmp_path: Path) -> None:
    run = bitspike.fit(["16"], waves(), tmp_path / "run", **FAST)
    assert run.result["test"]["accuracy"] >= 0.9
    assert torch.equal(bitspike.load(run.path).predict(waves()[0]), run.predict(waves()[0]))


class Kept(Net):
    """Keeps the membrane from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v + self.hidden(x).detach().mean()
        return super().forward(x) + self.v


class BatchFirst(nn.Module):
    """Takes the batch for time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def from_function(function: Callable[[Net, Tensor], Any]) -> nn.Module:
    class Made(Net):
        def forward(self, x: Tensor) -> Any:
            return function(self, x)

    return Made()


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (Kept(), {}, r"model: got another answer to the same batch the second time, wanted hidden .* reset"),
        (BatchFirst(), {}, r"model: got other answers where only the first example of the batch differs.*time first"),
        (nn.Linear(4, 5), {}, r"model answer to \(6, 5, 4\): got shape \(6, 5, 5\), wanted \(6, 5, 3\), or \(5, 3\)"),
        (nn.Linear(7, 3), {}, r"model: got RuntimeError \(.*\) on a batch \(6, 5, 4\), wanted an answer \(T, B, C\)"),
        (from_function(lambda net, x: (x, x)), {}, r"model answer to \(6, 5, 4\): got tuple, wanted one tensor"),
        (from_function(lambda net, x: net.out(net.hidden(x)).transpose(0, 1)), {}, r"model answer .* got shape \(5, 6"),
        (from_function(lambda net, x: x.mean(-1)), {}, r"model answer to \(6, 5, 4\): got shape \(6, 5\)"),
        ("digits-st", {}, r"model: got str, wanted an nn.Module, or a class or function"),
        (dict, {}, r"model: got a function that makes dict, wanted one that makes an nn.Module"),
        (Net, {"learner": "online"}, r"learner.rule: got 'online' with model.kind 'module', wanted 'backprop'"),
        (Net, {"learner": {"lsos": "final"}}, r"fit: unknown key 'learner.lsos'; did you mean 'loss'"),
        (Net, {"training": {"epochs": 3}}, r"training.epochs: got 3 and 12, wanted it once"),
        (Net, {"encoder": {"name": "sequence", "steps": 6}, "steps": 5}, r"encoder.steps: got 6 and 5, wanted it once"),
        (Net, {"updates": 20}, r"fit: training: epochs = 12 beside updates = 20"),
        (Net, {"schedule": 3}, r"schedule: got 3, wanted a dict of the recipe's table 'schedule' or a word"),
        (Net, {"encoder": "direct"}, r"encoder|model"),
        (Net, {"optimizer": {"name": object()}}, r"fit: got .*, wanted options that a recipe can hold"),
        (Net, {"device": "abacus"}, r"--device abacus"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_by_name(
    model: Any, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        bitspike.fit(model, waves(), tmp_path / "run", **{**FAST, **more})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["train", "federate", "tune"])
def test_a_module_that_a_recipe_names_is_looked_at_by_every_verb(verb: str, tmp_path: Path) -> None:
    tables = {
        "federate": ["federation={clients = 2, rounds = 1}"],
        "tune": ["population={size = 2, space = {'optimizer.lr' = {kind = 'uniform', low = 0.01, high = 0.02}}}"],
    }
    file = tmp_path / "kept.toml"
    file.write_text('name = "kept"\ndata.set = "given"\nencoder = {name = "sequence", steps = 6}\n'
                    f'model = {{kind = "module", factory = "{__name__}:Kept"}}\n')  # fmt: skip
    recipe = bitspike.load_recipe(str(file), tables.get(verb, []))
    with pytest.raises(BitspikeError, match=r"^model: got another answer to the same batch the second time"):
        getattr(bitspike, verb)(recipe, tmp_path / "run", dataset=given(waves(), time=True)[0])
    assert not (tmp_path / "run").exists()


def test_noise_of_several_values_is_stored_for_each(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.random((300, 3)).astype(np.float32)
    y = np.stack([x[:, 0], 1000 * x[:, 1]], 1)
    run = bitspike.fit(["16"], (x, y), tmp_path / "run", encoder="direct", steps=3, epochs=8, lr=0.02)
    noise = run.result["shipped"]["noise"]
    assert len(noise) == 2
    assert noise[1] > 100 * noise[0]
    again = bitspike.load(run.path)
    assert again.noise == noise
    assert torch.allclose(again.predict(x[:5])[:, 2:], torch.tensor(noise).double().expand(5, 2), rtol=1e-6)
    assert bitspike.report(run.path).exists()
    at = run.path / "checkpoints" / "shipped.json"
    at.write_text(at.read_text().replace(str(noise[1]), "-1.0"))
    with pytest.raises(BitspikeError, match=r"shipped.json': temperature 1, noise \[.*, -1.0\]"):
        bitspike.load(run.path)
