"""A measurement of one's own leaves a file of its own, with what such a file can hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import bitspike
from bitspike import registry
from bitspike.errors import BitspikeError
from bitspike.reports.measurement import check_plain, file_of


def test_every_measurement_has_a_file_of_its_own() -> None:
    files = [file_of(name) for name in registry.names("measurement")]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("file", ["result.json", "environment.json", "early.json", "../up.json", "mine.txt", ""])
def test_a_file_that_would_overwrite_another_is_refused(file: str) -> None:
    bitspike.register("measurement", "mine")(type("Mine", (bitspike.Measurement,), {"file": file}))
    with pytest.raises(BitspikeError, match=r"measurement 'mine' file: got .*, wanted a name of its own"):
        file_of("mine")


@pytest.mark.parametrize("found", [None, [1.0], {"a": torch.ones(2)}, {"a": float("nan")}])
def test_what_no_file_can_hold_is_refused_by_its_name(found: Any) -> None:
    with pytest.raises(BitspikeError, match=r"measurement 'mine': got .*, wanted a dict of plain values"):
        check_plain("mine", found)
