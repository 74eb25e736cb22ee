"""A field that is set and that nothing of the recipe reads is refused by name; at its default it is no word."""

from __future__ import annotations

from importlib import resources

import pytest

from bitspike.errors import BitspikeError
from bitspike.run.recipe_files import load_recipe, parse_recipe, print_recipe

PLAIN = 'name = "plain"\n[data]\nset = "digits"\n[model]\nlayers = ["8"]\n'
ONLINE = ("learner.rule=online", "model.neuron.kind=bisnn")
HYBRID = 'name = "lmu"\n[data]\nset = "digits"\n[encoder]\nname = "pixels"\n[model]\nkind = "{}"\n[model.hybrid]\n'


@pytest.mark.parametrize(
    ("given", "foreign", "why"),
    [
        ((), "model.neuron.tau_mem=20.0", "model.neuron.kind 'lif'"),
        ((), "model.neuron.soft.sigma=5.0", "model.neuron.kind 'lif'"),
        (("model.neuron.kind=if",), "model.neuron.tau=3.0", "model.neuron.kind 'if'"),
        (("model.neuron.kind=bisnn",), 'model.neuron.learn=["tau"]', "model.neuron.kind 'bisnn'"),
        (("model.neuron.kind=relu",), "model.neuron.surrogate.width=2.0", "model.neuron.kind 'relu'"),
        (("model.neuron.kind=soft-lif",), "model.neuron.tau_ref=3.0", "model.neuron.kind 'soft-lif'"),
        (("model.neuron.kind=soft-lif",), "model.neuron.soft.sigma=5.0", "model.neuron.soft.noise 'none'"),
        ((), "model.bias=true", "learner.rule 'backprop'"),
        (ONLINE, "model.norm=bias", "learner.rule 'online'"),
        (ONLINE, "learner.draws=3", "learner.rule 'online'"),
        ((), "learner.burn_in=3", "learner.rule 'backprop'"),
        ((), "learner.rho=0.1", "weights.precision 'full'"),
        ((), "weights.biases=true", "weights.precision 'full'"),
        (("weights.precision=straight-through",), "weights.prior=0.7", "weights.precision 'straight-through'"),
        (("weights.precision=bayesian",), "weights.clip=0.5", "weights.precision 'bayesian'"),
        (("weights.precision=bayesian",), "weights.temperature=0.5", "hard draws"),
        ((), "schedule.warmup=0.1", "schedule.kind 'constant'"),
        (("data.options.validation=0.2",), "data.validation=0.3", "data.options.validation beside it"),
        (("data.options.test=0.2",), "data.test=0.3", "data.options.test beside it"),
        (("schedule.kind=cosine",), "schedule.halvings=2", "schedule.kind 'cosine'"),
        (("schedule.kind=step",), "schedule.drop=0.5", "schedule.kind 'step'"),
        (("model.norm=bias",), "model.norm_at=hidden", "model.norm 'bias'"),
        (("model.deviations=[1.0, 1.0]",), "model.xavier=2.0", "model.deviations"),
        (("weights.precision=bayesian",), "model.xavier=2.0", "weights.precision 'bayesian', whose `init` says it"),
        (("data.set=two-moons",), "data.split_seed=3", "data.set 'two-moons', which the recipe's seed draws"),
        (ONLINE, "compute.products=fast", "learner.rule 'online', which has loops of its own"),
        (
            ("model.kind=circuits", "model.hidden=2", "learner.rule=glm"),
            "compute.back_end=reference",
            "learner.rule 'glm', which has loops of its own",
        ),
        ((), "latent_optimizer.lr=0.1", "weights.precision 'full'"),
    ],
)
def test_a_field_that_nobody_reads(given: tuple[str, ...], foreign: str, why: str) -> None:
    parse_recipe(PLAIN, "here", given)
    field = foreign.partition("=")[0]
    field = "latent_optimizer" if field.startswith("latent") else field
    with pytest.raises(BitspikeError, match=rf"^{field}: got .* with {why}.*, wanted it left out$"):
        parse_recipe(PLAIN, "here", (*given, foreign))
    # A run that was made with it still loads.
    parse_recipe(PLAIN, "here", (*given, foreign), stored=True)


def test_what_the_text_says_for_its_own_choices_gives_way_to_an_override_of_them() -> None:
    text = PLAIN + '[model.neuron]\ntau = 5.0\n[weights]\nprecision = "bayesian"\nprior = 0.7\n[learner]\nrho = 0.1\n'
    changed = ["weights.precision=full", "model.neuron.kind=bisnn", "model.neuron.tau_mem=7.0"]
    found = parse_recipe(text, "here", changed)
    assert found.recipe_hash() == parse_recipe(PLAIN, "here", changed[1:]).recipe_hash()
    with pytest.raises(BitspikeError, match=r"^weights.prior: got 0.6 with weights.precision 'full'"):
        parse_recipe(text, "here", [*changed, "weights.prior=0.6"])
    # What the text's own choices never read is its own mistake.
    with pytest.raises(BitspikeError, match=r"^weights.clip: got 1.0 with weights.precision 'bayesian'"):
        parse_recipe(text.replace("prior = 0.7", "clip = 1.0"), "here", ["training.epochs=3"])


def test_fields_of_quantised_states_that_nobody_reads() -> None:
    parse_recipe(HYBRID.format("lmu"), "here", ("model.hybrid.own_leak=true",))
    with pytest.raises(BitspikeError, match=r"^model.hybrid.own_leak: got True with model.kind 'lmu-parallel'"):
        parse_recipe(HYBRID.format("lmu-parallel"), "here", ("model.hybrid.own_leak=true",))
    with pytest.raises(BitspikeError, match=r"^model.hybrid.hold: got 0.5 with model.hybrid.kind 'constant'"):
        parse_recipe(HYBRID.format("lmu"), "here", ("model.hybrid.kind=constant", "model.hybrid.hold=0.5"))


def test_every_recipe_that_is_shipped_and_what_a_run_stores_of_it_are_accepted() -> None:
    names = [
        entry.name for entry in (resources.files("bitspike") / "recipes").iterdir() if entry.name.endswith(".toml")
    ]
    assert len(names) >= 29
    for name in names:
        recipe = load_recipe(name.removesuffix(".toml"))
        again = parse_recipe(print_recipe(recipe), "stored")
        assert again.recipe_hash() == recipe.recipe_hash()
