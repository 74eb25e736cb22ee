"""Recipes: strict, typed, overridable, hashed; errors name the path and the nearest right name."""

from __future__ import annotations

import pytest

from bitspike.errors import BitspikeError
from bitspike.run.recipe_files import load_recipe, parse_recipe, print_recipe, recipe_names

SMALL = 'name = "x"\n[data]\nset = "digits"\n[model]\nlayers = ["8"]\n'


def test_every_packaged_recipe_is_valid_and_headed_by_its_command():
    from bitspike.run.recipe_files import recipe_text

    assert {"digits-full", "digits-st", "digits-bayes", "two-moons-bayes", "mnist-bayes", "nmnist-bayes"} <= set(
        recipe_names()
    )
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        verb = "train" if recipe.federation is None else "federate"
        verb = verb if recipe.population is None else "tune"
        assert recipe_text(name).startswith(f"# bitspike {verb} {name}\n")


@pytest.mark.parametrize("name", recipe_names())
def test_the_resolved_recipe_reads_back_as_itself(name):
    recipe = load_recipe(name)
    assert parse_recipe(print_recipe(recipe), "printed") == recipe


def test_overrides_and_seed():
    recipe = parse_recipe(SMALL, "r", ["training.epochs=3", "model.layers=['4', '5']", "data.options.path=a/b"], 9)
    assert (recipe.training.epochs, recipe.model.layers, recipe.seed) == (3, ["4", "5"], 9)
    assert recipe.data.options == {"path": "a/b"}


def test_the_hash_ignores_the_seed_and_nothing_else():
    one = parse_recipe(SMALL, "r")
    assert parse_recipe(SMALL, "r", (), 5).recipe_hash() == one.recipe_hash()
    assert parse_recipe(SMALL, "r", ["training.epochs=11"]).recipe_hash() != one.recipe_hash()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("trainning.epochs=3", "unknown key 'trainning'; did you mean 'training'?"),
        ("encoder={name='population', neuron=4}", "unknown key 'encoder.neuron'; did you mean 'neurons'?"),
        ("weights.precision=3", "weights.precision: got 3, wanted one of 'full'"),
        ("encoder={name='latensy'}", "encoder.name: got 'latensy', wanted one of 'direct', .*did you mean 'latency'?"),
        ("model.neuron.surrogate.nam='boxcar'", "unknown key 'model.neuron.surrogate.nam'; did you mean 'name'?"),
        ("training.epochs=0", "training.epochs: got 0, input should be greater than or equal to 1"),
        ("training.epochs=2.5", "training.epochs: got 2.5, input should be a valid integer"),
        ("training.epochs='7'", "training.epochs: got '7', input should be a valid integer"),
        ("optimizer.lr=nan", "optimizer.lr: got nan"),
        ("optimizer.options.eps=nan", "optimizer.options: .*numbers must be finite, not nan"),
        ("training", "--set: got 'training', wanted KEY=VALUE"),
        ("population.space.optimizer.lr.high=1", 'in quotes: population.space."optimizer.lr".high'),
        ('population.space."optimizer.lr.high=1', "a key with whole quotes"),
        ("name.x=3", "--set: got 'name.x=3', wanted a table at 'name', which is a value"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(override, message):
    with pytest.raises(BitspikeError, match=message) as caught:
        parse_recipe(SMALL, "r", [override])
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files():
    with pytest.raises(BitspikeError, match="r: 'model' is missing"):
        parse_recipe('name = "x"\n[data]\nset = "digits"\n', "r")
    with pytest.raises(BitspikeError, match=r"r: not valid TOML"):
        parse_recipe("name = ", "r")
    with pytest.raises(BitspikeError, match=r"recipe: got 'digits-bays', .*did you mean 'digits-bayes'"):
        load_recipe("digits-bays")
    with pytest.raises(BitspikeError, match=r"recipe: got 'no/such.toml', which is not there"):
        load_recipe("no/such.toml")
