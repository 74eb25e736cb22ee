"""`fit`: a module of one's own and examples in memory, said in keywords as a recipe, and trained into a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from bitspike import registry
from bitspike.data import DataSet
from bitspike.data.given import given
from bitspike.errors import refuse
from bitspike.models import own as own_module
from bitspike.run.finished import Run
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import check_depth, parse_recipe
from bitspike.run.start import train

Table = str | Mapping[str, Any]
# The key that says which, of tables that may be given as a word.
KEYS = {"encoder": "name", "optimizer": "name", "latent_optimizer": "name", "schedule": "kind", "learner": "rule",
        "weights": "precision"}  # fmt: skip


def fit(
    model: nn.Module | Callable[[], nn.Module] | Sequence[str],
    data: Any,
    out: Path | str | None = None,
    *,
    validation: Any = None,
    test: Any = None,
    classes: Sequence[str] | None = None,
    encoder: Table | None = None,
    steps: int | None = None,
    learner: Table = "backprop",
    weights: Table | None = None,
    optimizer: Table = "Adam",
    latent_optimizer: Table | None = None,
    schedule: Table = "constant",
    lr: float | None = None,
    epochs: int | None = None,
    updates: int | None = None,
    batch_size: int | None = None,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Run:
    """Train `model` on `data` into the run folder `out` (default runs/NAME) and return the finished run.

    model: a module that maps (T, B, *features) to scores (T, B, C), one for each class (or (B, C), one answer for the
    whole sequence), whose states begin anew in each call; it is trained in place. A class or function that makes one is
    drawn by `seed`, and found again by `bitspike.load` where it can be imported. Or hidden layers of ours, ["64"].
    Values are learned as sigmoid(scores), scaled to the training range.

    data: tensors (x, y), a torch `Dataset` or `DataLoader` of such pairs, or a `bitspike.data.load(...)`. x is
    (N, T, *features); values without time (N, *features) want an `encoder`, such as "direct" or "rate", and `steps`;
    recordings of events (a data set as Tonic's, or `Events`) are binned: encoder={"name": "events", "dt": 10.0}.
    y holds whole numbers or texts (classes; (N, T) for each step), or real numbers (values). validation, test: shares
    drawn by `split_seed` 0 (default 0.125 of what is left, 0.2 of all), or data of their own. classes: names by number.

    encoder, learner, weights, optimizer, latent_optimizer, schedule, training, evaluation: tables of a recipe
    (`bitspike recipes NAME --explain`), as the word that chooses or as a dict: learner={"rule": "backprop", "loss":
    "every-step"}. weights: makes the module's layers binary, unless `weights.quantise` did. lr, epochs, updates and
    batch_size (or the DataLoader's) are those of optimizer and training. resume: go on with a run that was cut off.
    """
    layers = list(model) if isinstance(model, Sequence) and not isinstance(model, str | nn.Module) else None
    tables: dict[str, Any] = {
        "learner": learner, "weights": weights, "optimizer": optimizer, "latent_optimizer": latent_optimizer,
        "schedule": schedule, "training": training, "evaluation": evaluation, "encoder": encoder,
    }  # fmt: skip
    said = {key: _table(key, value) for key, value in tables.items() if value is not None}
    time = encoder is None or registry.find("encoder", said["encoder"].get("name", ""), "encoder").takes == "sequence"
    dataset, batch = given(data, time=time, validation=validation, test=test, classes=classes)
    said["encoder"] = _encoder(said.get("encoder"), dataset, steps)
    if batch is not None and batch_size not in (None, batch):
        refuse("batch_size", batch_size, f"it left out: the DataLoader's is {batch}")
    short = {"epochs": epochs, "updates": updates, "batch": batch_size or batch}
    _add(said, "training", {key: value for key, value in short.items() if value is not None})
    _add(said, "optimizer", {} if lr is None else {"lr": lr})
    if dataset.per_step:
        said["learner"] = {"decoder": "last", **said["learner"]}
    module = None if layers is not None else own_module.made(model, seed)
    if module is not None:
        own = own_module.precision_of(module)
        if own and "weights" in said:
            refuse("weights", said["weights"], f"it left out: the module's weights are {own['precision']} already")
        said |= {"weights": own} if own else {}
    called = name or ("own" if module is None else type(module).__name__)
    part = {"layers": layers} if module is None else {"kind": "module", "factory": own_module.path_of(model)}
    recipe = _recipe({"name": called, "seed": seed, "data": _data(validation, test), "model": part, **said})
    return train(
        recipe, out, dataset=dataset, model=module, device=device, precision=precision, resume=resume,
        overwrite=overwrite, quiet=quiet,
    )  # fmt: skip


def _table(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str) and key in KEYS:
        return {KEYS[key]: value}
    if not isinstance(value, Mapping):
        refuse(key, repr(value), f"a dict of the recipe's table '{key}'" + (" or a word" if key in KEYS else ""))
    return dict(value)


def _add(said: dict[str, Any], table: str, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key in said.get(table, {}):
            refuse(f"{table}.{key}", f"{said[table][key]} and {value}", "it once")
        said.setdefault(table, {})[key] = value


def _encoder(part: dict[str, Any] | None, dataset: DataSet, steps: int | None) -> dict[str, Any]:
    """The encoder's table: each time step of the data is one of the network, unless another one is asked for."""
    if part is None and dataset.input == "events":
        part = {"name": "events"}
    if part is None and dataset.steps is None:
        refuse("encoder", f"none, for the data '{dataset.name}' without time steps", "'direct', 'rate' or another")
    part = {"name": "sequence"} if part is None else part
    if steps is not None and "steps" in part:
        refuse("encoder.steps", f"{part['steps']} and {steps}", "it once")
    given_steps = dataset.steps if steps is None else steps
    return part if given_steps is None or "steps" in part else {**part, "steps": given_steps}


def _data(validation: Any, test: Any) -> dict[str, Any]:
    """The recipe's table: examples themselves are no part of it, only what share of them is for what."""
    shares = {"validation": validation, "test": test}
    return {"set": "given", **{key: value for key, value in shares.items() if isinstance(value, int | float)}}


def _recipe(said: dict[str, Any]) -> Recipe:
    import tomli_w

    check_depth(said, "fit")
    try:
        text = tomli_w.dumps(said)
    except (TypeError, ValueError, AttributeError) as error:
        refuse("fit", str(error), "options that a recipe can hold: numbers, words, true or false, lists, tables")
    return parse_recipe(text, "fit")
