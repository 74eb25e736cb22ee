"""Space, explore, exploit and the ready rule: what they promise, exactly or within standard errors."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from scipy.stats import ttest_ind

import bitspike
from bitspike import registry
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.population.exploit import Tournament, Truncation, TTest, better, ranked, welch
from bitspike.population.explore import Additive, Perturb, Resample, rule_of
from bitspike.population.space import Choice, Integer, LogUniform, Space, Uniform
from bitspike.population.turn import Evolution, Turn
from bitspike.tables.population import Population

SPACE = Space({"rate": LogUniform(1e-4, 1.0), "tau": Uniform(-2.0, 3.0), "hidden": Integer(1, 9),
               "kind": Choice(["a", "b", "c"])})  # fmt: skip
BOUNDS = {"rate": {"kind": "log-uniform", "low": 1e-4, "high": 1.0}}


def draws(count, *key):
    return (generator(*key, number) for number in range(count))


@pytest.mark.parametrize("rule", [Perturb(resample=0.2), Perturb(0.1, 9.0), Additive(0.5), Resample(0.5)])
def test_no_value_ever_leaves_its_bounds(rule):
    values = SPACE.drawn(0, 0)
    for source in draws(300, "bounds"):
        assert SPACE.holds(values), values
        values = rule(values, SPACE, source)
    assert SPACE.holds(values)


def test_the_prior_is_as_it_says():
    drawn = [SPACE.drawn(0, member) for member in range(2000)]
    assert all(map(SPACE.holds, drawn))
    logs = [math.log10(values["rate"]) for values in drawn]
    assert abs(sum(logs) / 2000 + 2) < 4 * (4 / math.sqrt(12)) / math.sqrt(2000)
    counts = Counter(values["hidden"] for values in drawn)
    assert sorted(counts) == list(range(1, 10))
    assert max(abs(n - 2000 / 9) for n in counts.values()) < 4.5 * math.sqrt(2000 / 9)
    assert SPACE.drawn(0, 7) == drawn[7] != SPACE.drawn(1, 7)


def test_perturb_takes_either_factor_as_often_each_by_itself():
    space = Space({"a": Uniform(0.0, 10.0), "b": Uniform(0.0, 10.0)})
    found = Counter(tuple(Perturb()({"a": 1.0, "b": 1.0}, space, source).values()) for source in draws(2000, "p"))
    assert sorted(found) == [(0.8, 0.8), (0.8, 1.2), (1.2, 0.8), (1.2, 1.2)]
    assert all(abs(count - 500) < 4 * math.sqrt(2000 * 3 / 16) for count in found.values())
    assert all(Perturb()({"a": 0.0, "b": 0.0}, space, source)["a"] == 0.0 for source in draws(20, "zero"))


def test_whole_numbers_move_and_choices_go_to_neighbours():
    found = {Perturb()({"n": 1, "k": "a"}, Space({"n": Integer(0, 9), "k": Choice(["a", "b", "c"])}), source)["n"]
             for source in draws(40, "n")}  # fmt: skip
    assert found == {0, 2}
    kinds = Counter(Choice(["a", "b", "c"]).scaled("b", factor) for factor in (0.8, 1.2))
    assert kinds == {"a": 1, "c": 1}
    assert Choice(["a", "b"]).scaled("b", 1.2) == "b"


def test_the_grid_has_both_ends():
    space = Space({"rate": LogUniform(1e-4, 1.0, 5), "kind": Choice(["a", "b"])})
    points = space.grid()
    assert [point["rate"] for point in points[::2]] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert len(points) == 10
    part = Population(space={"rate": {**BOUNDS["rate"], "points": 5}}, strategy="grid")
    assert Evolution(part, 0).members == part.members == 5


def test_truncation_of_twenty_copies_four_from_four():
    scores = {member: [float(member * 7 % 20)] for member in range(20)}
    order = ranked(scores)
    chosen = {member: {Truncation(0.2).source(member, scores, source) for source in draws(200, "t", member)}
              for member in range(20)}  # fmt: skip
    assert all(chosen[member] == set(order[:4]) for member in order[16:])
    assert all(chosen[member] == {None} for member in order[:16])


def test_ties_have_one_order():
    scores = {0: [1.0], 1: [1.0], 2: [1.0]}
    assert ranked(scores) == [0, 1, 2]
    assert better(0, 1, scores)
    assert not better(1, 0, scores)
    assert Truncation(0.5).source(2, scores, generator("t")) == 0
    assert {Tournament().source(1, scores, source) for source in draws(40, "t")} == {0, None}


def test_welch_is_scipys_and_only_a_better_mean_is_copied():
    source = generator("scores")
    one, other = (torch.rand(n, generator=source, dtype=torch.float64).tolist() for n in (7, 10))
    assert welch(one, other) == pytest.approx(ttest_ind(one, other, equal_var=False).pvalue, rel=1e-12)
    assert welch([1e-200, 2e-200], [3e-200, 5e-200]) < 1
    assert (welch([1.0], [2.0, 3.0]), welch([1.0, 1.0], [2.0, 2.0])) == (1.0, 0.0)
    scores = {0: one, 1: [value + 1 for value in one]}
    assert TTest().source(0, scores, generator("t")) == 1
    assert TTest().source(1, scores, generator("t")) is None
    assert TTest(recent=2).source(0, {0: [5.0, 0.0, 0.1], 1: [-5.0, 1.0, 1.1]}, generator("t")) == 1


def turn(member, scores, every=10, broken=""):
    history = [(every * (k + 1), score) for k, score in enumerate(scores)]
    return Turn(member, len(scores), every * len(scores), every, {"rate": 0.1}, scores[-1], history=history,
                broken=broken)  # fmt: skip


def rules(**options):
    return Evolution(Population(space=BOUNDS, **options), 0)


def test_a_member_is_compared_at_its_own_age_alone():
    own, older, younger = turn(0, [2.0, 1.0]), turn(1, [3.0, 3.0, 0.1, 0.1]), turn(2, [0.5])
    found = rules().standings(own, [older, younger])
    assert found == {0: [-2.0, -1.0], 1: [-3.0, -3.0]}  # nll: less is better; what came later does not count
    assert rules().source(own, [older, younger]) is None
    assert rules(direction="max").source(own, [older, younger]) == 1


def test_nobody_copies_before_it_is_ready_nor_what_broke():
    own, other = turn(0, [2.0, 2.0]), turn(1, [1.0, 1.0])
    assert rules(burn_in=21).source(own, [other]) is None
    assert rules(burn_in=20).source(own, [other]) == 1
    assert rules(strategy="random").source(own, [other]) is None
    assert rules().source(own, [turn(1, [1.0, None], broken="nan")]) is None
    assert rules(exploit={"kind": "t-test"}).source(turn(0, [1.0, None], broken="nan"), [turn(1, [9.0, 9.0])]) == 1


def test_ones_own_rule_has_options_and_stays_within_bounds():
    @bitspike.register("explore", "halves")
    def halves(values, space, source, by: float = 2.0):
        return {path: value / by for path, value in values.items()}

    part = Population(space=BOUNDS, explore={"kind": "halves", "by": 4.0})
    assert rule_of(part.explore)({"rate": 0.4}, SPACE, generator("x")) == {"rate": 0.1}
    with pytest.raises(BitspikeError, match=r"population.explore: got .*2.5e-05.*within its bounds"):
        Evolution(part, 0).explored({"rate": 1e-4}, turn(0, [1.0]))
    assert "halves" in registry.names("explore")


@pytest.mark.parametrize(
    ("space", "said"),
    [({"rate": {"kind": "log-uniform", "low": 1.0, "high": 0.1}}, "low below high"),
     ({"rate": {"kind": "log-uniform", "low": 0.0, "high": 0.1}}, "greater than 0"),
     ({"rate": {"kind": "choice", "of": [1]}}, "at least 2"),
     ({"rate": {"kind": "choice", "of": [1, 1]}}, "values that differ"),
     ({"rate": {"low": 0.0, "high": 1.0, "points": 4}}, "wants strategy = 'grid'"), ({}, "at least 1")],
)  # fmt: skip
def test_a_space_that_cannot_be_is_refused(space, said):
    with pytest.raises(ValueError, match=said):
        Population(space=space)


def test_set_reaches_into_the_space_by_a_path_in_quotes():
    new = """population.space."learner.clip"={kind="uniform", low=0, high=1}"""
    given = ['population.space."optimizer.lr".high=1', "population.space.'model.neuron.tau'.low=1.5", new]
    space = bitspike.load_recipe("tune-digits", given).population.space
    assert (space["optimizer.lr"].high, space["optimizer.lr"].low) == (1.0, 1e-4)
    assert (space["model.neuron.tau"].low, space["learner.clip"].high) == (1.5, 1.0)
