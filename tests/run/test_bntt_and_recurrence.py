"""BNTT and recurrent layers from a recipe, with every precision: trained, resumed, measured, loaded, shown."""

from __future__ import annotations

import pytest
import torch

import bitspike
from bitspike.errors import BitspikeError
from bitspike.layers import BNTT, Recurrent
from bitspike.neurons import AdaptiveLIF
from bitspike.run.trainer import Interrupted, Trainer
from bitspike.weights import BayesianBinary, StraightThrough, binary_parametrizations

FAST = [
    "training.epochs=2", "training.batch=150", "training.checkpoint_seconds=0", "evaluation.draws=3",
    "evaluation.energy_examples=16",
]  # fmt: skip
SMALL = {
    "digits-bntt": ["model.layers=['4c3p2', '16']", "encoder.steps=3"],
    "digits-rows-recurrent": ["model.layers=['16r', '8r']", "model.norm='bntt'"],
}
PRECISIONS = {
    "full": (),
    "straight-through": (StraightThrough,),
    "bayesian": (BayesianBinary,),
}


def overrides(name: str, precision: str) -> list[str]:
    latent = [] if precision == "full" else ["latent_optimizer.name='Adam'", "latent_optimizer.lr=0.05"]
    # The recipe's own options of the latents do not fit full weights.
    own = [] if name == "digits-rows-recurrent" else ["latent_optimizer=None"] if precision == "full" else []
    return [*FAST, *SMALL[name], f"weights.precision='{precision}'", *latent, *own]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_recurrent_adaptive_neurons_train_stop_go_on_and_are_measured(precision, tmp_path, monkeypatch):
    asked = overrides("digits-rows-recurrent", precision)
    whole = bitspike.train("digits-rows-recurrent", tmp_path / "whole", overrides=asked)
    model = whole.model
    layers = [module for module in model.modules() if isinstance(module, Recurrent)]
    assert [len(layer.feedback.weight) for layer in layers] == [16, 8]
    assert all(isinstance(layer.neuron, AdaptiveLIF) for layer in layers)
    assert sum(isinstance(module, BNTT) for module in model.modules()) == 3
    kinds = {name: type(found) for name, found, _ in binary_parametrizations(model)}
    assert {name for name in kinds if "feedback" in name} == (
        set() if precision == "full" else {"spikes1.feedback.weight", "spikes2.feedback.weight"}
    )
    assert all(issubclass(kind, PRECISIONS[precision]) for kind in kinds.values())
    assert all((layer.gain is None) == (precision == "full") for layer in layers)

    def stop_in_the_second_epoch(self, asked):
        return int((self.session.epoch, self.session.batch) == (1, 3))

    monkeypatch.setattr(Trainer, "_any_process", stop_in_the_second_epoch)
    with pytest.raises(Interrupted):
        bitspike.train("digits-rows-recurrent", tmp_path / "parts", overrides=asked)
    monkeypatch.undo()
    parts = bitspike.train("digits-rows-recurrent", tmp_path / "parts", overrides=asked, resume=True)
    assert {**parts.result, "seconds": 0} == {**whole.result, "seconds": 0}

    counted = {layer["name"]: layer for layer in whole.result["energy"]["by_layer"]}
    # Eight rows of pixels, then spikes: of the first step nothing is fed back.
    assert counted["spikes1.feedback"]["dense"] == 8 * 16 * 16
    bits = {"full": 32.0, "straight-through": 1.0, "bayesian": 1.0}[precision]
    assert counted["spikes1.feedback"]["weight_bits"] == bits
    page = bitspike.report(whole.path).read_text()
    assert "spikes1" in page
    assert whole.predict(whole.dataset().test.x[:5]).shape == (5, 10)


def test_bntt_keeps_statistics_of_its_own_for_the_most_probable_weights(tmp_path):
    run = bitspike.train("digits-bntt", tmp_path / "run", overrides=overrides("digits-bntt", "bayesian"))
    norms = [module for module in run.model.modules() if isinstance(module, BNTT)]
    assert [tuple(norm.weight.shape) for norm in norms] == [(3, 4), (3, 16), (3, 10)]
    for norm in norms[1:]:
        assert not torch.equal(norm.map_var, norm.running_var)
        assert (norm.map_var != 1).all()


def test_weights_of_before_there_were_such_statistics_load():
    one, other = BNTT(3, steps=2), BNTT(3, steps=2)
    one(torch.randn(2, 5, 3))
    old = {name: value for name, value in one.state_dict().items() if not name.startswith("map")}
    other.load_state_dict(old)
    assert torch.equal(other.map_mean, one.running_mean)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("digits-bntt", ["model.neuron.kind='relu'"], "model.norm: got 'bntt' with 'relu', which knows no time"),
        ("digits-rows-recurrent", ["model.neuron.kind='relu'"], r"model layers\[0\]: got '?256r"),
        (
            "digits-rows-recurrent",
            ["model.neuron.kind='bisnn'", "learner.rule='online'", "learner.burn_in=0"],
            r"model layers\[0\]: got '256r', wanted '256', '64c7' or 'p2' with the online rule",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(name, asked, message, tmp_path):
    with pytest.raises(BitspikeError, match=message):
        bitspike.train(name, tmp_path / "run", overrides=[*FAST, *asked])
