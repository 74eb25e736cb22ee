"""A taste of the campaigns: a few mutants of each reader; the whole ones are `make campaigns`."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from tests.campaigns import mutants
from tests.campaigns.mutants import campaign
from tests.campaigns.readers import READERS
from tests.campaigns.runfiles import RUN_FILES, material
from tests.campaigns.worker import tried

SMOKE = 30


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    target = READERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeds, use = target.open(tmp_path, tmp_path)
        for number in range(SMOKE):
            outcome, said = tried(use, target.mutant(seeds, f"{name} smoke {number}"))
            assert outcome in ("fine", "refused"), f"mutant {number}: {said}"


def test_mutants_are_the_same_for_the_same_seed_and_differ_from_the_good_file(tmp_path: Path) -> None:
    target = READERS["npz"]
    seeds, _ = target.open(tmp_path, tmp_path)
    made = [target.mutant(seeds, f"npz 0 {number}") for number in range(40)]
    assert made == [target.mutant(seeds, f"npz 0 {number}") for number in range(40)]
    assert len(set(made)) > 35
    assert sum(mutant in seeds for mutant in made) < 5


@pytest.mark.long
@pytest.mark.parametrize("name", RUN_FILES)
def test_damaged_files_of_a_run_are_used_or_refused_in_one_line(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tmp_path_factory.getbasetemp() / "campaign-material"
    made.mkdir(exist_ok=True)
    material(made)
    found = campaign(name, 20, 1, made)
    assert (found.tried, found.faults) == (20, [])


@pytest.mark.long
def test_every_kind_of_fault_is_told_apart_and_the_worker_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "HANG", 2.0)
    found = campaign("self-test", 7, 0, tmp_path)
    assert found.outcomes == {"fine": 2, "refused": 1, "traceback": 2, "hang": 1, "memory": 1}
    assert [fault["mutant"] for fault in found.faults] == [2, 3, 4, 5]
    assert "ends with code 3" in found.faults[2]["said"]
