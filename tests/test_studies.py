"""Records of studies: small files that a study goes on from where the runs are gone."""

import sys
from pathlib import Path

import pytest
import torch

import bitspike
from bitspike.errors import BitspikeError

DOCS = Path(__file__).parents[1] / "docs"
TOLD = ["training.epochs=1", "model.layers=['8']"]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import study

    return study


def test_a_study_goes_on_from_records_where_the_runs_are_gone(tmp_path, study):
    out, records = tmp_path / "some-study" / "one", tmp_path / "records"
    size = lambda run: sum(p.numel() for p in run.model.parameters())  # noqa: E731
    first = study.measured(study.trained, "digits-full", out, TOLD, 3, size, records)
    run = bitspike.load(out)
    assert torch.equal(first.right, study.right(run))
    assert float(first.right.mean()) == pytest.approx(run.result["test"]["accuracy"], abs=1e-6)
    assert first.result["test"] == run.result["test"]
    assert first.more == size(run) > 0

    def refused(*_):
        raise AssertionError("trained again")

    again = study.measured(refused, "digits-full", out, TOLD, 3, size, records)
    assert torch.equal(again.right, first.right)
    assert (again.result, again.more) == (first.result, first.more)
    assert again.validation["accuracy"] == run.result["shipped"]["validation"]["single"]["accuracy"]


@pytest.mark.parametrize(("changes", "seed"), [(["training.batch=16"], 3), ([], 4)])
def test_a_record_of_another_recipe_or_seed_is_not_taken(tmp_path, study, changes, seed):
    out, records = tmp_path / "some-study" / "one", tmp_path / "records"
    study.measured(study.trained, "digits-full", out, TOLD, 3, None, records)

    def asked(recipe, folder, overrides, number):
        assert (overrides, number) == ([*TOLD, *changes], seed)
        return bitspike.train(recipe, tmp_path / "other", overrides=overrides, seed=number)

    study.measured(asked, "digits-full", out, [*TOLD, *changes], seed, None, records)
    assert study.measured(None, "digits-full", out, [*TOLD, *changes], seed, None, records).result["seconds"] > 0


@pytest.mark.parametrize(("changes", "seed", "said"), [(["training.batch=16"], 3, "training.batch"), ([], 4, "seed")])
def test_a_finished_run_of_another_recipe_or_seed_is_not_taken_for_this_one(tmp_path, study, changes, seed, said):
    out, records = tmp_path / "some-study" / "one", tmp_path / "records"
    run = study.trained("digits-full", out, TOLD, 3)
    assert study.trained("digits-full", out, TOLD, 3).result == run.result
    with pytest.raises(BitspikeError, match=f"another recipe.*{said}"):
        study.measured(study.trained, "digits-full", out, [*TOLD, *changes], seed, None, records)
    assert not records.exists()


def test_a_finished_population_of_another_seed_is_not_taken_for_this_one(tmp_path, study):
    told = [*TOLD, "population.size=2", "population.every=10", "population.burn_in=0"]
    run = study.evolved("tune-digits", tmp_path / "one", told, 3)
    assert study.evolved("tune-digits", tmp_path / "one", told, 3).result == run.result
    with pytest.raises(BitspikeError, match="population of another recipe"):
        study.evolved("tune-digits", tmp_path / "one", told, 4)


def test_what_is_kept_is_of_what_was_asked(tmp_path, study):
    file, made = tmp_path / "study" / "pair-0.json", []

    def make():
        made.append(len(made))
        return {"score": made[-1]}

    assert study.kept_in(file, {"seed": 0}, make) == {"seed": 0, "score": 0}
    assert study.kept_in(file, {"seed": 0}, make) == {"seed": 0, "score": 0}
    assert study.kept_in(file, {"seed": 0, "told": ["a"]}, make) == {"seed": 0, "told": ["a"], "score": 1}
    assert made == [0, 1]
