"""Every way of learning evolves through the same lines, a federation too, and is replayed from its log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.states import same

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.population.record import read
from bitspike.run.assemble import load_data
from bitspike.run.checkpoint import load_checkpoint

TINY = ["evaluation.draws=2", "evaluation.validation_draws=1", "evaluation.energy_examples=20"]
ONE = "{kind = 'log-uniform', low = 0.001, high = 0.1}"
FEW = ["training.epochs=1", "training.batch=20"]
SHORT = ["training.epochs=1", "encoder.steps=10", "encoder.dt=100.0"]
# What is made small, updates of a turn, what is searched.
SOME = {
    "digits-st": ([*FEW, "model.layers=['8']", "encoder.steps=2"], 2, "optimizer.lr", ONE),
    "digits-bayes": ([*FEW, "model.layers=['8']", "encoder.steps=2"], 2, "learner.rho",
                     "{kind = 'log-uniform', low = 1e-5, high = 0.01}"),
    "digits-rows-hybrid": ([*FEW, "model.hidden=8"], 2, "optimizer.lr", ONE),
    "soft-lif-digits": ([*FEW, "model.layers=['8']"], 2, "optimizer.lr", ONE),
    "digits-glm": ([*SHORT, "model.hidden=2"], 400, "learner.rate", ONE),
    "digits-vowel": ([*SHORT, "model.hidden=1"], 400, "learner.rate", ONE),
    "federated-digits": (["model.layers=['8']", "encoder.steps=2", "federation.rounds=3", "federation.clients=3",
                          "federation.state=kept", "federation.aggregator.kind=momentum"], 1,
                         "federation.aggregator.rate", "{kind = 'uniform', low = 0.5, high = 1.5}"),
}  # fmt: skip


# What says how much circuits carry from step to step.
CARRIED = {
    "digits-glm": (*SOME["digits-glm"][:2], "learner.kappa", "{kind = 'uniform', low = 0.1, high = 0.9}"),
    "digits-vowel": (*SOME["digits-vowel"][:2], "learner.baseline", "{kind = 'choice', of = ['none', 'before']}"),
}


@pytest.mark.parametrize(("name", "of"), [*((name, SOME) for name in SOME), *((name, CARRIED) for name in CARRIED)])
def test_a_member_of_any_kind_evolves_and_is_replayed(name, of, tmp_path):
    more, every, path, dimension = of[name]
    population = f"population={{size = 3, every = {every}, exploit = {{fraction = 0.4}}, mode = 'synchronous', "
    population += f"space = {{'{path}' = {dimension}}}}}"
    recipe = load_recipe(name, [*more, *TINY, population])
    whole = load_data(recipe)
    few = {part: getattr(whole, part)[:count] for part, count in (("train", 80), ("validation", 40), ("test", 40))}
    dataset = replace(whole, **few)
    run = bitspike.tune(recipe, tmp_path / "run", dataset=dataset)
    _, turns = read(run.path / "population.json")
    assert not any(turn.broken for turn in turns)
    assert any(turn.copied for turn in turns)
    again = bitspike.replay(run, tmp_path / "again", dataset=dataset)
    ends = [load_checkpoint(one.path / "checkpoints", "shipped")["model"] for one in (run, again)]
    assert same(*ends)
    assert run.evaluate()["accuracy"] == run.result["test"]["accuracy"]


def test_a_federation_in_which_nobody_answers_is_not_shipped(tmp_path):
    more, every, path, dimension = SOME["federated-digits"]
    population = f"population={{size = 2, every = {every}, mode = 'synchronous', space = {{'{path}' = {dimension}}}}}"
    recipe = load_recipe("federated-digits", [*more, *TINY, population, "federation.dropouts=1.0"])
    line = r"^federation: got 3 rounds of the best member of which none was added up \(9 dropped out\), wanted replies"
    with pytest.raises(BitspikeError, match=line):
        bitspike.tune(recipe, tmp_path / "run", workers=1)
    assert not (tmp_path / "run/result.json").exists()
    _, turns = read(tmp_path / "run/population.json")
    assert len(turns) == 6
