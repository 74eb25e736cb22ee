"""environment.json and split.npz of a run, checked before anything is built from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bitspike.data.images import Setting
from bitspike.data.normalise import apply
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.run.checkpoint import read_json

Size = Annotated[int, Field(gt=0, strict=True)]
HISTOGRAM_BINS = 40
Whole = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Metric = Annotated[str, Field(pattern="^[a-z_]{1,40}$")]
Kind = Literal["image", "vector", "series", "events"]
PARTS = ("train", "validation", "test")


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


Part = TypeVar("Part", bound=_Part)


class _Form(_Part):
    """What `data.prepare` takes."""

    input: Kind
    shape: list[Size]
    steps: Size | None
    normalisation: dict[str, Any]
    target: dict[str, Any] | None = None
    columns: list[str] | None = None
    target_column: dict[str, Any] | None = None


class _Data(_Part):
    """What a run was trained on."""

    kind: Literal["classification", "regression"]
    classes: list[str]
    values: Size
    shape: list[Size]
    steps: Size | None
    digests: dict[str, str] | None = None
    form: _Form


class _Environment(_Part):
    data: _Data
    plugins: list[str] = []


class _Record(_Part):
    """One measurement on validation."""

    model_config = ConfigDict(strict=True, extra="forbid")

    epoch: Whole
    updates: Whole
    learning_rate: float
    train: dict[Metric, float]
    validation: dict[Metric, float]


class _Progress(_Part):
    """Where a run stood, beside its tensors."""

    epoch: Whole
    batch: Whole
    sums: dict[Metric, Annotated[float, Field(ge=0)]]
    records: list[_Record]
    history: list[Annotated[list[list[Whole]], Field(min_length=2, max_length=2)]]
    best: float | None
    best_epoch: Whole
    seconds: Annotated[float, Field(ge=0)] = 0.0
    since_best: Whole = 0


def check_progress(state: dict[str, Any], source: str, per_epoch: int, every: int, epochs: int, tensors: int) -> None:
    """Refuse a checkpoint whose counts, sums and records are not what a run goes on from.

    per_epoch: batches of one of the `epochs`; every: epochs between two records; tensors: those with a histogram.
    """
    found = _valid(_Progress, {k: value for k, value in state.items() if k not in ("model", "learner")}, source)
    due = [epoch for epoch in range(1, min(found.epoch, epochs) + 1) if epoch % every == 0 or epoch == epochs]
    measured = [record.epoch for record in found.records]
    shapes = [(epochs_of, len(counts)) for epochs_of, counts in found.history]
    wanted = [([epoch], HISTOGRAM_BINS) for epoch in due for _ in range(tensors)]
    learned = found.batch > 0 or found.epoch > (due[-1] if due else 0)
    summed = bool(found.sums.get("examples")) and "loss" in found.sums if learned else not found.sums
    for wrong, what in (
        (found.epoch > epochs, f"epoch {found.epoch} of {epochs}"),
        (found.batch > per_epoch, f"batch {found.batch} of {per_epoch}"),
        (measured != due, f"{len(measured)} records of {found.epoch} epochs, or of others than these"),
        (max(found.best_epoch, found.since_best) > found.epoch, "a best epoch that is still to come"),
        (shapes != wanted, f"history, wanted {HISTOGRAM_BINS} bins of {tensors} tensors at {len(due)} measurements"),
        (not summed, "sums that are not those of the batches since the last record"),
    ):
        if wrong:
            raise BitspikeError(f"{source}: {what}")


def _valid(part: type[Part], content: Any, source: str) -> Part:
    """The content, or a refusal that says where its first problem is and what was wanted."""
    try:
        return part.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(name) for name in first["loc"])
        raise BitspikeError(f"{source} {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def read_environment(path: Path) -> dict[str, Any]:
    """The content of environment.json; entries that are missing, of another kind or at odds are refused by name."""
    content = read_json(path)
    data = _valid(_Environment, content, f"'{path}'").data
    form = data.form
    if (data.shape, data.steps) != (form.shape, form.steps):
        came = f"{data.shape}, {data.steps} and {form.shape}, {form.steps}"
        raise BitspikeError(f"'{path}': shape and steps stand there twice and differ ({came})")
    if len(set(data.classes)) != len(data.classes):
        raise BitspikeError(f"'{path}' data.classes: a name comes twice")
    with damaged(f"'{path}' data.form"):
        _check_normalisation(form.normalisation, tuple(form.shape), "normalisation")
        Setting.stored(form.normalisation)
        if form.target is not None:
            _check_normalisation(form.target, (data.values,), "target")
        if form.target_column is not None and not {"name", "position"} <= form.target_column.keys():
            raise ValueError("target_column without name and position")
    return dict(content)


def _check_normalisation(normalisation: dict[str, Any], shape: tuple[int, ...], name: str) -> None:
    """It gives finite values of the shape it is given."""
    if normalisation["kind"] not in ("minmax", "standard", "none"):
        raise ValueError(f"{name} of kind {normalisation['kind']!r}")
    zero = apply(torch.zeros(1, *shape), normalisation)
    if tuple(zero.shape) != (1, *shape) or not bool(torch.isfinite(zero).all()):
        raise ValueError(f"{name} that does not fit values of shape {shape}")


def check_split(path: Path, dataset: Any) -> None:
    """Refuse a data set whose parts are not the examples that split.npz names: what is tested was not trained on."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            numbers = {part: np.asarray(stored[part]) for part in PARTS}
    except FileNotFoundError:
        refuse(str(path), "no such file", "the numbers of the run's examples")
    except Exception as error:
        # A damaged archive fails in many ways, each with its own exception.
        refuse(str(path), f"a damaged file ({type(error).__name__})", "the numbers of the run's examples")
    for part, before in numbers.items():
        now = getattr(dataset, part).index.numpy()
        if before.dtype != now.dtype or not np.array_equal(before, now):
            refuse(f"data: the {part} part", "other examples", f"those that the run's '{path}' names")
