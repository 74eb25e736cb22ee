"""Studies of populations: what is collected from records, of which seed, and where the files of a set lie."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bitspike.run.checkpoint import read_json, write_json

ROOT = Path(__file__).parents[1]


@pytest.fixture
def studies(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), str(ROOT / "examples" / "population"), *sys.path])
    import population_domains
    import population_own_nets
    import population_pareto
    import study

    monkeypatch.setattr(study, "RECORDS", tmp_path / "records")
    return SimpleNamespace(
        domains=population_domains, own=population_own_nets, pareto=population_pareto, study=study, at=tmp_path
    )


def domain_records(studies, task, scores, tests):
    """Records of pairs, as the commands leave them: (population, random) by seed."""
    _, told, _ = studies.domains.TASKS[task]
    for seed, pair in enumerate(zip(scores, tests, strict=True)):
        for at, strategy in enumerate(("population", "random")):
            found = {"strategy": strategy, "told": told, "seed": seed, "score": pair[0][at], "test": pair[1][at]}
            found |= {"seconds": 1.0, "curve": [[0, 1, 1.0, 1.0]], "asked": {"seed": str(seed)}, "environment": {}}
            found |= {"schedule": [{"begin": 0, "end": 10 + seed, "member": 0, "values": {"lr": 0.1}}]}
            write_json(folder(studies) / f"{task}-{strategy}-{seed}.json", found)


def folder(studies):
    found = studies.study.RECORDS / "domains"
    found.mkdir(parents=True, exist_ok=True)
    return found


def test_a_task_is_solved_by_the_network_that_was_best_where_it_was_measured_not_on_test(studies):
    domain_records(studies, "cartpole", [(490, 300), (480, 310)], [(470, 300), (499, 310)])
    domain_records(studies, "harder", [(10, 5), (12, 6)], [(9, 4), (11, 7)])
    found = studies.domains.cartpole(2, studies.at)
    assert found["solved"] is False
    assert "not solved (470" in found["headline"]
    assert found["difference"]["mean"] == 180
    assert found["test"]["difference"]["mean"] == pytest.approx(179.5)
    assert "on test 180, 95 % interval" in found["headline"]
    assert found["harder"]["pbt"] == [10, 12]
    write_json(studies.at / "found.json", found)  # whatever is collected is JSON
    assert read_json(studies.at / "found.json")["seeds"] == [0, 1]


def test_a_longer_training_is_told_by_its_end_not_by_its_best_moment_on_test(studies):
    domain_records(studies, "translation", [(30, 20), (31, 25)], [(29, 21), (28, 24)])
    schedule = [{"begin": 0, "end": 11, "member": 0, "values": {"lr": 0.1}}]
    replayed = {"schedule": schedule, "updates": studies.domains.REPLAY, "seed": 1}
    write_json(folder(studies) / "translation-replayed.json", replayed | {"curve": [[6000, 33.5], [12000, 32.25]]})
    found = studies.domains.translation(2, studies.at)
    assert found["headline"].endswith("replayed for longer, BLEU 32.25 on test 2016")
    assert found["replay"][0] == [6000, 33.5]


def test_a_population_that_was_asked_for_otherwise_is_not_gone_on_with(studies):
    from domain import Member, evolved

    class Counts(Member):
        def build(self, values):
            return {}

        def update(self, source):
            return 0.0

        def measure(self):
            return self.values["rate"] * self.made

    def made(high, updates=2):
        asked = {"strategy": "population", "out": studies.at / "out", "population": 2, "updates": updates, "every": 1}
        space = {"rate": {"kind": "uniform", "low": 0.0, "high": high}}
        return evolved(Counts(0), space, SimpleNamespace(**asked, seed=0))

    first = made(1.0)
    assert made(1.0) | {"seconds": 0} == first | {"seconds": 0}
    for high, updates in ((2.0, 2), (1.0, 3)):
        with pytest.raises(SystemExit, match="asked for otherwise"):
            made(high, updates)


def test_a_record_of_own_data_holds_wherever_the_files_lie(studies):
    hashes = []
    for work in (studies.at / "here", studies.at / "elsewhere"):
        work.mkdir()
        recipe = str(studies.own.own_data_table.written("wine", work))
        hashes.append(studies.study.hash_of(recipe, studies.own.names_of_files(recipe), 0))
    assert hashes[0] == hashes[1]
    assert studies.own.names_of_files("digits-st") == []


def test_means_over_sets_are_paired_by_seed(studies):
    sets = [{"pbt": [1.0, 2.0], "random": [0.0, 2.0]}, {"pbt": [3.0, 6.0], "random": [2.0, 4.0]}]
    found = studies.own.means(sets, "pbt", "random")
    assert (found["pbt"], found["random"]) == ([2.0, 4.0], [1.0, 3.0])
    assert found["difference"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_a_headline_of_hypervolumes_has_its_interval(studies):
    one = {"pbt": [2.0, 3.0], "random": [1.0, 1.0], "ahead": 2, "networks": {"pbt": [6, 7]}}
    one |= {"difference": studies.study.gain(one["pbt"], one["random"])}
    one |= {"test": {"difference": studies.study.gain([2.0], [1.0])}}
    found = studies.pareto.record({"digits": one})
    assert "in 2 of 2 pairs, by +1.5 (-4.85 to +7.85), on test +1 (one pair), 6 to 7 networks" in found["headline"]
    assert found["holds"] is True
