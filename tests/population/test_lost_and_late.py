"""Members whose learning breaks, that are late, or whose space cannot be searched."""

from __future__ import annotations

import pytest

import bitspike
from bitspike import load_recipe
from bitspike.errors import BitspikeError
from bitspike.population.member import Learning
from bitspike.population.record import content, read
from bitspike.population.space import Space
from bitspike.population.turn import Evolution, Turn, take_turn
from bitspike.run.assemble import load_data
from bitspike.tables.population import Population

from .small import SMALL, small

SPACE = {"rate": {"kind": "uniform", "low": 0.0, "high": 1.0}}


def rules(**more):
    part = Population(space=SPACE, every=2, size=3, exploit={"kind": "tournament"}, **more)
    return Evolution(part, 0)


def turn(member, updates, score, broken="", finished=False):
    history = [(age, score) for age in range(2, updates + 1, 2)]
    return Turn(
        member, updates // 2, updates, 2, {"rate": 0.5}, score, broken=broken, finished=finished, history=history
    )


def test_nobody_copies_a_member_that_is_finished():
    mine, done = turn(0, 4, 2.0), turn(1, 8, 1.0, finished=True)
    assert rules().source(mine, [done]) is None
    assert rules().source(mine, [turn(1, 6, 1.0)]) == 1

    class Counting:
        def load(self, state, values, key):
            self.values = values

        def step(self, updates):
            return updates

        def evaluate(self):
            return {"nll": 1.0}

    # Nor one that has become so by the time its state is read.
    made = take_turn(rules(), Counting(), 0, mine, [turn(1, 6, 1.0)], lambda of: (mine if of is mine else done, {}), 8)
    assert (made.parent, made.taught_by, made.made) == (mine.node, None, 2)


def test_one_whose_learning_broke_copies_the_best_there_is_at_any_age():
    lost = turn(0, 5, None, broken="the loss became nan")
    others = [turn(1, 6, 1.0), turn(2, 6, 0.5), turn(3, 8, 0.1, finished=True)]
    assert rules(burn_in=100).source(lost, others) == 2
    assert rules().source(lost, [turn(1, 6, None, broken="too")]) is None


def test_counts_are_of_what_happened():
    some = rules()
    first = [turn(0, 2, 1.0), turn(1, 2, None, broken="the loss became nan")]
    # Member 1 had nobody to copy; member 0 took hyperparameters alone.
    second = [
        Turn(0, 2, 4, 2, {"rate": 0.4}, 0.9, parent=(0, 1), taught_by=(2, 1), finished=True),
        Turn(1, 2, 2, 0, {"rate": 0.5}, None, parent=(1, 1), broken="the loss became nan", finished=True),
    ]
    found = content(bitspike.load_recipe("tune-digits"), some, [*first, *second], second[0])
    assert (found["broken"], found["copies"], found["updates"], found["survivors"]) == (1, 1, 4, [0])


def test_an_exploit_rule_of_ones_own_names_a_member():
    @bitspike.register("exploit", "nobody")
    class Nobody:
        """Names one that is not there."""

        def source(self, member, scores, source):
            return 99

    part = Population(space=SPACE, every=2, size=3, exploit={"kind": "nobody"})
    with pytest.raises(
        BitspikeError, match=r"population.exploit: got 99, wanted a member that is compared, of \[0, 1\]"
    ):
        Evolution(part, 0).source(turn(0, 4, 2.0), [turn(1, 4, 1.0)])


def test_a_grid_of_whole_numbers_holds_each_once():
    space = {"a": {"kind": "integer", "low": 1, "high": 2}, "b": {"kind": "integer", "low": 0, "high": 9, "points": 4}}
    part = Population(space=space, strategy="grid")
    assert part.members == 8 == len(Space(part.space).grid())
    assert [point["a"] for point in Space(part.space).grid()] == [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("path", "dimension", "said"),
    [
        ("federation.clients", "{kind = 'integer', low = 1, high = 9}", "'federation.clients', wanted .federation."),
        ("training.epochs", "{kind = 'integer', low = 2, high = 8}", "changes how members learn"),
        ("evaluation.bins", "{kind = 'integer', low = 2, high = 60}", "changes how members learn"),
        ("weights.init", "{kind = 'uniform', low = 0.1, high = 1.0}", "changes how members learn"),
        ("optimizer.lr", "{kind = 'choice', of = [0.1, -5.0, 0.2]}", "optimizer.lr"),
        ("model.norm_gain", "{kind = 'uniform', low = 1.0, high = 3.0}", "what 'norm_dense1.weight' begins with"),
    ],
)
def test_what_no_member_can_search_is_refused_before_one_learns(path, dimension, said, tmp_path):
    recipe = small(f"population.space={{'{path}' = {dimension}}}")
    with pytest.raises(BitspikeError, match=said):
        bitspike.tune(recipe, tmp_path / "run", dataset=load_data(recipe))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "path", "made"),
    [("digits-full", "model.norm_gain", "norm_dense1.weight"), ("digits-rows-hybrid", "model.window", "cell.a")],
)
def test_what_a_copy_brings_along_is_searched_by_members_that_copy_nobody(name, path, made):
    space = f"space = {{'{path}' = {{kind = 'uniform', low = 6.0, high = 9.0}}}}"
    few = ["model.layers=['8']"] if name == "digits-full" else ["model.hidden=8"]
    for strategy in ("random", "pbt"):
        recipe = load_recipe(name, [*few, f"population={{size = 2, strategy = '{strategy}', {space}}}"])
        member, searched = Learning(recipe, load_data(recipe)), Space(recipe.population.space)
        if strategy == "random":
            member.check(searched)
            continue
        with pytest.raises(BitspikeError, match=rf"^population.space: got '{path}', which says what '{made}' begins"):
            member.check(searched)


def test_the_log_says_on_how_many_threads_members_learned(tmp_path):
    run = bitspike.tune(small(), tmp_path / "run", workers=1)
    import torch

    assert read(run.path / "population.json")[0]["how"]["threads"] == torch.get_num_threads()


def test_what_asynchronous_members_find_is_replayed_to_the_same_bits(tmp_path):
    """Members copy as they go; none ends with hyperparameters that it has not learned with."""
    for seed in (2, 5):
        told = [*SMALL[:-1], "population.mode=asynchronous", "population.exploit.kind=tournament", "population.every=2"]
        run = bitspike.tune(bitspike.load_recipe("tune-digits", told, seed), tmp_path / f"{seed}", workers=1)
        found, turns = read(run.path / "population.json")
        assert all(one.made for one in turns)
        assert any(one.copied for one in turns)
        again = bitspike.replay(run, tmp_path / f"{seed}-replay")
        timed = ("seconds", "energy")
        both = [{k: v for k, v in one.result.items() if k not in timed} for one in (run, again)]
        assert both[0] == both[1]
        node = (found["winner"]["member"], found["winner"]["turn"])
        assert found["schedule"][-1]["values"] == next(one for one in turns if one.node == node).values
