"""Spaces at the edge: bounds that are neighbours, beyond all ratios, or missed by rounding; refusals name a place."""

from __future__ import annotations

import math

import pytest
from tests.population.small import small

import bitspike
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.population.explore import Additive
from bitspike.population.space import LogUniform, Space, Uniform, uniform
from bitspike.population.turn import Evolution
from bitspike.run.assemble import load_data
from bitspike.tables.population import Population


@pytest.fixture(scope="module")
def digits():
    return load_data(small())


@pytest.mark.parametrize("kind", ["uniform", "log-uniform"])
def test_a_grid_has_as_many_members_as_points(kind):
    near = {"kind": kind, "low": 0.1, "high": 0.10000000000000002}
    part = Population(strategy="grid", space={"a": near, "b": {"kind": "choice", "of": [1, 2]}})
    rules = Evolution(part, 0)
    assert part.members == rules.members == len(rules.beginnings) == 4
    assert [values["a"] for values in rules.beginnings] == [0.1, 0.1, near["high"], near["high"]]


@pytest.mark.parametrize(
    "one",
    [LogUniform(1e-9, 1e-7), LogUniform(1e-5, 0.3), LogUniform(1e-300, 1e30), LogUniform(5e-324, 1e30),
     Uniform(-1e30, 1.0), Uniform(0.1, 0.7), Uniform(-3.7, 0.2)],
)  # fmt: skip
def test_both_ends_are_the_bounds_and_a_move_beyond_ends_there(one):
    assert (one.grid()[0], one.grid()[-1]) == (one.low, one.high) == (one.at(-0.1), one.at(1.1))
    assert (one.moved(one.high, 0.5), one.moved(one.low, -0.5)) == (one.high, one.low)


def test_bounds_may_be_further_apart_than_any_ratio():
    one = LogUniform(1e-300, 1e30)
    for share in (0.0, 1e-9, 0.2, 0.5, 0.99, 1.0):
        assert one.holds(one.at(share))
        assert one.share(one.at(share)) == pytest.approx(share, abs=1e-12)
    assert math.log10(one.at(0.5)) == pytest.approx(-135)
    space = Space({"a": one})
    values = space.drawn(0, 0)
    for number in range(50):
        values = Additive(0.5)(values, space, generator("wide", number))
        assert space.holds(values), values


def test_draws_of_ordinary_bounds_are_as_they_were():
    for low, high in ((1e-4, 0.1), (1e-9, 1e-7), (1e-30, 1e30)):
        one = LogUniform(low, high)
        for number in range(100):
            share = uniform(generator("as before", number))
            value = low * math.exp(share * math.log(high / low))
            assert one.at(share) == min(max(value, low), high)
            assert one.share(value) == math.log(value / low) / math.log(high / low)


@pytest.mark.parametrize(
    ("path", "dimension", "said"),
    [("optimizer.lrr", "{low = 0.1, high = 1.0}", "unknown key 'optimizer.lrr'; did you mean 'lr'"),
     ("optimizer.lr", "{kind = 'uniform', low = -1.0, high = 0.1}", "got -1.0, input should be greater than 0"),
     ("encoder.steps", "{kind = 'integer', low = 2, high = 3}", "got another encoder, wanted it as it is"),
     ("optimizer.name", "{kind = 'choice', of = ['Adam', 'SGD']}", "got SGD, wanted Adam, whose moments there are"),
     ("model.layers.0", "{kind = 'choice', of = ['8', '9']}", "got 'model.layers.0=\"8\"', wanted a table"),
     ("model.norm", "{kind = 'choice', of = ['none', 'nosuch']}", "got '(none|nosuch)', wanted one of"),
     ("optimizer.lr", f"{{kind = 'choice', of = {[k / 100 for k in range(1, 70)] + [-1.0]}}}", "got -1.0, input")],
)  # fmt: skip
def test_a_refusal_begins_with_the_dimension(path, dimension, said, digits, tmp_path):
    with pytest.raises(BitspikeError, match=f"^population.space.{path}: {said}"):
        bitspike.tune(small(f"population.space={{'{path}' = {dimension}}}"), tmp_path / "run", dataset=digits)


@pytest.mark.parametrize("entry", ["['8']", "{a = 1}", "nan", "inf", "2020-01-01"])
def test_what_a_choice_cannot_be_is_said_by_its_place(entry):
    place = r"population.space.model.layers.of.1: got .*, wanted a finite number, a text, true or false$"
    with pytest.raises(BitspikeError, match=place):
        small(f"population.space={{'model.layers' = {{kind = 'choice', of = ['8', {entry}]}}}}")
