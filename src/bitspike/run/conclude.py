"""What begins and what ends a run folder, whoever trained the network: an ordinary RUN that every verb reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitspike.errors import BitspikeError, refuse
from bitspike.notices import notice
from bitspike.run.checkpoint import save_checkpoint
from bitspike.run.evaluation import Evaluation
from bitspike.run.folder import RunFolder, environment, other_own_files
from bitspike.run.session import Session
from bitspike.run.shown import shown
from bitspike.run.stored import HISTOGRAM_BINS, PARTS, check_split
from bitspike.weights import histograms

STATISTICS_BATCHES = 40
# What sums come out by, in their last bits; a run may go on where they are others, and then says so.
ROUNDED_BY = ("version", "torch", "processor", "device", "threads")


def describe(session: Session, folder: RunFolder, resumed: bool = False) -> None:
    """Write what a run stands on: environment.json, and the numbers of the examples in split.npz.

    resumed: other data, split, precision or number of processes than the run in the folder began with are refused.
    """
    if session.place.rank != 0:
        return
    if resumed:
        before = folder.read("environment.json")
        described = check_ground(session, folder)
        described |= _went_on(before, described)
        if changed := other_own_files(before, session.recipe):
            notice(f"--resume: {changed}; it goes on with what stands there now")
    else:
        described = _described(session)
    folder.write("environment.json", described)
    folder.write_arrays("split.npz", {part: getattr(session.dataset, part).index.numpy() for part in PARTS})


def check_ground(session: Session, folder: RunFolder) -> dict[str, Any]:
    """Refuse other data, split, precision or number of processes than those of the run in the folder; what is now."""
    described = _described(session)
    _same_ground(folder.read("environment.json"), described)
    check_split(folder.path / "split.npz", session.dataset)
    return described


def _went_on(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """`earlier`: what each stretch of a run stood on that went on elsewhere; and a line that says so."""
    stood = {key: before[key] for key in ROUNDED_BY if key in before}
    changed = [key for key, value in stood.items() if value != now[key]]
    stretches = [*before.get("earlier", []), *([stood] if changed else [])]
    if changed:
        said = ", ".join(f"{key} {now[key]} in place of {stood[key]}" for key in changed)
        notice(f"--resume: {said}: it goes on, but may end with other last bits than a run that was not cut")
    return {"earlier": stretches} if stretches else {}


def _described(session: Session) -> dict[str, Any]:
    place = session.place
    return environment(session.dataset, session.recipe, str(place.device), place.precision, place.world)


def _same_ground(before: dict[str, Any], now: dict[str, Any]) -> None:
    try:
        stood = {"precision": before["precision"], "processes": before["processes"], **before["data"]}
    except (KeyError, TypeError):
        raise BitspikeError("--resume: the run's environment.json is incomplete") from None
    for key, value in {"precision": now["precision"], "processes": now["processes"], **now["data"]}.items():
        # What the run wrote went through JSON; so must what it is compared with.
        if key != "notes" and stood.get(key) != json.loads(json.dumps(value)):
            refuse(f"--resume: {key}", value, f"what the run began with, {stood.get(key)}")


def conclude(
    session: Session, folder: RunFolder, kept: int | None = None, seconds: float = 0.0, settle: bool = True,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Settle the statistics of the network as it is, measure it, ship it, and write what describes it: result.json.

    kept: the epoch it is of (default: the session's). seconds: what training took; this adds its own. settle: False
    where the statistics are settled already, from examples that this session does not have. warnings: what learning
    itself says against the network, behind those of measuring it.
    """
    started = time.monotonic()
    recipe, learner = session.recipe, session.learner
    if settle:
        learner.finish(lambda: session.train.statistics(STATISTICS_BATCHES, session.epochs))
    evaluation = Evaluation(recipe, learner, session.validation, session.test)
    result = evaluation.result(session.dataset)
    seconds += time.monotonic() - started
    result["warnings"] += warnings
    result.update(epochs=session.epoch, kept_epoch=session.epoch if kept is None else kept, seconds=round(seconds, 3))
    if session.place.rank == 0:
        shipped: dict[str, Any] = {"recipe_hash": recipe.recipe_hash(), "model": dict(session.model.state_dict())}
        shipped |= {name: getattr(evaluation.shipped, name) for name in ("temperature", "noise", "samples")}
        save_checkpoint(folder.checkpoints, "shipped", shipped)
        drawn = shown(session.dataset, session.test, evaluation.arrays["raster_index"])
        folder.write_arrays("predictions.npz", evaluation.arrays | drawn)
        _write_history(session, folder)
        # Last: a folder with a result is finished.
        folder.write("result.json", result)
    return result


def _write_history(session: Session, folder: RunFolder) -> None:
    """history.npz: histograms of p(w = +1) over training, one array per weight tensor that has one."""
    names = list(histograms(session.model, HISTOGRAM_BINS))
    if not names or not session.history:
        return
    epochs = [row[0][0] for row in session.history[:: len(names)]]
    counts = np.asarray([row[1] for row in session.history]).reshape(-1, len(names), HISTOGRAM_BINS)
    arrays = {f"counts/{name}": counts[:, number] for number, name in enumerate(names)}
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    folder.write_arrays("history.npz", {"epochs": np.asarray(epochs), "edges": edges, **arrays})
