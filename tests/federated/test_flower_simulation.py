"""Flower's simulation: the bits of one process, whoever carries the messages."""

from __future__ import annotations

import json

import pytest

from ..commands import commands

SMALL = ["federation.rounds=5", "federation.clients=4", "federation.epochs=1", "federation.stragglers=0.4",
         "encoder.steps=3", "model.layers=['16']"]  # fmt: skip
TOP = ["federation.codec.kind=top-k"]
CONTROLS = ["federation.aggregator.kind=scaffold", "optimizer={name='SGD', lr=0.05}",
            "latent_optimizer={name='SGD', lr=0.5}"]  # fmt: skip
LAST = "checkpoints/last.json"


def outcome(run):
    """Its result, its rounds, and the digest of all tensors."""
    result, rounds, last = (json.loads((run / name).read_text()) for name in ("result.json", "federation.json", LAST))
    del result["seconds"]
    return result, rounds, last["sha256"]


@pytest.mark.flower
@pytest.mark.parametrize("more", [TOP, CONTROLS])
def test_five_rounds_are_those_of_one_process_bit_for_bit(more, tmp_path):
    sets = [word for entry in [*SMALL, *more] for word in ("--set", entry)]
    line = ["federate", "federated-digits", *sets, "--threads", "1", "--out"]
    _, simulated = commands([*line, "local"], [*line, "flower", "--engine", "flower-simulation"], cwd=tmp_path)
    assert outcome(tmp_path / "local") == outcome(tmp_path / "flower")
    assert "Ray listens" in simulated.stderr
