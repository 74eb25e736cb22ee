"""environment.json of a run, checked before anything is built from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bitspike.data.images import Setting
from bitspike.data.normalise import apply
from bitspike.errors import BitspikeError, damaged
from bitspike.run.checkpoint import read_json

Size = Annotated[int, Field(gt=0, strict=True)]
Kind = Literal["image", "vector", "series", "events"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


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


class _Progress(_Part):
    """Where a run stood, beside its tensors."""

    epoch: Annotated[int, Field(ge=0)]
    batch: Annotated[int, Field(ge=0)]
    sums: dict[str, Annotated[float, Field(ge=0)]]
    records: list[dict[str, Any]]
    history: list[Annotated[list[list[int | float]], Field(min_length=2, max_length=2)]]
    best: float | None
    best_epoch: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]
    since_best: Annotated[int, Field(ge=0)] = 0


def check_progress(state: dict[str, Any], source: str) -> None:
    """Refuse a checkpoint whose counts, sums and records are not what a run goes on from."""
    try:
        found = _Progress.model_validate(
            {key: value for key, value in state.items() if key not in ("model", "learner")}
        )
    except ValidationError as error:
        raise BitspikeError(f"{source} {_first(error)}") from None
    if len(found.records) != found.epoch:
        raise BitspikeError(f"{source}: {len(found.records)} records of {found.epoch} epochs")
    if len({(len(epoch), len(counts)) for epoch, counts in found.history}) > 1:
        raise BitspikeError(f"{source}: history of histograms that differ in their bins")


def _first(error: ValidationError) -> str:
    """The first problem: where, and what was wanted."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"


def read_environment(path: Path) -> dict[str, Any]:
    """The content of environment.json; entries that are missing, of another kind or at odds are refused by name."""
    content = read_json(path)
    try:
        data = _Environment.model_validate(content).data
    except ValidationError as error:
        raise BitspikeError(f"'{path}' {_first(error)}") from None
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
